//! The host's side of the boundary: a loaded backend as a [`Backend`] again.

use std::time::Duration;

use abi_stable::sabi_types::RRef;
use abi_stable::std_types::{ROption, RResult, RSlice, RStr, RVec};

use crate::host::{Services, export};
use crate::model::wire::{Wire, encode_value};
use crate::model::{
    Applied, Backend, Capabilities, Changes, Code, Collection, CollectionId, Context, Error, Key, KeyRef, Lookup, Mutation,
    Outcome, Page, Query, Report, Resource, Result, Row, Task, Token, ValueRef,
};
use crate::vtable::{AbiKey, AbiToken, BackendBox, BackendModule_Ref, CallContext, Reply, RowReply};

/// A backend of a loaded library.
pub struct Loaded {
    object: BackendBox,
    // Asked once: what a handle promises and needs does not change while it is open.
    capabilities: Capabilities,
    resources: Vec<Resource>,
}

/// Opens a backend of a loaded library with this settings block (JSON text).
///
/// # Errors
/// What the plugin's `open` gave; `unsupported` if the library lacks it.
pub fn open(module: BackendModule_Ref, config: &str, services: impl Services) -> Result<Loaded> {
    let open = module.open();
    let object = match open(RStr::from_str(config), export(services)) {
        RResult::ROk(object) => object,
        RResult::RErr(error) => return Err(error_of(&error)),
    };
    let capabilities = answer(object.capabilities())?;
    let resources = answer(object.resources())?;
    Ok(Loaded { object, capabilities, resources })
}

/// The manifest that a loaded library states.
#[must_use]
pub fn manifest(module: BackendModule_Ref) -> &'static str {
    module.manifest()().as_str()
}

/// What the plugin said went wrong; if it said nothing readable, that.
fn error_of(bytes: &RVec<u8>) -> Error {
    let error = Error::from_bytes(bytes).unwrap_or_else(|e| malformed(&e));
    if error.message().is_empty() { error.context("the plugin failed without a message") } else { error }
}

fn malformed(error: &Error) -> Error {
    Error::corrupt(format!("the plugin's answer is malformed: {}", error.message()))
}

fn answer<T: Wire>(reply: Reply) -> Result<T> {
    match reply {
        RResult::ROk(bytes) => T::from_bytes(&bytes).map_err(|e| malformed(&e)),
        RResult::RErr(error) => Err(error_of(&error)),
    }
}

fn row(reply: RowReply) -> Result<Option<Row>> {
    match reply {
        RResult::ROk(row) => Ok(row.into_option().map(|bytes| Row::from_bytes(bytes.into_vec()))),
        RResult::RErr(error) => Err(error_of(&error)),
    }
}

/// Whether an outcome is of the sort that a mutation has.
fn fits(mutation: &Mutation, outcome: &Outcome) -> bool {
    match mutation {
        Mutation::Insert { .. } | Mutation::InsertNext { .. } => matches!(outcome, Outcome::Inserted(_)),
        Mutation::Put { .. } => matches!(outcome, Outcome::Put { .. }),
        Mutation::Update { .. } => matches!(outcome, Outcome::Updated(_)),
        Mutation::Delete { .. } | Mutation::DeleteWhere { .. } => matches!(outcome, Outcome::Deleted(_)),
        Mutation::Expect { .. } => matches!(outcome, Outcome::Expected),
        // One that this crate's model has and this match does not know yet.
        _ => true,
    }
}

fn call_context<'a>(cx: &Context<'a>) -> CallContext<'a> {
    let micros = |left: Duration| u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
    CallContext {
        deadline_us: cx.passed_on().map_or(u64::MAX, micros),
        cancel: cx.cancel_flag().map_or(ROption::RNone, |flag| ROption::RSome(RRef::new(flag))),
    }
}

fn position(field: usize) -> Result<u32> {
    u32::try_from(field).map_err(|_| Error::invalid(format!("no field at position {field}")))
}

impl Backend for Loaded {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        let bytes = collections.to_vec().to_bytes();
        let ids: Vec<u32> = answer(self.object.prepare(call_context(cx), RSlice::from_slice(&bytes)))?;
        if ids.len() != collections.len() {
            let (expected, found) = (collections.len(), ids.len());
            return Err(Error::corrupt(format!("the plugin's answer is malformed: {found} ids for {expected} collections")));
        }
        Ok(ids.into_iter().map(CollectionId).collect())
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        let key = match key {
            KeyRef::Int(v) => AbiKey::Int(v),
            KeyRef::Text(v) => AbiKey::Text(RStr::from_str(v)),
        };
        row(self.object.get(call_context(cx), collection.0, key))
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        let mut writer = crate::model::msgpack::Writer::with_capacity(64);
        encode_value(value, &mut writer);
        let bytes = writer.into_bytes();
        row(self.object.get_by(call_context(cx), collection.0, position(field)?, RSlice::from_slice(&bytes)))
    }

    fn get_many(&self, cx: &Context<'_>, collection: CollectionId, keys: &[Key]) -> Result<Vec<Lookup>> {
        let bytes = keys.to_vec().to_bytes();
        let found: Vec<Lookup> = answer(self.object.get_many(call_context(cx), collection.0, RSlice::from_slice(&bytes)))?;
        if found.len() != keys.len() {
            let (expected, found) = (keys.len(), found.len());
            return Err(Error::corrupt(format!("the plugin's answer is malformed: {found} answers for {expected} keys")));
        }
        Ok(found)
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        let bytes = query.to_bytes();
        answer(self.object.find(call_context(cx), RSlice::from_slice(&bytes), max_bytes as u64))
    }

    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        let bytes = query.to_bytes();
        self.object.count(call_context(cx), RSlice::from_slice(&bytes)).into_result().map_err(|e| error_of(&e))
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        let bytes = mutations.to_vec().to_bytes();
        // What a plugin says after it may have committed, and cannot be understood, is no plain failure: nobody may repeat the batch.
        let unknown = |e: &Error| Error::outcome_unknown(format!("the batch may have been applied: {}", e.message()));
        match self.object.apply(call_context(cx), RSlice::from_slice(&bytes)) {
            RResult::ROk(reply) => {
                let applied = Applied::from_bytes(&reply).map_err(|e| unknown(&malformed(&e)))?;
                if applied.outcomes.len() != mutations.len() {
                    let (expected, found) = (mutations.len(), applied.outcomes.len());
                    let message = format!("the plugin's answer is malformed: {found} outcomes for {expected} mutations");
                    return Err(unknown(&Error::corrupt(message)));
                }
                if let Some(at) = mutations.iter().zip(&applied.outcomes).position(|(mutation, outcome)| !fits(mutation, outcome))
                {
                    let message = format!("the plugin's answer is malformed: the outcome at {at} is one of another mutation");
                    return Err(unknown(&Error::corrupt(message)));
                }
                Ok(applied)
            }
            RResult::RErr(error) => {
                let readable = Error::from_bytes(&error).is_ok();
                let error = error_of(&error);
                Err(if !readable || error.code() == Code::Panicked { unknown(&error) } else { error })
            }
        }
    }

    fn changes_since(&self, cx: &Context<'_>, collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        let token = AbiToken { epoch: token.epoch, sequence: token.sequence };
        match self.object.changes_since(call_context(cx), collection.0, token) {
            RResult::ROk(reply) => {
                let now = Token { epoch: reply.token.epoch, sequence: reply.token.sequence };
                if reply.changes.is_empty() {
                    return Ok((now, Changes::Nothing));
                }
                Ok((now, Changes::from_bytes(&reply.changes).map_err(|e| malformed(&e))?))
            }
            RResult::RErr(error) => Err(error_of(&error)),
        }
    }

    fn sync(&self, cx: &Context<'_>) -> Result<Report> {
        answer(self.object.sync(call_context(cx)))
    }

    fn maintain(&self, cx: &Context<'_>, task: &Task) -> Result<Report> {
        let bytes = task.to_bytes();
        answer(self.object.maintain(call_context(cx), RSlice::from_slice(&bytes)))
    }

    #[cfg(not(feature = "__test-abi-older"))]
    fn stats(&self, cx: &Context<'_>) -> Result<Report> {
        answer(self.object.stats(call_context(cx)))
    }

    fn resources(&self) -> Vec<Resource> {
        self.resources.clone()
    }

    fn close(&self, cx: &Context<'_>) -> Result<()> {
        self.object.close(call_context(cx)).into_result().map_err(|e| error_of(&e))
    }
}

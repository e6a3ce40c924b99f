//! The plugin's side of the boundary: a [`Backend`] behind the vtable, every call guarded against panics.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RStr, RVec};

use crate::host::Host;
use crate::model::msgpack::Reader;
use crate::model::wire::{Wire, decode_value};
use crate::model::{
    Backend, Capabilities, Changes, Code, Collection, CollectionId, Context, Error, Key, KeyRef, Mutation, Query, Result, Row,
    Task, Token,
};
use crate::vtable::{
    AbiChanges, AbiKey, AbiToken, BackendBox, BackendModule, BackendModule_Ref, BackendObject, BackendObject_TO, CallContext,
    ChangesReply, CountReply, HostBox, Reply, RowReply, UnitReply,
};

/// What [`export_backend!`](crate::export_backend) makes of its arguments. Not to be implemented by hand.
pub trait Plugin: 'static {
    /// The manifest's JSON text.
    fn manifest() -> &'static str;

    /// Opens a backend with this settings block.
    ///
    /// # Errors
    /// The plugin's own.
    fn open(config: &str, host: Host) -> Result<Box<dyn Backend>>;
}

/// What the library exports under abi_stable's symbol.
#[doc(hidden)]
#[must_use]
pub const fn header<P: Plugin>() -> LibHeader {
    // SAFETY: `load` returns a pointer to a `BackendModule` made by `leak_into_prefix`, as the constructor of this type must.
    unsafe { LibHeader::from_constructor::<BackendModule_Ref>(load::<P>, CheckTypeLayout::Yes) }
}

extern "C" fn load<P: Plugin>() -> RootModuleResult {
    __call_root_module_loader(|| -> BackendModule_Ref {
        BackendModule { manifest: manifest::<P>, open: open::<P> }.leak_into_prefix()
    })
}

extern "C" fn manifest<P: Plugin>() -> RStr<'static> {
    RStr::from_str(P::manifest())
}

extern "C" fn open<P: Plugin>(config: RStr<'_>, host: HostBox) -> RResult<BackendBox, RVec<u8>> {
    let opened = guarded("open", || P::open(config.as_str(), Host::new(host)));
    match opened {
        Ok(backend) => RResult::ROk(BackendObject_TO::from_value(
            Adapter { backend: Some(backend), poisoned: AtomicBool::new(false) },
            TD_Opaque,
        )),
        Err(error) => RResult::RErr(error.to_bytes().into()),
    }
}

/// Runs a call and turns a panic into an error: unwinding must not reach the host, whose std is another one.
fn guarded<T>(call: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a panic left half done is not used again: see `Adapter::poisoned`.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let message = format!("the plugin panicked in {call}: {}", reason(payload.as_ref()));
        // A payload's own drop may panic too.
        std::mem::forget(payload);
        Err(Error::panicked(message))
    })
}

fn reason(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// The opposite of the proxy: bytes in, a call to the trait, bytes out.
struct Adapter {
    // `None` only while being dropped.
    backend: Option<Box<dyn Backend>>,
    // Set by the first panic. Every later call is refused, those that were already waiting for a lock of the backend excepted: a
    // backend should not ignore the poison of its own locks where half a change could be seen.
    poisoned: AtomicBool,
}

impl Adapter {
    fn call<T>(&self, name: &str, run: impl FnOnce(&dyn Backend) -> Result<T>) -> Result<T> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::poisoned("the plugin panicked in an earlier call"));
        }
        let answer = guarded(name, || match &self.backend {
            Some(backend) => run(backend.as_ref()),
            None => Err(Error::poisoned("the backend is gone")),
        });
        if answer.as_ref().is_err_and(|e| e.code() == Code::Panicked) {
            self.poisoned.store(true, Ordering::Release);
        }
        answer
    }

    fn reply<T: Wire>(&self, name: &str, run: impl FnOnce(&dyn Backend) -> Result<T>) -> Reply {
        match self.call(name, |backend| run(backend).map(|answer| answer.to_bytes())) {
            Ok(bytes) => RResult::ROk(bytes.into()),
            Err(error) => RResult::RErr(error.to_bytes().into()),
        }
    }

    fn row(&self, name: &str, run: impl FnOnce(&dyn Backend) -> Result<Option<Row>>) -> RowReply {
        match self.call(name, run) {
            Ok(row) => RResult::ROk(row.map(|row| RVec::from(row.into_bytes())).into()),
            Err(error) => RResult::RErr(error.to_bytes().into()),
        }
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        let backend = self.backend.take();
        let _ = guarded("drop", || {
            drop(backend);
            Ok(())
        });
    }
}

fn context<'a>(cx: &CallContext<'a>) -> Context<'a> {
    context_of(cx, Context::within)
}

/// For the calls that are mostly over before the clock could be read.
fn brief_context<'a>(cx: &CallContext<'a>) -> Context<'a> {
    context_of(cx, Context::starting_late)
}

fn context_of<'a>(cx: &CallContext<'a>, limited: impl FnOnce(Duration) -> Context<'a>) -> Context<'a> {
    let context = match cx.deadline_us {
        u64::MAX => Context::unbounded(),
        left => limited(Duration::from_micros(left)),
    };
    match cx.cancel {
        ROption::RSome(flag) => context.cancelled_by(flag.get()),
        ROption::RNone => context,
    }
}

fn unit<T>(result: Result<T>) -> RResult<T, RVec<u8>> {
    match result {
        Ok(value) => RResult::ROk(value),
        Err(error) => RResult::RErr(error.to_bytes().into()),
    }
}

impl BackendObject for Adapter {
    fn capabilities(&self) -> Reply {
        self.reply::<Capabilities>("capabilities", |b| Ok(b.capabilities()))
    }

    fn prepare(&self, cx: CallContext<'_>, collections: RSlice<'_, u8>) -> Reply {
        self.reply("prepare", |b| {
            let collections = Vec::<Collection>::from_bytes(collections.as_slice())?;
            let ids = b.prepare(&context(&cx), &collections)?;
            Ok(ids.into_iter().map(|id| id.0).collect::<Vec<u32>>())
        })
    }

    fn get(&self, cx: CallContext<'_>, collection: u32, key: AbiKey<'_>) -> RowReply {
        self.row("get", |b| {
            let key = match &key {
                AbiKey::Int(v) => KeyRef::Int(*v),
                AbiKey::Text(v) => KeyRef::Text(v.as_str()),
            };
            b.get(&brief_context(&cx), CollectionId(collection), key)
        })
    }

    fn get_by(&self, cx: CallContext<'_>, collection: u32, field: u32, value: RSlice<'_, u8>) -> RowReply {
        self.row("get_by", |b| {
            let mut reader = Reader::new(value.as_slice());
            let value = decode_value(&mut reader)?;
            reader.end()?;
            b.get_by(&brief_context(&cx), CollectionId(collection), field as usize, value)
        })
    }

    fn get_many(&self, cx: CallContext<'_>, collection: u32, keys: RSlice<'_, u8>) -> Reply {
        self.reply("get_many", |b| {
            let keys = Vec::<Key>::from_bytes(keys.as_slice())?;
            b.get_many(&context(&cx), CollectionId(collection), &keys)
        })
    }

    fn find(&self, cx: CallContext<'_>, query: RSlice<'_, u8>, max_bytes: u64) -> Reply {
        self.reply("find", |b| {
            let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
            b.find(&context(&cx), &Query::from_bytes(query.as_slice())?, max_bytes)
        })
    }

    fn count(&self, cx: CallContext<'_>, query: RSlice<'_, u8>) -> CountReply {
        unit(self.call("count", |b| b.count(&context(&cx), &Query::from_bytes(query.as_slice())?)))
    }

    fn apply(&self, cx: CallContext<'_>, mutations: RSlice<'_, u8>) -> Reply {
        self.reply("apply", |b| b.apply(&context(&cx), &Vec::<Mutation>::from_bytes(mutations.as_slice())?))
    }

    fn changes_since(&self, cx: CallContext<'_>, collection: u32, token: AbiToken) -> ChangesReply {
        unit(self.call("changes_since", |b| {
            let token = Token { epoch: token.epoch, sequence: token.sequence };
            let (now, changes) = b.changes_since(&brief_context(&cx), CollectionId(collection), token)?;
            let changes = if changes == Changes::Nothing { RVec::new() } else { changes.to_bytes().into() };
            Ok(AbiChanges { token: AbiToken { epoch: now.epoch, sequence: now.sequence }, changes })
        }))
    }

    fn sync(&self, cx: CallContext<'_>) -> Reply {
        self.reply("sync", |b| b.sync(&context(&cx)))
    }

    fn maintain(&self, cx: CallContext<'_>, task: RSlice<'_, u8>) -> Reply {
        self.reply("maintain", |b| b.maintain(&context(&cx), &Task::from_bytes(task.as_slice())?))
    }

    fn resources(&self) -> Reply {
        self.reply("resources", |b| Ok(b.resources()))
    }

    fn close(&self, cx: CallContext<'_>) -> UnitReply {
        // Also after a panic: threads are to be joined and locks given back.
        unit(guarded("close", || match &self.backend {
            Some(backend) => backend.close(&context(&cx)),
            None => Ok(()),
        }))
    }

    #[cfg(not(feature = "__test-abi-older"))]
    fn stats(&self, cx: CallContext<'_>) -> Reply {
        self.reply("stats", |b| b.stats(&context(&cx)))
    }
}

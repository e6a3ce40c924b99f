//! A storage plugin in an afternoon: an append-only file of committed batches, replayed when it is opened.
//!
//! `hivemind_abi::model` does the rest: `Database` holds the records with their indexes and carries batches out by the rules, and
//! every request has its bytes (`Wire`), which are what the file holds.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hivemind_abi::Host;
use hivemind_abi::model::table::Database;
use hivemind_abi::model::wire::Wire;
use hivemind_abi::model::{json, *};

hivemind_abi::export_backend! {
    module: "ledger-db-plugin",
    aliases: ["ledger"],
    vendor: "Example Ltd",
    licence: "MIT OR Apache-2.0",
    capabilities: [Durable, AtomicBatch, Unique],
    config_schema: r#"{ "type": "object", "properties": {
        "file": { "type": "string", "description": "The ledger's file.", "default": "<data>/ledger/clients.ledger" } } }"#,
    open: open,
}

/// Nothing is touched here: the host first asks for `resources`, then calls `prepare`.
fn open(config: &str, host: Host) -> Result<Ledger> {
    let config = json::parse(config).map_err(|e| Error::invalid(e.to_string()))?;
    let file = match config.member("file").map(|m| &m.value) {
        Some(json::Json::String(text)) => std::path::PathBuf::from(text.decode().as_ref()),
        _ => host.data_dir().join("ledger").join("clients.ledger"),
    };
    Ok(Ledger { state: Mutex::default(), path: file })
}

struct Ledger {
    state: Mutex<State>,
    path: std::path::PathBuf,
}

#[derive(Default)]
struct State {
    data: Database,
    file: Option<File>,
}

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::from(error).place(self.path.display().to_string())
    }

    /// Reads every whole entry; a torn one at the end was never acknowledged and is cut off.
    fn replay(&self, state: &mut State) -> Result<()> {
        let folder = self.path.parent().unwrap_or(&self.path);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| self.failed(e))?;
        let mut options = File::options();
        options.read(true).write(true).create(true).mode(0o600);
        let mut file = options.open(&self.path).map_err(|e| self.failed(e))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| self.failed(e))?;
        let mut at = 0;
        while let Some((kind, body)) = entry(&bytes[at..]) {
            match kind {
                b'C' => drop(state.data.define(&Vec::from_bytes(body)?)?),
                _ => drop(state.data.apply(&Context::unbounded(), &Vec::from_bytes(body)?)?),
            }
            at += 13 + body.len();
        }
        file.set_len(at as u64).map_err(|e| self.failed(e))?;
        file.seek(SeekFrom::End(0)).map_err(|e| self.failed(e))?;
        state.file = Some(file);
        Ok(())
    }

    fn append(&self, state: &mut State, kind: u8, body: &[u8]) -> Result<()> {
        let file = state.file.as_mut().ok_or_else(|| Error::unavailable("the ledger is not open"))?;
        let end = file.stream_position().map_err(|e| self.failed(e))?;
        let written = file.write_all(&framed(kind, body)).and_then(|()| file.sync_data());
        written.map_err(|error| {
            // Take back what may have been written of it.
            let _ = file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end)));
            self.failed(error)
        })
    }
}

/// An entry is its length, its checksum, its kind and its body.
fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&length[..], &checksum(kind, body), &[kind], body].concat()
}

fn entry(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let (kind, body) = (*bytes.get(12)?, bytes.get(13..length.checked_add(13)?)?);
    (bytes.get(4..12)? == checksum(kind, body)).then_some((kind, body))
}

/// FNV-1a.
fn checksum(kind: u8, body: &[u8]) -> [u8; 8] {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    body.iter().fold(step(0xcbf2_9ce4_8422_2325, &kind), step).to_le_bytes()
}

impl Backend for Ledger {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of(&[Capability::Durable, Capability::AtomicBatch, Capability::Unique])
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        cx.check()?;
        let mut state = self.state();
        if state.file.is_none() {
            self.replay(&mut state)?;
        }
        let new = !state.data.has(collections);
        let ids = state.data.define(collections)?;
        if new {
            self.append(&mut state, b'C', &collections.to_vec().to_bytes())?;
        }
        Ok(ids)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        cx.check()?;
        Ok(self.state().data.tables().get(collection)?.get(&key.to_key())?.cloned())
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        cx.check()?;
        self.state().data.tables().get(query.collection)?.find(query, max_bytes)
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        cx.check()?;
        let state = &mut *self.state();
        let (outcomes, undo) = state.data.apply(cx, mutations)?;
        if let Err(error) = self.append(state, b'M', &mutations.to_vec().to_bytes()) {
            state.data.undo(undo);
            return Err(error);
        }
        Ok(Applied { outcomes, token: Token::default() })
    }
}

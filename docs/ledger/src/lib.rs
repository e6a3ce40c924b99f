//! A storage plugin in an afternoon: an append-only file of committed batches, replayed when it is prepared. `Database` holds the
//! records with their indexes and carries batches out by the rules; every request has its bytes (`Wire`), which the file holds.

use std::io::{Read, Seek, SeekFrom, Write};
use std::{fs::File, path::PathBuf, sync::Mutex};

use hivemind_abi::Host;
use hivemind_abi::model::{json, table::Database, wire::Wire, *};

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
    let path = match config.member("file").map(|m| &m.value) {
        Some(json::Json::String(text)) => PathBuf::from(text.decode().as_ref()),
        _ => host.data_dir().join("ledger").join("clients.ledger"),
    };
    Ok(Ledger { host, path, state: Mutex::default() })
}

struct Ledger {
    host: Host,
    path: PathBuf,
    // `None` before the first `prepare` and after `close`.
    state: Mutex<Option<State>>,
}

struct State {
    data: Database,
    file: File,
}

impl Ledger {
    fn with<T>(&self, cx: &Context<'_>, run: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        cx.check()?;
        // After a panic in the middle of a change the state is not to be trusted; the host opens a new handle.
        let mut state = self.state.lock().map_err(|_| Error::poisoned("an earlier call panicked"))?;
        let answer = run(state.as_mut().ok_or_else(|| self.failed("the ledger is not open; restart the node"))?);
        if answer.as_ref().is_err_and(|e| e.code() == Code::OutcomeUnknown) {
            *state = None; // Nothing may follow what could not be taken back.
        }
        answer
    }

    fn failed(&self, error: impl ToString) -> Error {
        Error::io(error.to_string()).place(self.path.display().to_string())
    }

    /// Reads every whole entry. One that the file ends in the middle of was never acknowledged and is cut off; one that is whole and
    /// wrong is damage, and left alone.
    fn replay(&self) -> Result<State> {
        let mut file = self.host.private_file(&self.path).map_err(|e| self.failed(e))?;
        file.try_lock().map_err(|e| self.failed(e))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| self.failed(e))?;
        let (mut data, mut at) = (Database::default(), 0);
        while let Some((kind, sum, body)) = entry(&bytes[at..]) {
            if sum != checksum(kind, body) {
                return Err(Error::corrupt(format!("damaged at byte {at}")).place(self.path.display().to_string()));
            }
            match kind {
                b'C' => drop(data.define(&Vec::from_bytes(body)?)?),
                _ => drop(data.apply(&Context::unbounded(), &Vec::from_bytes(body)?)?),
            }
            at += 13 + body.len();
        }
        file.set_len(at as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(|e| self.failed(e))?;
        Ok(State { data, file })
    }

    /// On failure what may have been written is taken back.
    fn append(&self, file: &mut File, kind: u8, body: &[u8]) -> Result<()> {
        let end = file.stream_position().map_err(|e| self.failed(e))?;
        let length = u32::try_from(body.len()).map_err(|_| Error::invalid("a batch beyond 4 GiB"))?.to_le_bytes();
        let entry = [&length[..], &checksum(kind, body), &[kind], body].concat();
        let Err(error) = file.write_all(&entry).and_then(|()| file.sync_data()) else { return Ok(()) };
        let taken_back = file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end)));
        Err(if taken_back.is_ok() { self.failed(error) } else { Error::outcome_unknown(error.to_string()) })
    }
}

/// An entry is its length, its checksum, its kind and its body; `None` if the bytes end before it does.
fn entry(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    Some((*bytes.get(12)?, &bytes[4..12], bytes.get(13..length.checked_add(13)?)?))
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
        let mut state = self.state.lock().map_err(|_| Error::poisoned("an earlier call panicked"))?;
        // What fails is forgotten: the next `prepare` replays the file.
        let mut open = state.take().map_or_else(|| self.replay(), Ok)?;
        let new = !open.data.has(collections);
        let ids = open.data.define(collections);
        if new && ids.is_ok() {
            self.append(&mut open.file, b'C', &collections.to_vec().to_bytes())?;
        }
        *state = Some(open);
        ids
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        self.with(cx, |state| Ok(state.data.tables().get(collection)?.get(&key.to_key())?.cloned()))
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.with(cx, |state| state.data.tables().get(query.collection)?.find(cx, query, max_bytes))
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        self.with(cx, |state| {
            let (outcomes, undo) = state.data.apply(cx, mutations)?;
            let appended = self.append(&mut state.file, b'M', &mutations.to_vec().to_bytes());
            appended.inspect_err(|_| state.data.undo(undo))?;
            Ok(Applied { outcomes, token: Token::default() })
        })
    }

    fn resources(&self) -> Vec<Resource> {
        let name = self.path.display().to_string();
        vec![Resource { kind: "file".to_owned(), id: name.clone(), name }]
    }

    fn close(&self, _cx: &Context<'_>) -> Result<()> {
        self.state.lock().map(|mut state| *state = None).map_err(|_| Error::poisoned("an earlier call panicked"))
    }
}

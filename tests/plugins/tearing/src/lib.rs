//! A plugin that says that its batches are atomic and writes them one mutation at a time, each durable: what a check of crashes must
//! find, and what nothing else shows.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use hivemind_abi::Host;
use hivemind_abi::model::{json, table::Database, wire::Wire, *};

hivemind_abi::export_backend! {
    module: "tearing-db-plugin",
    aliases: ["tearing"],
    vendor: "hivemind-host tests",
    licence: "MIT",
    capabilities: [Durable, AtomicBatch, Unique],
    config_schema: r#"{ "type": "object", "properties": { "file": { "type": "string" } } }"#,
    open: open,
}

struct Tearing {
    host: Host,
    path: PathBuf,
    state: Mutex<Option<(Database, File)>>,
}

fn open(config: &str, host: Host) -> Result<Tearing> {
    let config = json::parse(config).map_err(|e| Error::invalid(e.to_string()))?;
    let Some(json::Json::String(path)) = config.member("file").map(|m| &m.value) else {
        return Err(Error::invalid("no file"));
    };
    Ok(Tearing { host, path: PathBuf::from(path.decode().as_ref()), state: Mutex::default() })
}

impl Tearing {
    fn with<T>(&self, run: impl FnOnce(&mut (Database, File)) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock().map_err(|_| Error::poisoned("an earlier call panicked"))?;
        if state.is_none() {
            let mut file = self.host.private_file(&self.path)?;
            let (mut bytes, mut data, mut at) = (Vec::new(), Database::default(), 0);
            file.read_to_end(&mut bytes)?;
            while let Some(body) = entry(&bytes[at..]) {
                match body[0] {
                    b'C' => drop(data.define(&Vec::from_bytes(&body[1..])?)?),
                    _ => drop(data.apply(&Context::unbounded(), &Vec::from_bytes(&body[1..])?)?),
                }
                at += 4 + body.len();
            }
            file.set_len(at as u64)?;
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(at as u64))?;
            *state = Some((data, file));
        }
        run(state.as_mut().ok_or_else(|| Error::unavailable("closed"))?)
    }
}

fn entry(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    bytes.get(4..4 + length)
}

fn append(file: &mut File, kind: u8, body: &[u8]) -> Result<()> {
    let length = (body.len() as u32 + 1).to_le_bytes();
    file.write_all(&[&length[..], &[kind], body].concat())?;
    Ok(file.sync_data()?)
}

impl Backend for Tearing {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of(&[Capability::Durable, Capability::AtomicBatch, Capability::Unique])
    }

    fn prepare(&self, _cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        self.with(|(data, file)| {
            if !data.has(collections) {
                append(file, b'C', &collections.to_vec().to_bytes())?;
            }
            data.define(collections)
        })
    }

    fn get(&self, _cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        self.with(|(data, _)| Ok(data.tables().get(collection)?.get(&key.to_key())?.cloned()))
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.with(|(data, _)| data.tables().get(query.collection)?.find(cx, query, max_bytes))
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        self.with(|(data, file)| {
            let (outcomes, _) = data.apply(cx, mutations)?;
            for mutation in mutations {
                append(file, b'M', &vec![mutation.clone()].to_bytes())?;
            }
            Ok(Applied { outcomes, token: Token::default() })
        })
    }

    fn resources(&self) -> Vec<Resource> {
        let name = self.path.display().to_string();
        vec![Resource { kind: "file".to_owned(), id: name.clone(), name }]
    }

    fn close(&self, _cx: &Context<'_>) -> Result<()> {
        Ok(())
    }
}

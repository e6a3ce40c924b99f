//! A plugin that does wrong on demand, to show that the host survives it.
//!
//! Its settings say what: `misdeed` names it, `durable` whether it claims to be durable. It keeps its records in memory, in a
//! process-wide store when durable, so that opening it anew finds them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hivemind_abi::Host;
use hivemind_abi::model::table::Tables;
use hivemind_abi::model::*;

hivemind_abi::export_backend! {
    module: "misbehaving-db-plugin",
    aliases: ["misbehaving"],
    vendor: "hivemind-host tests",
    licence: "MIT",
    capabilities: [Durable, AtomicBatch, Unique],
    config_schema: r#"{ "type": "object", "properties": {
        "misdeed": { "type": "string", "enum": ["none", "panic-in-open", "panic-in-get", "panic-in-apply", "promise-more", "malformed-row", "silent-error"] },
        "durable": { "type": "boolean" },
        "resource": { "type": "string" },
        "secret": { "type": "string", "writeOnly": true },
        "limit": { "type": "integer", "minimum": 1 } } }"#,
    open: open,
}

struct Misbehaving {
    misdeed: String,
    durable: bool,
    resource: Option<String>,
    store: Arc<Store>,
}

#[derive(Default)]
struct Store {
    catalog: Catalog,
    tables: Mutex<Tables>,
}

fn open(config: &str, host: Host) -> Result<Misbehaving> {
    let config = json::parse(config).map_err(|e| Error::invalid(e.to_string()))?;
    let text = |name: &str| match config.member(name).map(|m| &m.value) {
        Some(json::Json::String(text)) => Some(text.decode().into_owned()),
        _ => None,
    };
    let misdeed = text("misdeed").unwrap_or_default();
    assert!(misdeed != "panic-in-open", "misbehaving as told in open");
    let durable = config.member("durable").is_some_and(|m| m.value == json::Json::Bool(true));
    static KEPT: OnceLock<Arc<Store>> = OnceLock::new();
    let store = if durable { Arc::clone(KEPT.get_or_init(Arc::default)) } else { Arc::default() };
    host.info("misbehaving is open");
    Ok(Misbehaving { misdeed, durable, resource: text("resource"), store })
}

impl Misbehaving {
    fn tables(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.store.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Misbehaving {
    fn capabilities(&self) -> Capabilities {
        let mut all = vec![Capability::AtomicBatch, Capability::Unique];
        if self.durable {
            all.push(Capability::Durable);
        }
        if self.misdeed == "promise-more" {
            all.push(Capability::Encryption);
        }
        Capabilities::of(&all)
    }

    fn prepare(&self, _cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        let ids = self.store.catalog.register(collections)?;
        self.tables().extend(&self.store.catalog);
        Ok(ids)
    }

    fn get(&self, _cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        match self.misdeed.as_str() {
            "panic-in-get" if key == KeyRef::Int(666) => panic!("misbehaving as told in get"),
            "malformed-row" => Ok(Some(Row::from_bytes(vec![0xc1, 0xff]))),
            "silent-error" => Err(Error::io("")),
            _ => Ok(self.tables().get(collection)?.get(&key.to_key())?.cloned()),
        }
    }

    fn find(&self, _cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.tables().get(query.collection)?.find(query, max_bytes)
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        assert!(self.misdeed != "panic-in-apply", "misbehaving as told in apply");
        let (outcomes, _) = self.tables().apply(&self.store.catalog, cx, mutations)?;
        Ok(Applied { outcomes, token: Token::default() })
    }

    fn resources(&self) -> Vec<Resource> {
        let resource = |name: &String| Resource { kind: "file".to_owned(), id: name.clone(), name: name.clone() };
        self.resource.iter().map(resource).collect()
    }
}

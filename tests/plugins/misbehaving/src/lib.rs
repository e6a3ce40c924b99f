//! A plugin that does wrong on demand, to show that the host survives it.
//!
//! Its settings say what: `misdeed` names it (each is told where it is done), `claims` what it promises beside batches and uniqueness,
//! `durable` that it is, which is true: its records stay in a process-wide store, so that opening it anew finds them. But for its
//! misdeed it is the reference model.

mod deeds;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hivemind_abi::Host;
use hivemind_abi::model::reference::Reference;
use hivemind_abi::model::*;

use deeds::Bomb;

hivemind_abi::export_backend! {
    module: "misbehaving-db-plugin",
    aliases: ["misbehaving"],
    vendor: "hivemind-host tests",
    licence: "MIT",
    capabilities: [Durable, AtomicBatch, Unique, MultiProcess, Encryption, OnlineBackup, ChangeTracking, Network, InlineReads],
    config_schema: r#"{ "type": "object", "properties": {
        "misdeed": { "type": "string", "pattern": "^[a-z-]+$" },
        "claims": { "type": "array", "items": { "type": "string" } },
        "durable": { "type": "boolean" },
        "resource": { "type": "string" },
        "secret": { "type": "string", "writeOnly": true },
        "limit": { "type": "integer", "minimum": 1 } } }"#,
    open: open,
}

struct Misbehaving {
    misdeed: String,
    claims: Vec<Capability>,
    resource: Option<String>,
    secret: String,
    store: Arc<Reference>,
    closed: AtomicBool,
}

fn open(config: &str, host: Host) -> Result<Misbehaving> {
    let config = json::parse(config).map_err(|e| Error::invalid(e.to_string()))?;
    let text = |name: &str| match config.member(name).map(|m| &m.value) {
        Some(json::Json::String(text)) => Some(text.decode().into_owned()),
        _ => None,
    };
    let mut claims = vec![Capability::AtomicBatch, Capability::Unique];
    if let Some(json::Json::Array(all)) = config.member("claims").map(|m| &m.value) {
        claims.extend(all.iter().filter_map(|claim| match claim {
            json::Json::String(name) => Capability::from_name(&name.decode()),
            _ => None,
        }));
    }
    let durable = config.member("durable").is_some_and(|m| m.value == json::Json::Bool(true));
    if durable {
        claims.push(Capability::Durable);
    }
    let backend = Misbehaving {
        misdeed: text("misdeed").unwrap_or_default(),
        claims,
        resource: text("resource"),
        secret: text("secret").unwrap_or_default(),
        store: if durable { kept(&text("resource").unwrap_or_default()) } else { Arc::default() },
        closed: AtomicBool::new(false),
    };
    deeds::while_opening(&backend.misdeed, &host);
    host.info("misbehaving is open");
    Ok(backend)
}

/// The store of this name.
fn kept(name: &str) -> Arc<Reference> {
    static KEPT: Mutex<Option<HashMap<String, Arc<Reference>>>> = Mutex::new(None);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(kept.get_or_insert_default().entry(name.to_owned()).or_default())
}

impl Misbehaving {
    fn is(&self, misdeed: &str) -> bool {
        self.misdeed == misdeed
    }

    fn store(&self) -> Result<&Reference> {
        if self.closed.load(Ordering::SeqCst) { Err(Error::unavailable("this store is closed")) } else { Ok(&self.store) }
    }
}

impl Backend for Misbehaving {
    fn capabilities(&self) -> Capabilities {
        assert!(!self.is("panic-in-capabilities"), "misbehaving as told in capabilities");
        Capabilities::of(&self.claims)
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        if self.is("forget-unique") {
            let mut collections = collections.to_vec();
            let fields = collections.iter_mut().flat_map(|c| &mut c.fields);
            fields.filter(|f| matches!(f.index, Index::Unique { .. })).for_each(|f| f.index = Index::Plain);
            return self.store()?.prepare(cx, &collections);
        }
        self.store()?.prepare(cx, collections)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        let store = self.store()?;
        match self.misdeed.as_str() {
            "panic-in-get" if key == KeyRef::Int(666) => panic!("misbehaving as told in get"),
            "panic-beside-a-block" if key == KeyRef::Int(666) => panic!("misbehaving as told in get"),
            "panic-beside-a-block" if key == KeyRef::Int(667) => deeds::block(),
            "panic-with-a-number" if key == KeyRef::Int(666) => std::panic::panic_any(42_u64),
            "panic-with-a-bomb" if key == KeyRef::Int(666) => std::panic::panic_any(Bomb),
            "panic-while-locked" if key == KeyRef::Int(666) => deeds::panic_while_locked(),
            "malformed-row" => Ok(Some(Row::from_bytes(vec![0xc1, 0xff]))),
            "silent-error" => Err(Error::io("")),
            "rude-error" => Err(Error::io(format!("\u{1b}[2J\u{202e}hello\nerror: forged, with {}", self.secret))),
            "wrong-record" => Ok(store.find(cx, &Query::all(collection).limit(1), usize::MAX)?.rows.pop()),
            "block-in-get" => deeds::block(),
            "slow-get" => deeds::slowly(|| store.get(cx, collection, key)),
            "exit" => std::process::exit(7),
            "abort" => std::process::abort(),
            _ => store.get(cx, collection, key),
        }
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        let store = self.store()?;
        match self.misdeed.as_str() {
            "wrong-record" => Ok(store.find(cx, &Query::all(collection).limit(1), usize::MAX)?.rows.pop()),
            "malformed-row" => Ok(Some(Row::from_bytes(vec![0x91, 0xc1]))),
            _ => store.get_by(cx, collection, field, value),
        }
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        let store = self.store()?;
        match self.misdeed.as_str() {
            "panic-in-find" => panic!("misbehaving as told in find"),
            "too-large-pages" => store.find(cx, query, usize::MAX),
            "pages-in-circles" => {
                let mut page = store.find(cx, &Query { after: None, ..query.clone() }, max_bytes)?;
                page.next = page.next.or_else(|| deeds::anywhere(query));
                Ok(page)
            }
            "telling-pages" => {
                let message = format!("no {} opens it", self.secret);
                Ok(Page { unreadable: vec![Unreadable { key: Key::Int(1), message }], ..Page::default() })
            }
            "empty-pages" => Ok(Page { next: deeds::anywhere(query), ..Page::default() }),
            _ => store.find(cx, query, max_bytes),
        }
    }

    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        self.store()?.count(cx, query)
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        let store = self.store()?;
        match self.misdeed.as_str() {
            "panic-in-apply" => panic!("misbehaving as told in apply"),
            "panic-behind-apply" => {
                store.apply(cx, mutations)?;
                panic!("misbehaving as told behind apply")
            }
            "block-in-apply" => deeds::block(),
            "batches-in-parts" => {
                let parts = mutations.iter().map(|m| store.apply(cx, std::slice::from_ref(m)));
                let outcomes = parts.map(|part| Ok(part?.outcomes)).collect::<Result<Vec<_>>>()?;
                Ok(Applied { outcomes: outcomes.concat(), token: Token::default() })
            }
            "fewer-outcomes" => store.apply(cx, mutations).map(|mut applied| {
                applied.outcomes.pop();
                applied
            }),
            "other-outcomes" => store.apply(cx, mutations).map(|mut applied| {
                applied.outcomes.fill(Outcome::Expected);
                applied
            }),
            "write-in-clear" => {
                let path = self.resource.as_deref().unwrap_or_default();
                let rows = mutations.iter().filter_map(|m| if let Mutation::Insert { row, .. } = m { Some(row.as_bytes()) } else { None });
                std::fs::write(path, rows.collect::<Vec<_>>().concat())?;
                store.apply(cx, mutations)
            }
            _ => store.apply(cx, mutations),
        }
    }

    fn changes_since(&self, cx: &Context<'_>, collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        let store = self.store()?;
        match self.misdeed.as_str() {
            _ if !self.claims.contains(&Capability::ChangeTracking) => Ok((Token::default(), Changes::Everything)),
            "see-no-change" => Ok((Token { epoch: 1, sequence: 1 }, Changes::Nothing)),
            // The truth from an ever earlier point on.
            "go-backwards" => {
                let (now, _) = store.changes_since(cx, collection, token)?;
                let back = now.sequence.saturating_sub(deeds::ever_more());
                Ok((Token { epoch: now.epoch, sequence: back }, store.changes_since(cx, collection, token)?.1))
            }
            _ => store.changes_since(cx, collection, token),
        }
    }

    fn maintain(&self, _cx: &Context<'_>, task: &Task) -> Result<Report> {
        self.store()?;
        match task {
            Task::Backup { .. } if self.is("no-backup") => Ok(Report::new()),
            _ => Err(Error::unsupported(format!("this backend does not offer {task:?}"))),
        }
    }

    fn stats(&self, _cx: &Context<'_>) -> Result<Report> {
        self.store()?;
        let mut report = Report::new();
        if self.is("telling-stats") {
            let json = format!("[{{{}: 1}}]", json::quote(&self.secret));
            report = report.with(&self.secret, self.secret.as_str()).with("engine", Value::Json(json));
            let message = format!("cannot repair with {}", self.secret);
            report.problems.push(Problem { collection: self.secret.clone(), key: None, message });
        }
        if self.is("rude-stats") {
            report = report.with("location", "\u{1b}]0;hello\u{7}").with("en\u{1b}gine", "postgres://user:hunter2@db.example/x");
        }
        Ok(report)
    }

    fn resources(&self) -> Vec<Resource> {
        let resource = |name: &String| Resource { kind: "file".to_owned(), id: name.clone(), name: name.clone() };
        self.resource.iter().map(resource).collect()
    }

    fn close(&self, _cx: &Context<'_>) -> Result<()> {
        match self.misdeed.as_str() {
            "panic-in-close" => panic!("misbehaving as told in close"),
            "block-in-close" => deeds::block(),
            _ => {
                self.closed.store(true, Ordering::SeqCst);
                Ok(())
            }
        }
    }
}

impl Drop for Misbehaving {
    fn drop(&mut self) {
        assert!(!self.is("panic-in-drop"), "misbehaving as told in drop");
    }
}

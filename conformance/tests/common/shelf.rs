//! A store on the model's indexed tables that outlives its handles, so that the kit's every case and hook can be tried on it.
//!
//! The "disk" keeps each record as JSON text and a log of what changed; a handle catches up with the log before each call. So it is
//! durable, shared by handles, tracked, and can be spoilt from outside: a JSON backend without the files.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use hivemind_conformance::pipe::{Remote, serve};
use hivemind_conformance::{Instance, Plant, Subject};
use hivemind_model::json::{self, Json, Member, Text};
use hivemind_model::table::{Record, Tables};
use hivemind_model::{
    Applied, Backend, Capabilities, Capability, Catalog, Changes, Collection, CollectionId, Context, Error, Key, KeyRef,
    Mutation, Page, Query, Report, Resource, Result, Row, Task, Token, Value, ValueRef, record,
};

/// What survives the handles.
#[derive(Default)]
pub(crate) struct Disk {
    collections: BTreeMap<String, Stored>,
    log: Vec<(String, Key)>,
}

impl Disk {
    /// A backup: a line for each record, and one at the end that says how many.
    fn write(&self, to: &str) -> Result<Report> {
        let mut file = std::fs::File::create_new(to)?;
        let mut lines = 0;
        for (name, stored) in &self.collections {
            for (key, text) in &stored.records {
                let key = match key {
                    Key::Int(key) => key.to_string(),
                    Key::Text(key) => json::quote(key),
                };
                lines += 1;
                io::Write::write_all(&mut file, format!("[{}, {key}, {}]\n", json::quote(name), json::quote(text)).as_bytes())?;
            }
        }
        io::Write::write_all(&mut file, format!("{lines}\n").as_bytes())?;
        Ok(Report::new())
    }

    fn read(from: &str) -> Result<Vec<(String, Key, String)>> {
        let damaged = || Error::corrupt(format!("{from} is damaged"));
        let text = std::fs::read_to_string(from)?;
        let mut lines: Vec<&str> = text.lines().collect();
        lines.pop().and_then(|count| count.parse::<usize>().ok()).ok_or_else(damaged)?;
        let record = |line: &&str| {
            let parsed = json::parse(line).ok()?;
            let Json::Array(parts) = &parsed else { return None };
            let text = |part: &Json<'_>| if let Json::String(text) = part { Some(text.decode().into_owned()) } else { None };
            let key = match parts.get(1)? {
                Json::Number(number) => Key::Int(number.parse().ok()?),
                other => Key::Text(text(other)?),
            };
            Some((text(parts.first()?)?, key, text(parts.get(2)?)?))
        };
        lines.iter().map(|line| record(line).ok_or_else(damaged)).collect()
    }

    fn become_(&mut self, records: Vec<(String, Key, String)>) {
        for (name, stored) in &mut self.collections {
            self.log.extend(std::mem::take(&mut stored.records).into_keys().map(|key| (name.clone(), key)));
        }
        for (name, key, text) in records {
            self.log.push((name.clone(), key.clone()));
            self.collections.entry(name).or_default().records.insert(key, text);
        }
    }
}

#[derive(Default)]
struct Stored {
    version: u32,
    records: BTreeMap<Key, String>,
}

/// Faults that lie too deep for a wrapper.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) accepts_newer: bool,
    pub(crate) unreadable_is_absent: bool,
    pub(crate) unreadable_forgets: bool,
}

/// The disk, shared by all handles.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    pub(crate) disk: Arc<Mutex<Disk>>,
    pub(crate) faults: Faults,
}

impl Subject for Shelf {
    fn name(&self) -> String {
        "the model's tables".to_owned()
    }

    fn fresh(&self) -> Result<Box<dyn Instance>> {
        Ok(Box::new(Self { disk: Arc::default(), faults: self.faults }))
    }
}

impl Instance for Shelf {
    fn open(&self) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(Handle::new(self)))
    }

    fn beside(&self) -> Result<Option<Arc<dyn Backend>>> {
        self.open().map(Some)
    }

    /// As far as the kit can tell: another handle behind two pipes.
    fn peer(&self) -> Result<Option<Arc<dyn Backend>>> {
        let (their_input, to) = io::pipe()?;
        let (from, their_output) = io::pipe()?;
        let handle = Handle::new(self);
        thread::spawn(move || serve(&handle, their_input, their_output));
        Ok(Some(Arc::new(Remote::new(from, to)?)))
    }

    fn plant(&self, collection: &Collection, plant: &Plant) -> Result<bool> {
        let mut disk = self.disk.lock().unwrap();
        let stored = disk.collections.entry(collection.name.clone()).or_default();
        match plant {
            Plant::Version(version) => stored.version = *version,
            Plant::Set { key, name, json } => {
                let record = stored.records.get_mut(key).expect("a record to spoil");
                let text = record.clone();
                let Ok(Json::Object(mut members)) = json::parse(&text) else { panic!("an object") };
                members.retain(|m| m.name.decode() != name.as_str());
                members.push(Member { name: Text { raw: name }, value: json::parse(json).expect("JSON"), raw: json });
                *record = Json::Object(members).to_text();
            }
        }
        Ok(true)
    }
}

/// The disk and a handle's tables, locked.
type Entered<'h> = (MutexGuard<'h, Disk>, MutexGuard<'h, (Tables, usize)>);

struct Handle {
    shelf: Shelf,
    catalog: Catalog,
    /// The tables, and how much of the log is in them.
    tables: Mutex<(Tables, usize)>,
    epoch: u64,
    closed: AtomicBool,
}

impl Handle {
    fn new(shelf: &Shelf) -> Self {
        static EPOCH: AtomicU64 = AtomicU64::new(1);
        Self {
            shelf: shelf.clone(),
            catalog: Catalog::new(),
            tables: Mutex::default(),
            epoch: EPOCH.fetch_add(1, Ordering::Relaxed),
            closed: AtomicBool::new(false),
        }
    }

    /// Both locks, always in this order, with the tables up to date.
    fn enter(&self, cx: &Context<'_>) -> Result<Entered<'_>> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::unavailable("the handle is closed"));
        }
        cx.check()?;
        let disk = self.shelf.disk.lock().unwrap();
        let mut tables = self.tables.lock().unwrap();
        let seen = tables.1;
        for (name, key) in &disk.log[seen..] {
            if let Some((id, collection)) = self.catalog.iter().find(|(_, c)| c.name == *name) {
                let record = disk.collections[name].records.get(key).and_then(|text| self.load(collection, text));
                tables.0.get_mut(id)?.replace(key, record);
            }
        }
        tables.1 = disk.log.len();
        Ok((disk, tables))
    }

    fn load(&self, collection: &Collection, text: &str) -> Option<Record> {
        match Record::from_json(collection, text) {
            Record::Unreadable { .. } if self.shelf.faults.unreadable_is_absent => None,
            Record::Unreadable { why, .. } if self.shelf.faults.unreadable_forgets => {
                Some(Record::Unreadable { why, values: Vec::new() })
            }
            record => Some(record),
        }
    }

    fn too_new(&self, disk: &Disk, collections: &[Collection]) -> Result<()> {
        for collection in collections {
            let stored = disk.collections.get(&collection.name).map_or(0, |s| s.version);
            if stored > collection.version && !self.shelf.faults.accepts_newer {
                let (name, known) = (&collection.name, collection.version);
                return Err(Error::too_new(format!("{name}: stored version {stored}, known version {known}")));
            }
        }
        Ok(())
    }
}

impl Backend for Handle {
    fn capabilities(&self) -> Capabilities {
        use Capability::{AtomicBatch, ChangeTracking, Durable, InlineReads, MultiProcess, OnlineBackup, Unique};
        Capabilities::of(&[Durable, AtomicBatch, Unique, MultiProcess, OnlineBackup, ChangeTracking, InlineReads])
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        let (mut disk, mut tables) = self.enter(cx)?;
        self.too_new(&disk, collections)?;
        let before = self.catalog.iter().count();
        let ids = self.catalog.register(collections)?;
        tables.0.extend(&self.catalog);
        for (id, collection) in self.catalog.iter().skip(before) {
            let stored = disk.collections.entry(collection.name.clone()).or_default();
            stored.version = collection.version;
            for (key, text) in &stored.records {
                tables.0.get_mut(id)?.replace(key, self.load(collection, text));
            }
        }
        Ok(ids)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        let (_disk, tables) = self.enter(cx)?;
        Ok(tables.0.get(collection)?.get(&key.to_key())?.cloned())
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        let (_disk, tables) = self.enter(cx)?;
        Ok(tables.0.get(collection)?.get_by(field, value)?.cloned())
    }

    fn get_many(&self, cx: &Context<'_>, collection: CollectionId, keys: &[Key]) -> Result<Vec<Result<Option<Row>>>> {
        let (_disk, tables) = self.enter(cx)?;
        let table = tables.0.get(collection)?;
        Ok(keys.iter().map(|key| table.get(key).map(Option::<&Row>::cloned)).collect())
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        let (_disk, tables) = self.enter(cx)?;
        tables.0.get(query.collection)?.find(cx, query, max_bytes)
    }

    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        let (_disk, tables) = self.enter(cx)?;
        tables.0.get(query.collection)?.count(cx, query)
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        let (mut disk, mut tables) = self.enter(cx)?;
        let (outcomes, undo) = tables.0.apply(&self.catalog, cx, mutations)?;
        for (id, key) in undo.touched() {
            let table = tables.0.get(id)?;
            let collection = table.collection();
            let text = table.get(key)?.map(|row| row.view(collection).map(|view| record::to_json(&view))).transpose()?;
            let stored = disk.collections.entry(collection.name.clone()).or_default();
            match text {
                Some(text) => stored.records.insert(key.clone(), text),
                None => stored.records.remove(key),
            };
            disk.log.push((collection.name.clone(), key.clone()));
        }
        tables.1 = disk.log.len();
        Ok(Applied { outcomes, token: Token { epoch: self.epoch, sequence: disk.log.len() as u64 } })
    }

    fn changes_since(&self, cx: &Context<'_>, collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        let (disk, _tables) = self.enter(cx)?;
        let name = &self.catalog.get(collection)?.name;
        let now = Token { epoch: self.epoch, sequence: disk.log.len() as u64 };
        if token.epoch != self.epoch || token.sequence > now.sequence {
            return Ok((now, Changes::Everything));
        }
        let log = disk.log.iter().skip(token.sequence as usize).filter(|(of, _)| of == name);
        let keys: Vec<Key> = log.map(|(_, key)| key.clone()).collect();
        Ok((now, if keys.is_empty() { Changes::Nothing } else { Changes::Keys(keys) }))
    }

    fn maintain(&self, cx: &Context<'_>, task: &Task) -> Result<Report> {
        let (mut disk, tables) = self.enter(cx)?;
        match task {
            Task::Verify => {
                let problems = tables.0.iter().flat_map(|(_, table)| table.problems()).collect();
                Ok(Report { entries: Vec::new(), problems })
            }
            Task::Backup { to } => disk.write(to),
            Task::Restore { from, keep } => {
                let read = Disk::read(from)?;
                keep.as_ref().map_or(Ok(Report::new()), |keep| disk.write(keep))?;
                disk.become_(read);
                Ok(Report::new())
            }
            Task::VerifyBackup { from, .. } => Disk::read(from).map(|_| Report::new()),
            Task::Repair => Ok(Report::new()),
            other => Err(Error::unsupported(format!("{other:?}"))),
        }
    }

    fn stats(&self, cx: &Context<'_>) -> Result<Report> {
        let (disk, _tables) = self.enter(cx)?;
        Ok(Report::new().with("engine", "tables").with("changes", Value::Int(disk.log.len() as i64)))
    }

    fn resources(&self) -> Vec<Resource> {
        let id = format!("{:p}", Arc::as_ptr(&self.shelf.disk));
        vec![Resource { kind: "memory".to_owned(), name: "a shelf".to_owned(), id }]
    }

    fn close(&self, _cx: &Context<'_>) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

//! The process that is killed: opens a store as a node does, tells every record, then writes from several threads until its end comes.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use hivemind_host::plugins::lock::Lock;
use hivemind_host::plugins::{Loader, SearchPath};
use hivemind_model::{Backend, Code, CollectionId, Context, Query, Row, Task, Value as Stored, ValueRef};
use hivemind_store::{Clients, Options, Storage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::op::{Line, notes, shortened};

mod writer;

/// What a worker is told on its command line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Assignment {
    /// Where the plugins are.
    pub plugins: Vec<PathBuf>,
    /// The module to load.
    pub module: String,
    /// Its settings.
    pub settings: Map<String, Value>,
    /// The operator's data directory.
    pub data_dir: PathBuf,
    /// A number that no other worker of this store has: part of every name it gives.
    pub generation: u64,
    /// Where its dice start.
    pub seed: u64,
    /// How many threads write; none: the worker ends when it has told the records.
    pub threads: usize,
    /// Maintenance that goes on all the time beside the writing, by name.
    pub maintenance: Vec<String>,
    /// What it does wrong, to show that this is found.
    pub mutant: Option<Mutant>,
}

/// A worker that errs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mutant {
    /// It acknowledges before it has written.
    AcknowledgesTooEarly,
    /// It does batches one mutation at a time.
    SplitsBatches,
}

/// Lines to the parent, each in one system call: what was written was told, whatever comes next.
pub(super) struct Out(Mutex<std::fs::File>);

impl Out {
    fn new() -> std::io::Result<Self> {
        use std::os::fd::AsFd as _;
        Ok(Self(Mutex::new(std::fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?))))
    }

    pub(super) fn say(&self, line: &Line) {
        self.say_all(std::slice::from_ref(line));
    }

    /// Few system calls for many lines, so that faults at the first calls hit the store and not the pipe.
    fn say_all(&self, lines: &[Line]) {
        let mut text = Vec::new();
        for line in lines {
            text.extend(serde_json::to_vec(line).unwrap_or_default());
            text.push(b'\n');
        }
        // A parent that is gone needs no more lines.
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text).is_err() {
            std::process::exit(3);
        }
    }
}

/// The whole worker. `argument` is an [`Assignment`] as JSON.
///
/// # Errors
/// What it could not do, in words.
pub fn run(argument: &str) -> Result<(), String> {
    let assignment: Assignment = serde_json::from_str(argument).map_err(|e| e.to_string())?;
    let out = Arc::new(Out::new().map_err(|e| e.to_string())?);
    // Nobody is left behind when the parent dies.
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(2);
    });
    out.say(&Line::Opening);
    let done = work(&assignment, &out);
    if let Err(error) = &done {
        out.say(&Line::Broken(error.clone()));
    }
    done
}

fn work(assignment: &Assignment, out: &Arc<Out>) -> Result<(), String> {
    let loader = Loader::new(SearchPath::only(&assignment.plugins), Lock::default(), assignment.data_dir.clone());
    let opened = loader.open(&assignment.module, &assignment.settings).map_err(|e| e.to_string())?;
    let backend = opened.backend;
    let storage = Storage::new(Arc::clone(&backend), Options { deadline: None, ..Options::default() });
    let clients = pollster::block_on(Clients::open(&storage)).map_err(|e| format!("opening the clients: {e}"))?;
    let notes = pollster::block_on(storage.prepare(notes())).map_err(|e| format!("opening the notes: {e}"))?.id;
    let mut lines = tell(&*backend, &clients, notes)?;
    lines.push(Line::Ready { pid: std::process::id() });
    out.say_all(&lines);
    if assignment.threads == 0 {
        drop((clients, storage));
        return backend.close(&Context::unbounded()).map_err(|e| format!("closing: {e}"));
    }
    thread::scope(|scope| {
        for number in 0..assignment.threads {
            let (clients, backend, out) = (clients.clone(), &*backend, &**out);
            scope.spawn(move || writer::Writer::new(assignment, number, clients, (backend, notes), out).run());
        }
        if !assignment.maintenance.is_empty() {
            scope.spawn(|| maintain(&*backend, &assignment.maintenance, out));
        }
    });
    Ok(())
}

fn maintain(backend: &dyn Backend, tasks: &[String], out: &Out) {
    let cx = Context::unbounded();
    for task in tasks.iter().cycle() {
        out.say(&Line::Maintaining(task.clone()));
        let done = match task.as_str() {
            "checkpoint" => backend.maintain(&cx, &Task::Checkpoint),
            "vacuum" => backend.maintain(&cx, &Task::Vacuum),
            "verify" => backend.maintain(&cx, &Task::Verify),
            _ => backend.sync(&cx),
        };
        out.say(&Line::Maintaining(String::new()));
        // A checkpoint beside writers may well find them in its way.
        if let Err(error) = done
            && !error.retryable()
        {
            out.say(&Line::Broken(format!("{task}: {error}")));
        }
    }
}

/// Tells every record as a look-up and a query find it, and what `verify` says.
fn tell(backend: &dyn Backend, clients: &Clients, notes: CollectionId) -> Result<Vec<Line>, String> {
    let cx = Context::unbounded();
    let mut out = Vec::new();
    for (collection, id) in [(hivemind_store::clients::collection(), clients.id()), (self::notes(), notes)] {
        let failed = |e: hivemind_model::Error| format!("reading {}: {e}", collection.name);
        let mut query = Query::all(id);
        loop {
            let page = backend.find(&cx, &query, 1 << 20).map_err(failed)?;
            for unreadable in &page.unreadable {
                let what = format!("{} {} cannot be read: {}", collection.name, unreadable.key, unreadable.message);
                out.push(Line::Problem(what));
            }
            for row in &page.rows {
                let view = row.view(&collection).map_err(failed)?;
                let fields = view.iter().map(|(field, value)| (field.name.clone(), shown(&field.name, value))).collect();
                out.push(Line::Row { collection: collection.name.clone(), fields: Value::Object(fields) });
                check_lookups(backend, (&collection, id), row, &mut out).map_err(failed)?;
            }
            match page.next {
                Some(next) => query = query.after(next),
                None => break,
            }
        }
    }
    let report = match backend.maintain(&cx, &Task::Verify) {
        Err(error) if error.code() == Code::Unsupported => return Ok(out),
        other => other.map_err(|e| format!("verify: {e}"))?,
    };
    for problem in report.problems {
        out.push(Line::Problem(format!("{} {:?}: {}", problem.collection, problem.key, problem.message)));
    }
    Ok(out)
}

/// The same record must be found by its key and by its access key: through other indexes than the query's.
fn check_lookups(
    backend: &dyn Backend,
    (collection, id): (&hivemind_model::Collection, CollectionId),
    row: &Row,
    out: &mut Vec<Line>,
) -> hivemind_model::Result<()> {
    let (cx, view) = (Context::unbounded(), row.view(collection)?);
    let mut same = |found: Option<Row>, by: &str| {
        if found.as_ref() != Some(row) {
            out.push(Line::Problem(format!("{} {} is another one by its {by}", collection.name, view.key().to_key())));
        }
    };
    same(backend.get(&cx, id, view.key())?, "key");
    if let Some(key @ ValueRef::Text(text)) = view.get("api_key")
        && text != hivemind_store::clients::REVOKED
    {
        let field = collection.require("api_key")?;
        let found = backend.get_by(&cx, id, field, key)?;
        // Of duplicates, which only a legacy store can have, the lowest wins.
        if found.as_ref().is_none_or(|found| found.view(collection).map_or(true, |v| v.at(field) != key)) {
            same(found, "access key");
        }
    }
    Ok(())
}

fn shown(field: &str, value: ValueRef<'_>) -> Value {
    match value.to_value() {
        Stored::Nil => Value::Null,
        Stored::Bool(v) => v.into(),
        Stored::Int(v) => v.into(),
        Stored::Real(v) => v.into(),
        Stored::Text(v) if field == "body" => shortened(&v).into(),
        Stored::Text(v) => v.into(),
        Stored::Blob(v) => format!("{v:?}").into(),
        Stored::Json(v) => serde_json::from_str(&v).unwrap_or_else(|e| format!("not JSON: {e}").into()),
    }
}

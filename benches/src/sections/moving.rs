//! Moving all clients from JSON to SQLite and to Redis: this program's `migrate-db` beside the Python node's, each as a process of its own,
//! from its start to its end, into a database that is not there yet and into a server that is empty.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hivemind_host::moving::into::{self, Done, Wishes};
use hivemind_host::moving::progress::Unseen;
use hivemind_host::moving::store::Store;
use hivemind_host::open::Opened;
use hivemind_store::{Options, Storage};
use hivemind_tests::redis::Server;
use serde_json::json;

use super::in_a_process_of_its_own;
use crate::contest::{self, Doing};
use crate::stores::Scratch;
use crate::table::{self, Bars, Limit};
use crate::{Failure, machine, ours};

const JSON: &str = "hivemind-json-db-plugin";
const SQLITE: &str = "hivemind-sqlite-db-plugin";
const REDIS: &str = "hivemind-redis-db-plugin";

/// The smallest of the sizes: the Python node syncs once for each client.
pub(crate) fn run(clients: u64, rounds: usize, bars: &mut Bars) -> Result<(), Failure> {
    let scratch = Scratch::new()?;
    let (mine, theirs) = (scratch.copy("json", clients, "mine")?, scratch.copy("json", clients, "theirs")?);
    let batch = usize::try_from(clients)?;
    let outcome = contest::run(
        rounds,
        &mut [
            Box::new(Doing("hivemind-host migrate-db".to_owned(), batch, |_: &[u64]| {
                timed(&mine, || in_a_process_of_its_own(&["move", text(&mine)?, JSON, SQLITE, "{}"]).map(drop))
            })),
            Box::new(Doing("hivemind-core migrate-db".to_owned(), batch, |_: &[u64]| {
                timed(&theirs, || python(&theirs, SQLITE, None))
            })),
        ],
    )?;
    table::print(&format!("Moving {clients} clients from JSON to SQLite"), &outcome);
    bars.add("migrate-db JSON → SQLite: times as fast as the Python node", Limit::AtLeast(10.0), outcome.ratio(1, 0));
    into_redis(clients, rounds, (&mine, &theirs), bars)
}

fn into_redis(clients: u64, rounds: usize, (mine, theirs): (&Path, &Path), bars: &mut Bars) -> Result<(), Failure> {
    let server = Server::start(&[]);
    let port = server.port().to_string();
    let settings = json!({"host": "127.0.0.1", "port": server.port()}).to_string();
    let emptied = |work: &dyn Fn() -> Result<(), Failure>| {
        server.ask::<()>(&["FLUSHALL"]);
        let start = Instant::now();
        work()?;
        let took = start.elapsed();
        // Counted by the server, because each program would believe itself.
        let count: String = server.ask(&["GET", "client:count"]);
        if count == clients.to_string() { Ok(took) } else { Err(format!("{count} clients are in Redis").into()) }
    };
    let batch = usize::try_from(clients)?;
    let outcome = contest::run(
        rounds,
        &mut [
            Box::new(Doing("hivemind-host migrate-db".to_owned(), batch, |_: &[u64]| {
                emptied(&|| in_a_process_of_its_own(&["move", text(mine)?, JSON, REDIS, &settings]).map(drop))
            })),
            Box::new(Doing("hivemind-core migrate-db".to_owned(), batch, |_: &[u64]| {
                emptied(&|| python(theirs, REDIS, Some(&port)))
            })),
        ],
    )?;
    table::print(&format!("Moving {clients} clients from JSON to Redis"), &outcome);
    bars.add("migrate-db JSON → Redis: times as fast as the Python node", Limit::AtLeast(5.0), outcome.ratio(1, 0));
    Ok(())
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()).into())
}

/// How long something takes that makes a database which is not there.
fn timed(data: &Path, work: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let folder = data.join("hivemind-core");
    for name in ["clients.db", "clients.db-wal", "clients.db-shm"] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// The Python node's command. It takes no settings, so a server on another port needs a word before it.
fn python(data: &Path, to: &str, port: Option<&str>) -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no root")?;
    let venv = std::env::var_os("HIVEMIND_PYTHON_PEERS").map_or_else(|| root.join("target/python-peers"), PathBuf::from);
    let scratch = data.join("scratch");
    std::fs::create_dir_all(&scratch)?;
    let mut command = Command::new(venv.join(if port.is_some() { "bin/python" } else { "bin/hivemind-core" }));
    if let Some(port) = port {
        command.arg(root.join("benches/python/migrate.py")).arg(port);
    }
    let output = command
        .args(["migrate-db", "--from", JSON, "--to", to])
        .env("XDG_DATA_HOME", data)
        .envs(["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"].map(|name| (name, &scratch)))
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && said.contains("Migrated") { Ok(()) } else { Err(format!("hivemind-core: {said}").into()) }
}

/// Moves everything from one backend to another, in this process, and tells what that took.
pub(crate) fn child(data: &str, from: &str, to: &str, to_settings: &str) -> Result<(), Failure> {
    let loader = ours::loader(Path::new(data))?;
    let open = |module: &str, settings: &str| -> Result<Opened, Failure> {
        let opened = loader.open(module, &serde_json::from_str(settings)?)?;
        let storage = Storage::new(Arc::clone(&opened.backend), Options::default());
        Ok(Opened { storage, module: module.to_owned(), plugin: Some(opened.plugin), secrets: Vec::new() })
    };
    let source = Store::prepare(&open(from, "{}")?, hivemind_host::moving::collections())?;
    let wishes = Wishes { mode: None, prefer: None, leave_behind: false, dry_run: false, rounds: 2, batch: None };
    let outcome = into::run(&source, open(to, to_settings)?, &wishes, &mut Unseen)?;
    let Done::Moved(moved) = outcome.done else { return Err("there was nothing to move".into()) };
    println!("{}", json!({"records": moved.digest.records, "resident": machine::resident()?}));
    Ok(())
}

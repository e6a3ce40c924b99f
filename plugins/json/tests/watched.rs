//! Noticing what others do: a call that starts after another process has changed the file sees it, whatever the way of changing it.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::{Folder, Mounted, assert_watched, client, cx, means, name, put, warm};
use hivemind_abi::model::{Backend, Changes, Key};

/// Another process that changes files: a shell that answers each command when it is done.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn new(folder: &Path) -> Self {
        let mut child =
            Command::new("/bin/sh").current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let (input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        Self { child, input, output: BufReader::new(output) }
    }

    fn run(&mut self, command: &str) {
        writeln!(self.input, "{command} && echo done || echo failed").expect("it lives");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        assert_eq!(line, "done\n", "{command}");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn file_with(name: &str) -> String {
    format!(r#"{{"1": {{"client_id": 1, "api_key": "key", "name": "{name}"}}}}"#)
}

/// Renamed over, moved there, written in place with the same and other sizes, with the times set back, through another link.
#[test]
fn every_change_of_another_process_is_seen_by_the_next_call() {
    const ROUNDS: usize = 400;
    let folder = Folder::watchable();
    folder.write("clients.json", &file_with("start"));
    let (store, id) = folder.open();
    warm(&store, id);
    assert_watched(&store);
    let elsewhere = folder.data_dir().join("elsewhere.json");
    let mut shell = Shell::new(&folder.path());
    let mut token = store.changes_since(&cx(), id, Default::default()).expect("a token").0;
    for round in 0..ROUNDS {
        let new = format!("{round:04}");
        let text = file_with(&new);
        shell.run(&match round % 6 {
            0 => format!("echo '{text}' > new && mv new clients.json"),
            1 => format!("echo '{text}' > clients.json"),
            2 => format!("echo '{text}' 1<> clients.json"),
            3 => format!("touch -r clients.json times; echo '{text}' > clients.json; touch -r times clients.json"),
            4 => format!("ln -f clients.json {0}; echo '{text}' 1<> {0}", elsewhere.display()),
            _ => format!("echo '{text}' > new && ln -f new clients.json && rm new"),
        });
        assert_eq!(name(&store, id, 1).as_deref(), Some(new.as_str()), "round {round}");
        let (now, changes) = store.changes_since(&cx(), id, token).expect("changes");
        assert_eq!(changes, Changes::Keys(vec![Key::Int(1)]));
        token = now;
        if round % 50 == 0 {
            put(&store, id, client(1, "key", "ours"));
            assert_eq!(name(&store, id, 1).as_deref(), Some("ours"));
            token = store.changes_since(&cx(), id, token).expect("changes").0;
        }
    }
}

#[test]
fn the_way_to_the_file_may_change() {
    let folder = Folder::watchable();
    let real = |n: u32| folder.data_dir().join(format!("real-{n}"));
    for n in 0..2 {
        fs::create_dir_all(real(n).join("deep")).expect("a folder");
        fs::write(real(n).join("deep/file.json"), file_with(&format!("real-{n}"))).expect("written");
    }
    // Two links on the way: one to a folder, one to the file in it.
    let way = folder.data_dir().join("way");
    std::os::unix::fs::symlink(real(0), &way).expect("a link");
    std::os::unix::fs::symlink(way.join("deep/file.json"), folder.file("clients.json")).expect("a link");
    let (store, id) = folder.open();
    warm(&store, id);
    assert_watched(&store);
    let mut shell = Shell::new(folder.data_dir());
    let reads = |expected: &str| assert_eq!(name(&store, id, 1).as_deref(), Some(expected));
    for round in 0..20 {
        reads(&format!("real-{}", round % 2));
        // Another link to the same place changes nothing, but from now on it is the one that counts.
        shell.run(&format!("ln -s '{}' other && mv -T other way", real(round % 2).display()));
        reads(&format!("real-{}", round % 2));
        shell.run(&format!("ln -s '{}' other && mv -T other way", real((round + 1) % 2).display()));
    }
    reads("real-0");
    shell.run(&format!("echo '{}' > real-0/deep/new && mv real-0/deep/new real-0/deep/file.json", file_with("behind both")));
    reads("behind both");
    shell.run("mv real-0 aside && mkdir -p real-0/deep && cp real-1/deep/file.json real-0/deep/file.json");
    reads("real-1");
    shell.run("mv real-0/deep gone");
    assert!(store.get(&cx(), id, Key::Int(1).as_ref()).is_err(), "no folder is not an empty store");
    shell.run("mv gone real-0/deep");
    reads("real-1");
    shell.run("rm hivemind-core/clients.json && ln -s ../aside/deep/file.json hivemind-core/clients.json");
    reads("behind both");
    put(&store, id, client(1, "key", "ours"));
    assert!(fs::read_to_string(folder.data_dir().join("aside/deep/file.json")).expect("read").contains("ours"));
    shell.run("mv hivemind-core moved");
    assert!(store.get(&cx(), id, Key::Int(1).as_ref()).is_err());
    shell.run("mv moved hivemind-core");
    reads("ours");
}

#[test]
fn nothing_is_missed_while_events_flood_and_many_threads_read() {
    const ROUNDS: u64 = 300;
    let folder = Folder::watchable();
    folder.write("clients.json", &file_with("0"));
    let (store, id) = folder.open();
    warm(&store, id);
    assert_watched(&store);
    let (written, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            // More than a queue of 16,384 events holds.
            let noise = folder.file("noise");
            while !stop.load(Ordering::Relaxed) {
                fs::write(&noise, "x").expect("written");
                fs::remove_file(&noise).expect("removed");
            }
        });
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        let least = written.load(Ordering::SeqCst);
                        let found: u64 = name(&store, id, 1).expect("there").parse().expect("a number");
                        assert!(found >= least, "{found} after {least} was in place");
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let mut shell = Shell::new(&folder.path());
        for round in 1..=ROUNDS {
            let text = file_with(&round.to_string());
            shell.run(&format!("echo '{text}' > new && mv new clients.json"));
            written.store(round, Ordering::SeqCst);
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().expect("a thread") > 0);
        }
    });
    assert_eq!(name(&store, id, 1), Some(ROUNDS.to_string()));
}

#[test]
fn an_overflowing_queue_counts_as_a_change() {
    let folder = Folder::watchable();
    folder.write("clients.json", &file_with("old"));
    let (store, id) = folder.open();
    warm(&store, id);
    assert_watched(&store);
    let limit: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").ok().and_then(|n| n.trim().parse().ok()).unwrap_or(16_384);
    for n in 0..=limit {
        // Two names in turn, because the same event twice in a row is one.
        fs::write(folder.file(if n % 2 == 0 { "a" } else { "b" }), "").expect("written");
        fs::remove_file(folder.file(if n % 2 == 0 { "a" } else { "b" })).expect("removed");
    }
    folder.write("clients.json", &file_with("new"));
    assert_eq!(name(&store, id, 1).as_deref(), Some("new"));
    folder.write("clients.json", &file_with("newer"));
    assert_eq!(name(&store, id, 1).as_deref(), Some("newer"), "and later ones are told of again");
}

/// On a file system that others may change behind the kernel's back, and where no watch is left, every call looks.
#[test]
fn without_a_watch_the_answers_are_the_same() {
    let folder = Folder::new();
    let dirs = ["lower", "upper", "work", "merged"].map(|dir| folder.data_dir().join(dir));
    dirs.iter().for_each(|dir| fs::create_dir(dir).expect("a folder"));
    let [lower, upper, work, merged] = &dirs;
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let Some(_mounted) = Mounted::new(&["-t", "overlay", "overlay", "-o", &options], merged) else {
        assert!(std::env::var_os("HIVEMIND_REQUIRE_MOUNT").is_none(), "an overlay cannot be mounted here, but it is required");
        eprintln!("skipped: mounting needs root");
        return;
    };
    let settings = format!(r#"{{"subfolder": "{}"}}"#, merged.display());
    let store =
        hivemind_json_plugin::backend::open(&settings, hivemind_abi::Host::detached(folder.data_dir())).expect("a handle");
    let id = store.prepare(&cx(), &[common::clients()]).expect("prepared")[0];
    put(&store, id, client(1, "key", "ours"));
    warm(&store, id);
    assert_eq!(means(&store), "stat");
    let mut shell = Shell::new(merged);
    for round in 0..60 {
        let text = file_with(&format!("{round:02}"));
        shell.run(&match round % 3 {
            0 => format!("echo '{text}' > new && mv new clients.json"),
            1 => format!("echo '{text}' > clients.json"),
            _ => format!("echo '{text}' 1<> clients.json"),
        });
        assert_eq!(name(&store, id, 1), Some(format!("{round:02}")));
    }
}

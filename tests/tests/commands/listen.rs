//! `listen`: what it needs to start, what it says, and how it stops.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use hivemind_tests::node::{Backend, Client, Make, Satellites, Site, UTTERANCE};
use hivemind_tests::program::Ended;
use hivemind_tests::waiting::{HANGS, wait_until};
use hivemind_tests::{ports, python};
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// A node of an operator's home on a port of its own, killed when this goes.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(super) fn start(operator: &Operator, words: &[&str]) -> Self {
        Self::start_with(operator, words, |_| {})
    }

    fn start_with(operator: &Operator, words: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let log = operator.home().join("node.log");
        let mut command = operator.command(&[&["listen", "--host", "127.0.0.1"][..], words].concat());
        prepare(&mut command);
        let file = std::fs::File::create(&log).expect("a log");
        let child = command.stdout(Stdio::null()).stderr(file).spawn().expect("the program starts");
        let mut running = Self { child, log };
        wait_until("it listens", || {
            let ended = running.child.try_wait().expect("it is asked");
            assert!(ended.is_none(), "it ended ({ended:?}):\n{}", running.said());
            running.said().contains("istening")
        });
        running
    }

    pub(super) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The port it got.
    fn port(&self) -> u16 {
        let said = self.said();
        let (_, after) = said.split_once("Listening on ws://127.0.0.1:").expect("its address");
        after.lines().next().and_then(|port| port.parse().ok()).expect("a port")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the signal is sent");
    }

    pub(super) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("it ends", || {
            status = self.child.try_wait().expect("it is asked");
            status.is_some()
        });
        status.expect("it has ended")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a newcomer sees: nothing is configured, and the lines that the node prints lead to an answer, as they stand.
#[test]
fn the_first_run_says_what_to_do_next_and_it_works() {
    let operator = Operator::new();
    // No messagebus is where the first configuration says, unless somebody runs one on this machine.
    let node = Running::start(&operator, &["--port", "0", "--agent", "echo"]);
    let said = node.said();
    for part in [
        "Created ",
        "Listening on ws://127.0.0.1:",
        "Backend: hivemind-sqlite-db-plugin, 0 clients",
        "Agent: echo",
        "Audit log: ",
    ] {
        assert!(said.contains(part), "{part:?} in: {said}");
    }
    let line = |words: &str| {
        let line = said.lines().map(str::trim).find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words} in: {said}"));
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let program = hivemind_tests::build::program();
    let add: Vec<String> = line(&format!("{} add-client", program.display()));
    let added = operator.run(&add.iter().map(String::as_str).collect::<Vec<_>>()).well();
    let credential = |name: &str| {
        added.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in: {added}")).trim().to_owned()
    };
    let (key, password) = (credential("Access Key:"), credential("Password:"));
    let words: Vec<String> = line("hivemind-client terminal --host")
        .into_iter()
        .map(|word| match &*word {
            "KEY" => key.clone(),
            "PASSWORD" => password.clone(),
            _ => word,
        })
        .collect();
    let satellite = operator.home().join("satellite");
    std::fs::create_dir(&satellite).expect("a folder");
    let mut client = Command::new(python::venv().join("bin/hivemind-client"));
    client.args(words).stdin(Stdio::piped()).stderr(Stdio::null());
    python::isolate(&mut client, &satellite);
    let heard = satellite.join("heard");
    client.stdout(std::fs::File::create(&heard).expect("a file"));
    let mut client = hivemind_tests::waiting::KillOnDrop(client.spawn().expect("hivemind-client runs"));
    client.0.stdin.as_mut().expect("a pipe").write_all(b"good morning\n").expect("said");
    wait_until("the answer is there", || std::fs::read_to_string(&heard).unwrap_or_default().contains(">  good morning"));
    drop(client);
    let client = operator.client(1);
    assert!(client["last_seen"].as_f64().is_some_and(|seen| seen > 0.0), "{client}");
    assert!(node.stop().success());
    // A second start knows what is there.
    let node = Running::start(&operator, &["--port", "0", "--agent", "echo"]);
    assert!(node.said().contains("1 client\n") && !node.said().contains("There are no clients"), "{}", node.said());
    for secret in [key, password] {
        assert!(!node.said().contains(&secret));
    }
}

#[test]
fn auto_takes_the_messagebus_that_is_there_and_else_answers_itself() {
    let site = Site::new(Backend::Sqlite, &[Client::new("key-kitchen")]);
    let node = site.start_with(Make::Ours, &["--agent", "auto"], |_| {});
    wait_until("it is announced", || node.log().contains("Agent: ws://127.0.0.1:"));
    assert!(node.stop().0.success());
    site.change(|config| config["agent_protocol"]["hivemind-ovos-agent-plugin"]["port"] = ports::free().into());
    let node = site.start_with(Make::Ours, &["--agent", "auto"], |_| {});
    wait_until("it is announced", || node.log().contains("Agent: echo"));
    assert!(node.log().contains("no messagebus answers at 127.0.0.1:"), "{}", node.log());
}

#[test]
fn what_is_wrong_is_named_and_nothing_runs() {
    let operator = Operator::new();
    let wrong = |config: Value, words: &[&str], code: i32, parts: &[&str]| {
        operator.configure(&config);
        operator.run(&[&["listen"], words].concat()).fails(code, parts);
    };
    let own = |settings: Value| json!({"hivemind-host": settings});
    wrong(
        own(json!({"limits": {"handshake": 5}})),
        &[],
        3,
        &["server.json", "hivemind-host.limits.handshake", "did you mean `handshakes`?"],
    );
    wrong(json!({"agent_protocol": {"module": "x"}}), &[], 3, &["agent_protocol.module", "echo"]);
    wrong(json!({"policy": {"chain": [{"module": "x"}]}}), &[], 3, &["policy.chain[0]", "cannot be enforced"]);
    wrong(json!({}), &["--metrics", "0.0.0.0:0"], 2, &["--metrics", "loopback"]);
    wrong(json!({}), &["--client-certs", "require"], 3, &["connections are not encrypted", "--ssl"]);
    wrong(json!({"database": {"module": "nowhere"}}), &["--port", "0"], 4, &["error[plugin-not-found]"]);
    wrong(json!({}), &["--host", "192.0.2.77", "--port", "0", "--agent", "echo"], 3, &["error[address]", "192.0.2.77"]);
    assert!(!operator.data().join("audit.jsonl").exists(), "none of them ran");

    operator.configure(&json!({"agent_protocol": {"module": "echo"}}));
    let node = Running::start(&operator, &["--port", "0"]);
    let port = node.port().to_string();
    operator.run(&["listen", "--host", "127.0.0.1", "--port", &port]).fails(7, &["error[address-in-use]", "--port"]);
    assert!(node.stop().success());
}

/// Started by another user, or on another machine without the old one's identity: satellites would refuse it for good.
#[test]
fn no_identity_is_made_beside_clients_that_are_paired_with_another() {
    let operator = with_two("hivemind-sqlite-db-plugin");
    let words = ["--port", "0", "--agent", "echo"];
    let identity = operator.home().join("config/hivemind");
    assert!(Running::start(&operator, &words).stop().success(), "nobody is paired yet");
    operator.run(&["set-metadata", "1", "--key", "noise_pubkey", "--value", &"5f".repeat(32)]).well();
    assert!(Running::start(&operator, &words).stop().success(), "the identity is there");
    std::fs::remove_dir_all(&identity).expect("removed");
    operator
        .run(&[&["listen", "--host", "127.0.0.1"][..], &words].concat())
        .fails(3, &["error[identity-missing]", "_identity.json", "unnamed-node_noise.key", "help: ", "--new-identity"]);
    assert!(!identity.exists(), "nothing is left behind");
    assert!(Running::start(&operator, &[&words[..], &["--new-identity"]].concat()).stop().success());
    assert!(identity.join("unnamed-node_noise.key").exists());
}

/// Whoever reads the node's key can be the node to all its satellites.
#[test]
fn an_identity_that_others_can_read_is_said_and_refused_if_strict() {
    use std::os::unix::fs::PermissionsExt as _;
    let operator = with_two("hivemind-sqlite-db-plugin");
    let words = ["--port", "0", "--agent", "echo"];
    let node = Running::start(&operator, &words);
    assert!(!node.said().contains("chmod"), "{}", node.said());
    assert!(node.stop().success());
    let key = operator.home().join("config/hivemind/unnamed-node_noise.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let strict = [&["listen", "--host", "127.0.0.1", "--strict"][..], &words].concat();
    operator.run(&strict).fails(3, &["error[loose-mode]", "unnamed-node_noise.key (mode 0644)", "chmod"]);
    let node = Running::start(&operator, &words);
    let said = node.said();
    assert!(said.contains("unnamed-node_noise.key (mode 0644)") && said.contains("run: chmod"), "{said}");
    assert!(node.stop().success());
}

/// A node would take the clients that are not there yet for strangers, and satellites that are told so give up for ever.
#[test]
fn a_store_that_records_are_being_moved_into_is_refused() {
    let operator = Operator::with_seed(&json!({
        "0": {"client_id": 0, "api_key": "revoked", "name": "-", "metadata": {"hivemind_migration": {"from": "x", "mode": "copy"}}},
        "1": {"client_id": 1, "api_key": "a", "name": "a"},
    }));
    operator.run(&["listen", "--host", "127.0.0.1", "--port", "0", "--agent", "echo"]).fails(5, &["error[migrating]"]);
}

#[test]
fn signals_stop_it_and_sighup_does_not() {
    let site = Site::new(Backend::Sqlite, &[Client::new("key-kitchen")]);
    let mut satellites = Satellites::of(&site);
    let node = site.start(Make::Ours);
    satellites.up("one", &Client::new("key-kitchen"));
    node.signal(Signal::HUP);
    wait_until("it says so", || node.log().contains("SIGHUP"));
    satellites.send("one", UTTERANCE, &json!({"utterances": ["still there"]}));
    let (status, log) = node.stop();
    assert!(status.success() && log.contains("stopping"), "{log}");
    assert_eq!(satellites.end("one").0, Some(1001));
    assert!(!site.data().join("clients.db-wal").exists(), "the store was closed");
    let node = site.start(Make::Ours);
    node.signal(Signal::INT);
    let mut node = node;
    assert!(node.wait().success());
}

/// What systemd hears by the socket that it gives to a service of `Type=notify`.
#[test]
fn systemd_is_told_when_it_is_ready_that_it_lives_and_when_it_stops() {
    let operator = Operator::new();
    let path = operator.home().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(HANGS)).expect("a limit");
    let node = Running::start_with(&operator, &["--port", "0", "--agent", "echo"], |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "3000000");
    });
    let next = || {
        let mut buffer = [0; 4096];
        let size = socket.recv(&mut buffer).expect("it is told");
        String::from_utf8_lossy(&buffer[..size]).into_owned()
    };
    let hear = |wanted: &str| loop {
        let heard = next();
        if heard.lines().any(|line| line.starts_with(wanted)) {
            return heard;
        }
    };
    assert!(hear("READY=1").contains("STATUS=listening on 127.0.0.1:"));
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    node.signal(Signal::TERM);
    assert!(hear("STOPPING=1").contains("EXTEND_TIMEOUT_USEC="));
}

#[test]
fn logs_are_json_if_asked_for() {
    let operator = with_two("hivemind-sqlite-db-plugin");
    let node = Running::start(&operator, &["--port", "0", "--agent", "echo", "--log-format", "json"]);
    let said = node.said();
    assert!(node.stop().success());
    let lines: Vec<Value> = said.lines().map(parsed).collect();
    let listening = lines.iter().find(|line| line["message"] == "listening").unwrap_or_else(|| panic!("{said}"));
    assert_eq!((listening["clients"].as_u64(), listening["backend"].as_str()), (Some(2), Some("hivemind-sqlite-db-plugin")));
    assert!(listening["url"].as_str().is_some_and(|url| url.starts_with("ws://127.0.0.1:")), "{listening}");
}

#[test]
fn health_and_metrics_are_served_on_this_machine_alone() {
    let site = Site::new(Backend::Sqlite, &[Client::new("key-kitchen")]);
    let mut satellites = Satellites::of(&site);
    let _node = site.start(Make::Ours);
    satellites.up("one", &Client::new("key-kitchen"));
    satellites.denied("one", "not.allowed");
    wait_until("it is counted", || {
        let text = site.metrics();
        [
            "hivemind_satellites 1",
            "hivemind_handshakes_total{outcome=\"admitted\"} 1",
            "verdict=\"acl_disallowed_type\"} 1",
            "hivemind_storage_up 1",
        ]
        .iter()
        .all(|part| text.contains(part))
    });
    let text = site.metrics();
    assert!(text.contains("hivemind_storage_call_seconds_count{call=\"by_access_key\"}"), "{text}");
    assert!(text.contains("hivemind_cache_lookups_total{result=\"hit\"}") && !text.contains("key-kitchen"), "{text}");
}

/// The unit file names a command line that the program understands.
#[test]
fn the_systemd_unit_starts_what_there_is() {
    let unit = std::fs::read_to_string(hivemind_tests::root().join("packaging/systemd/hivemind-host.service")).expect("the unit");
    let setting = |name: &str| unit.lines().filter_map(|line| line.strip_prefix(&format!("{name}="))).collect::<Vec<_>>();
    let start = setting("ExecStart");
    let words: Vec<&str> = start[0].split_whitespace().skip(1).chain(["--help"]).collect();
    Operator::new().run(&words).well();
    assert_eq!(setting("Type"), ["notify"]);
    assert!(setting("PrivateTmp").is_empty(), "the JSON backend's lock lies in the shared temp folder");
    assert!(setting("ReadWritePaths").contains(&"/tmp"));
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(hivemind_tests::root().join("packaging/systemd/hivemind-host.service"))
        .output();
    let Ok(output) = verified else {
        // To the terminal itself: what a test prints that passes is not shown.
        let mut stderr = std::io::stderr();
        let _ = writeln!(
            stderr,
            "\nSKIPPED the check of the unit file by systemd: there is no systemd-analyze here (Debian: apt-get install systemd)\n"
        );
        return;
    };
    let ended = Ended::from(output);
    let complaints: Vec<_> = ended
        .err
        .lines()
        .filter(|line| line.contains("hivemind-host.service:"))
        .filter(|line| !line.contains("not executable"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

//! How a node ends, and what it tells whoever watches over it.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use hivemind_tests::node::raw::{Device, Frame, Raw};
use hivemind_tests::waiting::{HANGS, wait_until};
use rustix::process::Signal;

use super::*;

/// Satellites are told that they may come back, and nobody who dawdles keeps the node from ending.
#[test]
fn sigterm_takes_leave_of_every_satellite() {
    let clients = ["key-one", "key-two", "key-three"].map(Client::new);
    let mut stage = Stage::new(Make::Ours, Backend::Sqlite, &clients);
    let port = stage.node.port();
    stage.satellites.up("one", &clients[0]);
    let mut device = Device::up(port, "two", &clients[1]);
    let mut opening = Raw::of(port, "three", "key-three");
    opening.opening().expect("it begins");
    // One that has not even asked for anything.
    let _silent = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    device.send(UTTERANCE, &json!({"utterances": ["last words"]}));
    stage.tap.wait_for(UTTERANCE);
    let (status, log) = stage.node.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(matches!(device.raw.end(), Frame::Close(1001, _)));
    assert!(matches!(opening.end(), Frame::Close(1001, _) | Frame::Gone));
    assert_eq!(stage.satellites.end("one").0, Some(1001));
    // The satellite comes back by itself.
    let _node = stage.site.start(Make::Ours);
    stage.satellites.ask("one", "up", &json!({}));
}

/// Satellites that do not part are waited for, but not by an operator who is in a hurry.
#[test]
fn a_second_sigterm_stops_at_once() {
    let clients = ["key-one", "key-two"].map(Client::new);
    let stage = Stage::new(Make::Ours, Backend::Sqlite, &clients);
    // They never answer the close, nor let go of the connection.
    let mut dawdlers = clients.each_ref().map(|client| Device::up(stage.node.port(), "dawdler", client));
    // Whose message has arrived, is in: a satellite is up before the node has its key.
    dawdlers.iter_mut().for_each(|device| device.send(UTTERANCE, &json!({})));
    clients.iter().for_each(|_| drop(stage.tap.wait_for(UTTERANCE)));
    let mut node = stage.node;
    node.signal(Signal::TERM);
    wait_until("it stops", || node.log().contains("stopping; satellites have"));
    assert!(!node.has_ended(), "it waits:\n{}", node.log());
    node.signal(Signal::TERM);
    let status = node.wait();
    let log = node.log();
    assert!(status.code() == Some(0) && log.contains("stopped at once"), "{log}");
    // Its last lines are written all the same.
    let last = stage.site.run(&["audit", "tail", "-n", "1"]).well();
    assert!(last.contains("stopped"), "{last}");
    drop(dawdlers);
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let site = Site::new(Backend::Sqlite, &[Client::new("key-kitchen")]);
    let path = site.home().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(HANGS)).expect("set");
    let node = site.start_with(Make::Ours, &[], |command| _ = command.env("NOTIFY_SOCKET", &path));
    let told = |word: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{word} was not said: {e}"));
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == word) {
                return;
            }
        }
    };
    told("READY=1");
    let (status, log) = node.stop();
    told("STOPPING=1");
    assert_eq!(status.code(), Some(0), "{log}");
}

/// A node without a listener is no node: whoever has the port is named, and nothing else runs on.
#[test]
fn a_port_that_is_taken_is_said_so() {
    let site = Site::new(Backend::Sqlite, &[Client::new("key-kitchen")]);
    let _first = site.start(Make::Ours);
    let metrics = hivemind_tests::ports::free().to_string();
    let mut child =
        site.command(&["listen", "--metrics", &metrics]).stderr(std::process::Stdio::piped()).spawn().expect("it starts");
    let end = std::time::Instant::now() + HANGS;
    while child.try_wait().expect("it is asked").is_none() {
        assert!(std::time::Instant::now() < end || child.kill().is_err(), "it runs on without a listener");
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("it ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&site.port().to_string()), "{said}");
}

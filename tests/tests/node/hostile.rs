//! Peers that do harm.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hivemind_tests::node::forger::{FIRST, Forger, MORE};
use hivemind_tests::node::raw::{self, Device, Frame, Raw, bus, envelope};
use hivemind_tests::waiting::{HANGS, StopOnDrop};

use super::*;

on_both!(frames_that_are_not_the_next);

const NOT_NEXT: &str = "invalid Noise transport message (tampered, replayed or out-of-order)";

type Deed = fn(&mut Device);

/// In a session every frame is the next one of the one who has the key, or the session is over; what came before has counted once.
fn frames_that_are_not_the_next(make: Make) {
    let deeds: [(&str, Deed); 6] = [
        (NOT_NEXT, |device| drop(device.raw.binary(vec![7; 200]))),
        (NOT_NEXT, |device| drop(device.raw.binary(Vec::new()))),
        ("non-Noise message received on a protocol v3 session", |device| drop(device.raw.text("{}"))),
        (NOT_NEXT, |device| {
            let frame = utterance(device, "once").remove(0);
            let _ = device.raw.binary(frame.clone()).and_then(|()| device.raw.binary(frame));
        }),
        (NOT_NEXT, |device| {
            let (first, second) = (utterance(device, "never").remove(0), utterance(device, "never").remove(0));
            let _ = device.raw.binary(second).and_then(|()| device.raw.binary(first));
        }),
        (NOT_NEXT, |device| {
            let mut frame = utterance(device, "never").remove(0);
            frame[20] ^= 1;
            let _ = device.raw.binary(frame);
        }),
    ];
    let clients: Vec<Client> = (0..=deeds.len()).map(|n| Client::new(&format!("key-{n}"))).collect();
    let stage = Stage::new(make, Backend::Sqlite, &clients);
    let mut bystander = Device::up(stage.node.port(), "bystander", &clients[deeds.len()]);
    for (n, (reason, deed)) in deeds.into_iter().enumerate() {
        let mut device = Device::up(stage.node.port(), "device", &clients[n]);
        deed(&mut device);
        let end = device.raw.end();
        // The Python node means the same, but most often closes with another reason before it says so, or drops the connection.
        assert!(end == Frame::Close(1008, reason.to_owned()) || make == Make::Python, "deed {n}: {end:?}");
    }
    bystander.send(UTTERANCE, &json!({"utterances": ["last"]}));
    stage.tap.wait("the bystander", |m| m["data"]["utterances"][0] == "last");
    let said: Vec<_> = stage.tap.heard().into_iter().filter(|m| m["type"] == UTTERANCE).collect();
    assert_eq!(said[0]["data"]["utterances"][0], "once");
    // The Python node closes a little later than it decides to, and takes a good frame that comes between.
    assert!(said.len() == 1 || make == Make::Python, "{said:?}");
}

fn utterance(device: &mut Device, text: &str) -> Vec<Vec<u8>> {
    device.sealed(envelope("bus", &bus(UTTERANCE, &json!({"utterances": [text]}))).to_string().as_bytes())
}

/// Bytes that a node may grow by for each of many connections: the system's own share of a socket is not counted in it.
const PER_CONNECTION: u64 = 40 << 10;
/// And once, whatever it was for.
const AT_ONCE: u64 = 24 << 20;
/// What a node may need besides for what it does at the time.
const SLACK: u64 = 12 << 20;
/// Connections at once whose session is not up; `limits.handshakes` unless `server.json` says otherwise.
const HANDSHAKES: u64 = 2000;

/// A site whose node gives strangers as little time as it may.
fn impatient(clients: &[Client], limits: &Value) -> Stage {
    let site = Site::new(Backend::Sqlite, clients);
    site.change(|config| {
        let mut all = json!({"handshake_seconds": 5});
        for (name, value) in limits.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        config["hivemind-host"]["limits"] = all;
    });
    Stage::on(site, Make::Ours)
}

/// Whoever is in is served, and whoever has a right to come in comes in.
fn others_are_served(stage: &Stage, device: &mut Device, newcomer: &Client) {
    for text in ["first", "second"] {
        device.send(UTTERANCE, &json!({"mark": text}));
        stage.tap.wait(text, |m| m["data"]["mark"] == text);
    }
    let mut newcomer = Device::up(stage.node.port(), "newcomer", newcomer);
    newcomer.send(UTTERANCE, &json!({"mark": "newcomer"}));
    stage.tap.wait("the newcomer", |m| m["data"]["mark"] == "newcomer");
}

/// Connections that say nothing, that never finish a request, that feed it byte by byte, or never begin a handshake: their time is up
/// before they cost anything.
#[test]
fn who_never_finishes_is_put_out() {
    let clients = ["key-in", "key-new", "key-slow"].map(Client::new);
    let stage = impatient(&clients, &json!({}));
    let port = stage.node.port();
    let mut device = Device::up(port, "device", &clients[0]);
    let before = stage.node.resident();
    let mut slow: Vec<TcpStream> = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        if n % 10 == 9 {
            // It will never say anything any more, and still listens.
            stream.shutdown(Shutdown::Write).expect("half closed");
        }
        let begun: &[u8] = match n % 3 {
            _ if n % 10 == 9 => b"",
            0 => b"",
            1 => b"GET /?authorization=bmFtZTprZXk= HTTP/1.1\r\nHost: x\r\nX: ",
            // A TLS greeting, where there is no TLS.
            _ => &[22, 3, 1, 2, 0, 1],
        };
        stream.write_all(begun).expect("sent");
        slow.push(stream);
    }
    // Half of a connection is none, whatever it was before.
    let half = Device::up(port, "half", &clients[2]);
    half.raw.stream().shutdown(Shutdown::Write).expect("half closed");
    let mut shy: Vec<Raw> = (0..100).map(|_| Raw::of(port, "shy", "key-slow")).collect();
    others_are_served(&stage, &mut device, &clients[1]);
    // Byte by byte, for as long as the node listens.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stops = StopOnDrop(&over);
        let feeders = slow.iter().map(|stream| stream.try_clone().expect("a handle")).collect::<Vec<_>>();
        let over = &over;
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                feeders.iter().for_each(|mut stream| drop(stream.write(b"a")));
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        for mut stream in slow {
            stream.set_read_timeout(Some(HANGS)).expect("set");
            // An answer or none, but the end.
            let ended = std::io::copy(&mut stream, &mut std::io::sink());
            assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset), "it is kept");
        }
        let mut half = half;
        assert!(matches!(half.raw.end(), Frame::Gone | Frame::Close(..)));
        for raw in &mut shy {
            let end = raw.end();
            assert!(matches!(end, Frame::Close(1013, _)), "{end:?}");
        }
        drop(stops);
    });
    let grown = stage.node.resident().saturating_sub(before);
    assert!(grown < AT_ONCE + 400 * PER_CONNECTION, "{grown} bytes more");
    others_are_served(&stage, &mut device, &clients[1]);
}

/// Frames that are too long, or say that they will be: not a byte of room is made for what has not come.
#[test]
fn what_is_too_long_is_not_taken() {
    let clients = ["key-in", "key-new", "key-a", "key-b", "key-c"].map(Client::new);
    let stage = impatient(&clients, &json!({}));
    let port = stage.node.port();
    let mut device = Device::up(port, "device", &clients[0]);
    let before = stage.node.resident();
    // A header that announces an exabyte, masked.
    let announced = [0x82, 0xff, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    for client in &clients[2..] {
        let mut raw = Raw::of(port, "long", &client.key);
        raw.opening().expect("it begins");
        raw.bytes(&announced).expect("sent");
        assert!(matches!(raw.end(), Frame::Close(1009, _)));
        let mut raw = Raw::of(port, "long", &client.key);
        raw.opening().expect("it begins");
        // More than any handshake needs, by far.
        let _ = raw.text(&" ".repeat(4 << 20));
        assert!(matches!(raw.end(), Frame::Close(1009, _) | Frame::Gone));
        let mut up = Device::up(port, "long", client);
        up.raw.bytes(&announced).expect("sent");
        assert!(matches!(up.raw.end(), Frame::Close(1009, _)));
    }
    // Requests that never end.
    for _ in 0..3 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let long = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 8 << 20]].concat();
        assert!(stream.write_all(&long).is_err() || stream.read(&mut [0; 64]).is_ok());
    }
    let grown = stage.node.resident().saturating_sub(before);
    assert!(grown < AT_ONCE, "{grown} bytes more");
    others_are_served(&stage, &mut device, &clients[1]);
}

/// The longest message there is, in bytes.
const LONGEST: usize = 32 << 20;
/// How much of a message is in a frame.
const CHUNK: usize = 65_000;

/// A message that never ends, by somebody who has the keys: it costs no more than the longest message there is, and is the last.
#[test]
fn a_message_without_an_end_is_the_last() {
    let clients = ["key-in", "key-new", "key-endless"].map(Client::new);
    let stage = Stage::new(Make::Ours, Backend::Sqlite, &clients);
    let port = stage.node.port();
    let mut device = Device::up(port, "device", &clients[0]);
    let mut endless = Forger::up(port, "endless", &clients[2]);
    let chunk = [b'a'; CHUNK];
    let say = |device: &mut Device, text: &str| {
        device.send(UTTERANCE, &json!({"mark": text}));
        stage.tap.wait(text, |m| m["data"]["mark"] == text);
    };
    say(&mut device, "before");
    let grown = stage.node.grown_while(|| {
        endless.send(FIRST, &chunk).expect("sent");
        for n in 1..LONGEST / CHUNK {
            endless.send(MORE, &chunk).unwrap_or_else(|e| panic!("chunk {n}: {e}"));
            if n % 100 == 0 {
                say(&mut device, &format!("at {n}"));
            }
        }
        // So far it may still become a message.
        assert_eq!(endless.raw.read_within(Duration::from_millis(200)), None);
        endless.send(MORE, &chunk).expect("sent");
        assert_eq!(endless.raw.end(), Frame::Close(1008, NOT_NEXT.to_owned()));
        // Whatever else it says, for as long as it is listened to.
        let _ = (0..2 * LONGEST / CHUNK).try_for_each(|_| endless.send(MORE, &chunk));
        say(&mut device, "after");
    });
    println!("a message without an end: {} KiB more at the most", grown >> 10);
    assert!(grown > LONGEST as u64 / 2, "{grown} bytes: was it held at all?");
    assert!(grown < LONGEST as u64 + SLACK, "{grown} bytes more");
    others_are_served(&stage, &mut device, &clients[1]);
}

/// One that never reads is put out before much waits for it, and holds up nobody.
#[test]
fn who_never_reads_is_put_out() {
    let clients = ["key-in", "key-new", "key-deaf"].map(Client::new);
    let stage = impatient(&clients, &json!({"outbox_bytes": 1 << 20}));
    let port = stage.node.port();
    let mut device = Device::up(port, "device", &clients[0]);
    let mut deaf = Device::up(port, "deaf", &clients[2]);
    deaf.send(UTTERANCE, &json!({"mark": "deaf"}));
    stage.tap.wait("the deaf one", |m| m["data"]["mark"] == "deaf");
    let before = stage.node.resident();
    let to = [peer("deaf", 3, &clients[2], "session-of-deaf"), peer("device", 1, &clients[0], "session-of-device")];
    let text = "a".repeat(200_000);
    for n in 0..200 {
        let context = json!({"source": "skills", "destination": to});
        stage.tap.say(&json!({"type": "speak", "data": {"text": text, "n": n}, "context": context}));
        assert_eq!(device.wait("speak")["payload"]["data"]["n"], n);
    }
    let grown = stage.node.resident().saturating_sub(before);
    assert!(grown < AT_ONCE, "{grown} bytes more");
    // It reads again, and finds what was on its way, and the end.
    let end = loop {
        match deaf.hear() {
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    assert!(matches!(end, Frame::Gone | Frame::Close(1011, _)), "{end:?}");
    others_are_served(&stage, &mut device, &clients[1]);
}

/// Thousands of connections whose handshake never ends: the oldest give way, and who has a right to come in does, while they are there.
/// `HIVEMIND_CONNECTIONS` says how many.
#[test]
fn thousands_that_never_finish_lock_nobody_out() {
    let many: u64 = std::env::var("HIVEMIND_CONNECTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_500);
    let clients = ["key-in", "key-new", "key-slow"].map(Client::new);
    let site = Site::new(Backend::Sqlite, &clients);
    let stage = Stage::on(site, Make::Ours);
    let port = stage.node.port();
    let mut device = Device::up(port, "device", &clients[0]);
    let before = stage.node.resident();
    let mut held = Vec::new();
    for n in 0..many {
        match n % 3 {
            // Known by its key, and then silent.
            0 => held.push(
                Raw::try_open(port, &raw::query("slow", "key-slow")).map(|raw| raw.stream().try_clone().expect("a handle")),
            ),
            _ => held.push(TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())),
        }
    }
    let open = held.iter().filter(|stream| stream.is_ok()).count() as u64;
    assert!(open > many / 2, "{open} of {many}: the test's own limit of open files?");
    others_are_served(&stage, &mut device, &clients[1]);
    let grown = stage.node.resident().saturating_sub(before);
    println!("{open} connections that never finish: {} KiB more", grown >> 10);
    // Beyond so many the oldest give way: it costs no more however many there are.
    assert!(grown < AT_ONCE + many.min(HANDSHAKES) * PER_CONNECTION, "{grown} bytes more");
    drop(held);
    others_are_served(&stage, &mut device, &clients[1]);
}

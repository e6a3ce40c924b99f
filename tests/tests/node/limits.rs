//! How many connections one address gets. This machine itself is not counted, so the tests have other addresses, in a network of their
//! own.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};

use hivemind_tests::namespaces::{have_addresses, in_network_of_its_own, is_inside};
use hivemind_tests::node::raw::{self, Device, Raw};
use hivemind_tests::waiting::{HANGS, wait_until};

use super::*;

#[test]
fn one_address_gets_its_share_and_no_more() {
    in_network_of_its_own("limits::inside_one_address_gets_its_share_and_no_more");
}

#[test]
#[ignore = "run by one_address_gets_its_share_and_no_more where it may have addresses"]
fn inside_one_address_gets_its_share_and_no_more() {
    if !is_inside() {
        return;
    }
    let [here, elsewhere] = [1, 2].map(|last| Ipv4Addr::new(192, 0, 2, last));
    have_addresses(&[here, elsewhere]);
    let kitchen = Client::new("key-kitchen");
    let site = Site::new(Backend::Sqlite, std::slice::from_ref(&kitchen));
    site.change(|config| {
        config["network_protocol"]["hivemind-websocket-plugin"]["host"] = json!("0.0.0.0");
        config["hivemind-host"]["limits"] = json!({"connections_per_address": 2});
    });
    let stage = Stage::on(site, Make::Ours);
    let port = stage.node.port();
    // Who connects to an address of this machine comes from the same.
    let open = |address: Ipv4Addr| Raw::try_open_at(address, port, &raw::query("device", &kitchen.key));
    let mut first = open(here).expect("its first");
    first.opening().expect("it begins");
    let mut second = TcpStream::connect((here, port)).expect("its second, which says nothing");
    let mut third = TcpStream::connect((here, port)).expect("taken by the system");
    third.set_read_timeout(Some(HANGS)).expect("set");
    assert_eq!(third.read(&mut [0; 16]).expect("an end"), 0, "closed without a word");
    assert!(open(here).is_err());
    // Others have their own share, and this machine has as many as it likes.
    open(elsewhere).expect("another's first").opening().expect("it begins");
    let mut own: Vec<Device> = (0..4).map(|n| Device::up(port, &format!("own-{n}"), &kitchen)).collect();
    own.iter_mut().for_each(|device| device.send(UTTERANCE, &json!({})));
    (0..4).for_each(|_| drop(stage.tap.wait_for(UTTERANCE)));
    second.set_nonblocking(true).expect("set");
    let waits = second.read(&mut [0; 16]).expect_err("nothing has come");
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock, "the second is still there");
    // Whoever watches over it sees who was refused and why.
    let log = stage.site.data().join("audit.jsonl");
    let refused = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let entries: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        entries.into_iter().filter(|e| e["event"] == "refused" && e["outcome"] == "too_many").collect::<Vec<_>>()
    };
    wait_until("both refusals are in the audit log", || refused().len() == 2);
    assert!(refused().iter().all(|entry| entry["address"] == here.to_string()), "{:?}", refused());
    // A place is free again when its connection is gone.
    first.cut();
    wait_until("its place is free", || open(here).is_ok_and(|mut raw| raw.opening().is_ok()));
}

use super::super::tests::common::{self, Server};
use super::super::{Link, Repeat};
use super::*;
use crate::config::Config;
use redis::cmd;

fn tracked(server: &Server) -> Link {
    let config = Config::parse(&format!(r#"{{"port": {}}}"#, server.port)).expect("settings");
    let link = Link::open(&config, &Host::detached("/nowhere")).expect("a link");
    assert!(link.track(&Context::unbounded(), vec![b"client:client:".to_vec(), b"client:api_key:".to_vec()]).expect("tracking"));
    link
}

fn settled(link: &Link) -> u64 {
    common::until("tracking", || link.tracking().now().is_some());
    link.tracking().now().expect("known")
}

fn keys_since(link: &Link, generation: u64) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    common::until("the change", || match link.tracking().since(generation) {
        Some((_, Changed::Keys(found))) => {
            keys = found;
            true
        }
        _ => false,
    });
    keys
}

#[test]
fn others_changes_are_told_by_key_and_a_flush_is_everything() {
    let server = Server::start(&[]);
    let link = tracked(&server);
    let before = settled(&link);
    assert_eq!(link.tracking().since(before), Some((before, Changed::Nothing)));
    server.tell("SET client:api_key_record:x 1");
    server.tell("SET client:client:7 1");
    assert_eq!(keys_since(&link, before), [b"client:client:7"]);
    let now = settled(&link);
    assert_eq!(link.tracking().since(now), Some((now, Changed::Nothing)));
    assert_eq!(link.tracking().since(0).map(|s| s.1), Some(Changed::Everything), "from before we listened");
    server.tell("FLUSHALL");
    common::until("the flush", || matches!(link.tracking().since(now), Some((_, Changed::Everything))));
}

#[test]
fn many_changes_are_forgotten_together() {
    let server = Server::start(&[]);
    let link = tracked(&server);
    let before = settled(&link);
    let mut pipe = redis::pipe();
    for n in 0..KEPT + 10 {
        pipe.cmd("SET").arg(format!("client:client:{n}")).arg(n);
    }
    link.pipeline(&Context::unbounded(), &pipe, Repeat::Safe).expect("written");
    common::until("all", || matches!(link.tracking().since(before), Some((_, Changed::Everything))));
}

#[test]
fn nothing_is_known_while_the_server_is_away_and_everything_may_have_changed_after() {
    let mut server = Server::start(&[]);
    let link = tracked(&server);
    let before = settled(&link);
    server.kill();
    common::until("the end", || link.tracking().now().is_none());
    server.restart();
    let after = settled(&link);
    assert!(after > before);
    assert_eq!(link.tracking().since(before).map(|s| s.1), Some(Changed::Everything));
}

/// A server that does not answer may be one whose news do not come either.
#[test]
fn a_server_that_does_not_answer_is_not_trusted_to_have_said_all() {
    let server = Server::start(&[]);
    let link = tracked(&server);
    let before = settled(&link);
    server.tell("CLIENT PAUSE 2500 ALL");
    common::until("the end", || link.tracking().now().is_none());
    assert_eq!(settled(&link), before, "nothing was lost on a connection that stayed");
}

#[test]
fn where_the_acl_forbids_it_nothing_is_tracked() {
    let server = Server::start(&[]);
    server.tell("ACL SETUSER hub on >tulip-98 ~client:* +@all -client|tracking");
    let block = format!(r#"{{"port": {}, "username": "hub", "password": "tulip-98"}}"#, server.port);
    let link = Link::open(&Config::parse(&block).expect("settings"), &Host::detached("/nowhere")).expect("a link");
    assert!(!link.track(&Context::unbounded(), vec![b"client:client:".to_vec()]).expect("an answer"));
    assert_eq!(link.tracking().now(), None);
    let get = cmd("GET").arg("client:client:1").to_owned();
    link.query(&Context::unbounded(), &get, Repeat::Safe).expect("all else works");
}

#[test]
fn every_master_of_a_cluster_is_listened_to_and_one_that_is_away_makes_all_unknown() {
    let mut nodes = common::cluster();
    let link = tracked(&nodes[0]);
    let before = settled(&link);
    for n in 0..20 {
        let set = cmd("SET").arg(format!("client:client:{n}")).arg(n).to_owned();
        link.query(&Context::unbounded(), &set, Repeat::Safe).expect("written");
    }
    common::until("all of them", || matches!(link.tracking().since(before), Some((_, Changed::Keys(keys))) if keys.len() == 20));
    nodes[2].kill();
    common::until("the end", || link.tracking().now().is_none());
}

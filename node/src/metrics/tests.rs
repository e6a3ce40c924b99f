use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hivemind_model::Code;

use super::*;
use crate::event::Party;

fn party() -> Party<'static> {
    Party { address: IpAddr::V4(Ipv4Addr::LOCALHOST), client: Some(1), name: "kitchen", access_key: "MARK" }
}

#[test]
fn what_happens_is_counted_by_words_of_fixed_lists() {
    let metrics = Arc::new(Metrics::default());
    let (address, took) = (party().address, Duration::from_micros(30));
    metrics.see(&Event::Connected { address });
    metrics.see(&Event::Connected { address });
    metrics.see(&Event::Disconnected { address });
    metrics.see(&Event::Admitted { party: party(), pattern: "XXpsk2", took });
    metrics.see(&Event::Refused { party: party(), refusal: Refusal::ForeignKey });
    for denied in [None, Some("acl_disallowed_type"), Some("a word of tomorrow"), Some("another")] {
        metrics.see(&Event::Judged { party: party(), envelope: "bus", message_type: "MARK", denied, took });
    }
    metrics.see(&Event::Judged { party: party(), envelope: "unheard of", message_type: "", denied: None, took });
    metrics.see(&Event::Called { call: "by_id", took, error: None });
    metrics.see(&Event::Called { call: "touch", took, error: Some(Code::Unavailable) });
    metrics.watch_cache(Arc::default());
    let text = metrics.text();
    for line in [
        "hivemind_connections 1",
        "hivemind_connections_taken_total 2",
        "hivemind_satellites 1",
        "hivemind_handshakes_total{outcome=\"admitted\"} 1",
        "hivemind_handshakes_total{outcome=\"foreign_key\"} 1",
        "hivemind_messages_total{envelope=\"bus\",verdict=\"allowed\"} 1",
        "hivemind_messages_total{envelope=\"bus\",verdict=\"acl_disallowed_type\"} 1",
        "hivemind_messages_total{envelope=\"bus\",verdict=\"other\"} 2",
        "hivemind_messages_total{envelope=\"other\",verdict=\"allowed\"} 1",
        "hivemind_message_seconds_bucket{le=\"0.000025\",verdict=\"allowed\"} 0",
        "hivemind_message_seconds_bucket{le=\"0.00005\",verdict=\"allowed\"} 2",
        "hivemind_message_seconds_bucket{le=\"+Inf\",verdict=\"denied\"} 3",
        "hivemind_message_seconds_count{verdict=\"denied\"} 3",
        "hivemind_storage_errors_total{call=\"touch\",code=\"unavailable\"} 1",
        "hivemind_storage_up 0",
        "hivemind_cache_lookups_total{result=\"hit\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in:\n{text}");
    }
    assert!(!text.contains("MARK") && text.ends_with("# EOF\n"));
    metrics.see(&Event::Called { call: "touch", took, error: Some(Code::Conflict) });
    assert!(metrics.storage_is_up(), "a conflict is an answer");
    metrics.see(&Event::Called { call: "by_id", took, error: Some(Code::Unavailable) });
    metrics.see(&Event::Called { call: "changes_since", took, error: None });
    assert!(!metrics.storage_is_up(), "nobody was asked what changed");
    metrics.see(&Event::Called { call: "by_id", took, error: None });
    assert!(metrics.storage_is_up());
}

/// All of a list, so that a new word of an event is not forgotten here.
#[test]
fn every_refusal_has_its_own_count() {
    let metrics = Arc::new(Metrics::default());
    for refusal in Refusal::ALL {
        metrics.see(&Event::Refused { party: party(), refusal });
    }
    let text = metrics.text();
    assert!(!text.contains("outcome=\"other\""), "{text}");
    assert_eq!(text.lines().filter(|l| l.starts_with("hivemind_handshakes_total{")).count(), Refusal::ALL.len());
}

#[test]
fn more_calls_than_places_are_left_out_and_do_no_harm() {
    let metrics = Arc::new(Metrics::default());
    for n in 0..40 {
        let call: &'static str = Box::leak(format!("call{n}").into_boxed_str());
        metrics.see(&Event::Called { call, took: Duration::from_secs(100), error: None });
    }
    let text = metrics.text();
    assert!(text.contains("call=\"call23\"") && !text.contains("call=\"call24\""), "{text}");
}

//! What the Python node's `sync()` finds wrong with a namespace that others have written.
//!
//! That function deletes all index sets, search documents and admission records, counts the records, and writes the sets, the documents
//! and both counters anew from the records alone. So a namespace in which everything is as it should be is the same before and after,
//! but for admission records, which come and go, and for two things that the Python node itself leaves behind: it does not advance
//! `id_seq` when it adds a client, and it keeps a set of the clients without a name.

use serde_json::{Map, Value, json};

use crate::python::Peer;

use super::{Deployment, Dump, difference};

/// Who has written in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Programs of ours alone: nothing may be left to repair.
    Ours,
    /// The Python node too: what it leaves behind itself does not count.
    Both,
}

/// Lets Python repair a namespace, and gives what that changed.
///
/// # Panics
/// If a server or Python does not answer.
#[must_use]
pub fn repairs(deployment: &Deployment, prefix: &str, writers: Writers, peer: &mut Peer) -> Vec<String> {
    open(deployment, prefix, peer);
    let base = deployment.base(prefix);
    let seen = |dump: Dump| {
        let mut dump = dump.without(&format!("{base}:api_key_record:"));
        if writers == Writers::Both {
            dump.0.remove(&format!("{base}:name:"));
            dump.0.remove(&format!("{base}:id_seq"));
        }
        dump
    };
    let before = seen(deployment.dump(&base));
    peer.ask(&json!({"op": "sync"}));
    difference(&before, &seen(deployment.dump(&base)))
}

/// Opens a namespace in a Python process, as its plugin does.
///
/// # Panics
/// If it does not open.
pub fn open(deployment: &Deployment, prefix: &str, peer: &mut Peer) {
    let mut request: Map<String, Value> = deployment.python_settings(prefix);
    request.extend([("op".to_owned(), json!("open")), ("kind".to_owned(), json!("redis"))]);
    peer.ask(&Value::Object(request));
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    /// Python's own writes need no repair by this measure, and each kind of damage is found.
    #[test]
    fn what_is_damaged_is_found_and_what_python_leaves_behind_is_not() {
        for kind in [Kind::Single, Kind::ClusterTagged] {
            let deployment = Deployment::start(kind, &[]);
            let home = tempfile::tempdir().expect("a folder");
            let mut peer = Peer::start(home.path());
            open(&deployment, "side", &mut peer);
            let base = deployment.base("side");
            for (name, key) in [("a", "key-1"), ("", "key-2"), ("c", "key-3")] {
                peer.ask(&json!({"op": "add_client", "name": name, "key": key}));
            }
            peer.ask(&json!({"op": "revoke", "id": 3}));
            assert_eq!(repairs(&deployment, "side", Writers::Both, &mut peer), Vec::<String>::new(), "{kind:?}");
            for words in [
                &["SREM", &format!("{base}:api_key:key-1"), "1"][..],
                &["SADD", &format!("{base}:name:gone"), "1"],
                &["INCR", &format!("{base}:count")],
                &["DEL", &format!("{base}:idx:2")],
                &["HSET", &format!("{base}:idx:1"), "name", "another"],
                &["HSET", &format!("{base}:idx:1"), "more", "fields"],
            ] {
                deployment.ask::<()>(words);
                let found = repairs(&deployment, "side", Writers::Both, &mut peer);
                assert!(matches!(&found[..], [one] if one.starts_with(words[1])), "{kind:?}, {words:?}: {found:?}");
            }
            deployment.ask::<()>(&["SET", &format!("{base}:id_seq"), "17"]);
            assert_eq!(repairs(&deployment, "side", Writers::Ours, &mut peer).len(), 1, "{kind:?}");
        }
    }
}

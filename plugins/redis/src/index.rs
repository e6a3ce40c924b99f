//! The RediSearch index that the Python node makes, where the server has that module.
//!
//! The decision behind it: **the index is kept for that node and not asked by us.** It finds words, not values, so what it says must be
//! compared with the records anyway; the sets of ids say the same exactly and in one trip. Documents (`P:idx:<id>`) are written with every
//! record, module or not, so that an index made at any time later finds them.

use hivemind_abi::Host;
use hivemind_abi::model::Context;
use redis::{Cmd, Value, cmd};

use crate::keys::{Keys, Namespace};
use crate::link::{Link, Repeat, items, text};

/// Makes the index, if the server has the module and nobody has made it yet. What goes wrong is said and does no harm.
pub(crate) fn ensure(cx: &Context<'_>, link: &Link, host: &Host, namespace: &Namespace, keys: &Keys) {
    let Some((documents, _)) = keys.document_prefixes() else { return };
    // A server without the module does not know the command.
    let Ok(answer) = link.query(cx, &cmd("FT._LIST"), Repeat::Safe) else { return };
    if is_listed(&answer, namespace.search_index()) {
        return;
    }
    match link.query(cx, &create(namespace, documents), Repeat::Idempotent) {
        Ok(_) => host.info(&format!("made the search index {}", namespace.search_index())),
        // Another node was quicker.
        Err(error) if error.message().contains("already exists") => {}
        Err(error) => host.warn(&format!("the search index {} could not be made: {}", namespace.search_index(), error.message())),
    }
}

fn is_listed(answer: &Value, index: &str) -> bool {
    items(answer).is_some_and(|names| names.iter().any(|name| text(name) == Some(index)))
}

/// The index as the Python node makes it.
fn create(namespace: &Namespace, documents: &str) -> Cmd {
    let mut create = cmd("FT.CREATE");
    create.arg(namespace.search_index()).arg("ON").arg("HASH").arg("PREFIX").arg(1).arg(documents);
    create.arg("SCHEMA").arg("name").arg("TEXT").arg("api_key").arg("TEXT");
    create
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_the_python_nodes() {
        let words = |namespace: &Namespace, documents: &str| {
            let create = create(namespace, documents);
            let words = create.args_iter().map(|arg| match arg {
                redis::Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
                _ => String::new(),
            });
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            words(&Namespace::new("client", None), "client:idx:"),
            "FT.CREATE client_search_index ON HASH PREFIX 1 client:idx: SCHEMA name TEXT api_key TEXT"
        );
        assert_eq!(
            words(&Namespace::new("client", Some("hub")), "client:{hub}:idx:"),
            "FT.CREATE client_hub_search_index ON HASH PREFIX 1 client:{hub}:idx: SCHEMA name TEXT api_key TEXT"
        );
    }

    #[test]
    fn an_index_that_is_listed_is_not_made_again() {
        let listed =
            Value::Array(vec![Value::BulkString(b"other".to_vec()), Value::SimpleString("client_search_index".to_owned())]);
        assert!(is_listed(&listed, "client_search_index") && !is_listed(&listed, "client"));
    }
}

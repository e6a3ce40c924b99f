//! The JSON backend against the reference model, reopened between batches.

#[path = "../../memory/tests/random/mod.rs"]
mod random;

use hivemind_abi::Host;
use hivemind_json_plugin::backend::open;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_answers_like_the_reference_model(batches in random::batches(), reopen_each in 1..4_usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let handle = || open(r#"{"name": "hivemind-test-model"}"#, Host::detached(folder.path())).expect("a handle");
        let mut batch = 0;
        random::compare(handle(), &batches, |store| {
            batch += 1;
            if batch % reopen_each == 0 { handle() } else { store }
        });
    }
}

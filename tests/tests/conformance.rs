//! The conformance kit and its model test on each shipped backend and the vendor's example: one test for each behaviour and backend.

use std::path::Path;
use std::sync::Arc;

use hivemind_conformance::{Failure, Subject, applicable, model_test};
use hivemind_tests::subject::Shipped;
use libtest_mimic::{Arguments, Completion, Trial};

/// Sequences of the model test for each backend.
const SEQUENCES: u32 = 100;

fn main() {
    let arguments = Arguments::from_args();
    let peer = Path::new(env!("CARGO_BIN_EXE_backend-peer"));
    let mut trials = Vec::new();
    let plain = ["memory", "json", "sqlite", "ledger"].map(|module| Shipped::new(module, peer));
    let encrypted = ["json", "sqlite"].map(|module| Shipped::new(module, peer).encrypted());
    for subject in plain.into_iter().chain(encrypted) {
        let (module, subject) = (subject.name(), Arc::new(subject));
        let capabilities =
            subject.fresh().and_then(|store| Ok(store.open()?.capabilities())).unwrap_or_else(|e| panic!("{module}: {e}"));
        for case in applicable(capabilities) {
            let subject = Arc::clone(&subject);
            trials.push(Trial::ignorable_test(format!("{module}::{}", case.name), move || match case.run(subject.as_ref()) {
                Ok(()) => Ok(Completion::Completed),
                Err(Failure::Skipped(why)) => Ok(Completion::ignored_with(why)),
                Err(failure) => Err(format!("{}\n{failure}", case.sentence).into()),
            }));
        }
        trials.push(Trial::test(format!("{module}::model"), move || {
            model_test(subject.as_ref(), SEQUENCES, 0x68_6976_656d).map_err(|failure| failure.to_string().into())
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

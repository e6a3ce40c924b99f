//! The conformance kit and its model test on each shipped backend and the vendor's example: one test for each behaviour and backend.

use std::path::Path;
use std::sync::Arc;

use hivemind_conformance::{Failure, Subject, applicable, model_test};
use hivemind_tests::redis::Kind;
use hivemind_tests::redis::subject::Redis;
use hivemind_tests::subject::Shipped;
use libtest_mimic::{Arguments, Completion, Trial};

/// Sequences of the model test for each backend.
const SEQUENCES: u32 = 100;

fn main() {
    let arguments = Arguments::from_args();
    let peer = Path::new(env!("CARGO_BIN_EXE_backend-peer"));
    let plain = ["memory", "json", "sqlite", "ledger"].map(|module| Shipped::new(module, peer));
    let encrypted = ["json", "sqlite"].map(|module| Shipped::new(module, peer).encrypted());
    let shipped = plain.into_iter().chain(encrypted).map(|subject| Arc::new(subject) as Arc<dyn Subject>);
    // A Unix socket is another way to the same.
    let redis = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Socket);
    let redis = redis.map(|kind| Arc::new(Redis::new(kind, peer)) as Arc<dyn Subject>);
    let subjects: Vec<_> = shipped.chain(redis).filter(|subject| is_wanted(&arguments, &subject.name())).collect();
    // Asking what a backend promises starts its servers; those of a cluster take seconds to find each other.
    let trials: Vec<Trial> = std::thread::scope(|scope| {
        let asking: Vec<_> = subjects.into_iter().map(|subject| scope.spawn(move || trials(&subject))).collect();
        asking.into_iter().flat_map(|asked| asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    libtest_mimic::run(&arguments, trials).exit();
}

/// Whether a test of this subject could be among those that are asked for.
fn is_wanted(arguments: &Arguments, subject: &str) -> bool {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    filter.split_once("::").is_none_or(|(before, _)| if arguments.exact { subject == before } else { subject.ends_with(before) })
}

fn trials(subject: &Arc<dyn Subject>) -> Vec<Trial> {
    let name = subject.name();
    let capabilities =
        subject.fresh().and_then(|store| Ok(store.open()?.capabilities())).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut trials = Vec::new();
    for case in applicable(capabilities) {
        let subject = Arc::clone(subject);
        trials.push(Trial::ignorable_test(format!("{name}::{}", case.name), move || match case.run(subject.as_ref()) {
            Ok(()) => Ok(Completion::Completed),
            Err(Failure::Skipped(why)) => Ok(Completion::ignored_with(why)),
            Err(failure) => Err(format!("{}\n{failure}", case.sentence).into()),
        }));
    }
    let subject = Arc::clone(subject);
    trials.push(Trial::test(format!("{name}::model"), move || {
        model_test(subject.as_ref(), SEQUENCES, 0x68_6976_656d).map_err(|failure| failure.to_string().into())
    }));
    trials
}

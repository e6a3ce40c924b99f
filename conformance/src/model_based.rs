//! Random sequences of operations, on the subject and on the reference model at once.
//!
//! Outcomes, error codes, the failing mutation's position, every answer and the whole contents after every batch must agree. What
//! cannot be predicted is adopted: a backend with a counter may assign a greater key than the reference would, if it is free.

mod run;
mod steps;

use std::cell::RefCell;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::case::{Checked, Failure};
use crate::subject::Subject;
use run::Run;

/// The longest sequence.
const STEPS: usize = 24;

/// Compares the subject with the reference model in `cases` random sequences, which `seed` determines.
///
/// # Errors
/// The shortest failing sequence that was found, and in what they differ.
pub fn model_test(subject: &dyn Subject, cases: u32, seed: u64) -> Checked {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    // One store serves all sequences, because a fresh one can be expensive. A failed one is given up.
    let store = RefCell::new(None);
    let run_one = |steps: Vec<steps::Step>| {
        let run = match store.take() {
            Some(store) => Run::again(store),
            None => Run::fresh(subject),
        };
        match run.and_then(|run| run.all(&steps)) {
            Ok(left) => {
                store.replace(Some(left));
                Ok(())
            }
            Err(failure) => Err(TestCaseError::fail(failure.to_string())),
        }
    };
    match runner.run(&steps::sequences(STEPS), run_one) {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, steps)) => {
            let listed: Vec<String> = steps.iter().enumerate().map(|(i, step)| format!("  {}. {step:?}", i + 1)).collect();
            Err(Failure::wrong(format!("{reason}, with seed {seed}, in the sequence\n{}", listed.join("\n"))))
        }
        Err(TestError::Abort(reason)) => Err(Failure::wrong(format!("the test gave up: {reason}"))),
    }
}

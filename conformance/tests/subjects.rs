//! The kit on what must pass it: the reference model, and the model's indexed tables.

mod common;

use common::InMemory;
use common::lesser::Lesser;
use common::shelf::Shelf;
use hivemind_conformance::{Case, Subject, cases, check, model_test};

fn conforms(subject: &dyn Subject, may_skip: &[&str]) {
    let summary = check(subject, "").expect("the store opens");
    println!("{summary}");
    assert!(summary.passed(), "{summary}");
    let skipped: Vec<_> = summary.skipped().map(|(case, _)| case.name).collect();
    assert!(skipped.iter().all(|name| may_skip.iter().any(|may| name.starts_with(may))), "skipped: {skipped:?}");
}

#[test]
fn the_reference_model_passes_what_applies_to_it() {
    conforms(&InMemory, &["shared::"]);
}

#[test]
fn the_tables_pass_every_case() {
    conforms(&Shelf::default(), &[]);
}

#[test]
fn a_backend_that_promises_nothing_passes_what_is_left_and_the_negative_cases() {
    conforms(&Lesser, &["shared::"]);
    let run: Vec<_> = check(&Lesser, "negative::").expect("the store opens").results.iter().map(|(c, _, _)| c.name).collect();
    assert_eq!(run.len(), 6, "{run:?}");
    model_test(&Lesser, 50, 5).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_reference_model_agrees_with_itself() {
    model_test(&InMemory, 100, 7).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_tables_agree_with_the_reference_model() {
    model_test(&Shelf::default(), 400, 7).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn case_names_are_unique_and_say_their_theme() {
    let mut names: Vec<_> = cases().iter().map(|c: &Case| c.name).collect();
    assert!(names.iter().all(|name| name.contains("::")), "{names:?}");
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "every name once");
    assert!(cases().iter().all(|case| case.sentence.ends_with('.')), "each sentence ends");
    println!("{count} cases");
}

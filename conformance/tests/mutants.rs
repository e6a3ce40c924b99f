//! The proof that the kit can fail: each broken backend is caught by the cases that are there for it.

mod common;

use common::mutant::{Broken, Fault};
use hivemind_conformance::{Failure, cases, check, model_test};

/// What is broken, and the cases that must catch it.
const MUTANTS: &[(Fault, &[&str])] = &[
    (Fault::NotRolledBack, &["batch::fails_at_each_position", "batch::several_collections", "batch::large", "races::transfers"]),
    (Fault::LaterMutationsBlind, &["batch::sees_earlier"]),
    (Fault::InsertReplaces, &["mutate::insert_taken", "races::insert"]),
    (Fault::PutMerges, &["mutate::put"]),
    (Fault::UpdateOfAbsentSucceeds, &["mutate::update_absent"]),
    (Fault::DeleteOfAbsentFails, &["mutate::delete", "mutate::delete_when"]),
    (Fault::DeleteCountsWrong, &["mutate::delete", "races::delete"]),
    (Fault::UpdateRewritesOldRow, &["races::increments", "races::fields", "races::members"]),
    (Fault::WhenIgnored, &["mutate::update_when", "mutate::delete_when", "races::when"]),
    (Fault::WhenCheckedBefore, &["races::when"]),
    (Fault::ExpectIgnored, &["mutate::expect", "races::expect"]),
    (Fault::ExpectComparesBytes, &["mutate::expect_canonical"]),
    (Fault::ExpectIsNotFolded, &["mutate::expect_as_put"]),
    (Fault::DeleteWhereIgnoresLimit, &["mutate::delete_where_limit", "mutate::delete_where_order"]),
    (Fault::DeleteWhereIgnoresOrder, &["mutate::delete_where_order"]),
    (Fault::InsertNextCounts, &["ids::behind_the_greatest", "ids::after_deletes"]),
    (Fault::InsertNextReadsBefore, &["races::insert_next", "shared::insert_next"]),
    (Fault::InsertNextBurnsKeys, &["ids::none_burnt"]),
    (Fault::IncrementWraps, &["narrow::increment_overflow"]),
    (Fault::ErrorNamesNoMutation, &["mutate::insert_taken", "batch::fails_at_each_position"]),
    (Fault::ConflictIsRetryable, &["mutate::insert_taken"]),
    (Fault::UniqueNotEnforced, &["unique::taken", "unique::after_reopening", "races::unique", "shared::unique"]),
    (Fault::ExceptionIgnored, &["unique::excepted", "prepare::primary"]),
    (Fault::NilIsUnique, &["unique::nil"]),
    (Fault::TextCutAtNul, &["values::texts", "unique::by_bytes"]),
    (Fault::TextTrimmed, &["values::texts", "unique::by_bytes"]),
    (Fault::TextNormalised, &["values::texts", "operators::eq"]),
    (Fault::EmptyTextIsNil, &["values::empty_is_not_nil", "unique::empty"]),
    (Fault::LongTextCut, &["values::a_mebibyte"]),
    (Fault::IntsThroughDoubles, &["values::ints", "read::by_int_key"]),
    (Fault::RealsRounded, &["values::reals"]),
    (Fault::JsonNumbersRounded, &["values::json_numbers", "operators::eq"]),
    (Fault::JsonUnchecked, &["malformed::values", "malformed::deep_json"]),
    (Fault::JsonNullIsAValue, &["values::json_null"]),
    (Fault::HalfSurrogatesMerged, &["values::half_surrogates"]),
    (Fault::NeMatchesNil, &["operators::ne", "operators::on_text"]),
    (Fault::InMatchesNil, &["operators::in", "operators::on_int"]),
    (Fault::EmptyInMatchesAll, &["operators::in"]),
    (Fault::LikeFoldsCase, &["operators::like"]),
    (Fault::LikeIgnoresEscape, &["operators::like", "operators::on_text"]),
    (Fault::ZeroHasASign, &["operators::eq", "operators::on_real"]),
    (Fault::IntsComparedAsDoubles, &["operators::eq", "operators::on_int"]),
    (Fault::JsonComparedAsText, &["operators::eq", "operators::on_json"]),
    (Fault::ContainsFindsText, &["operators::contains"]),
    (Fault::AbsentMemberIsNotNil, &["members::by_hand", "members::evaluated"]),
    (Fault::OrderByUtf16, &["order::ascending", "order::every_field"]),
    (Fault::TiesByChance, &["order::ties", "paging::every_limit"]),
    (Fault::DescendingNilFirst, &["order::descending", "order::every_field"]),
    (Fault::OffsetOnEveryPage, &["paging::offset_once"]),
    (Fault::PageLosesARow, &["paging::every_limit", "paging::every_size", "paging::rows_changed_between"]),
    (Fault::PageRepeatsARow, &["paging::every_limit", "paging::rows_changed_between"]),
    (Fault::PagesByPosition, &["paging::deleted_place", "paging::rows_changed_between"]),
    (Fault::MaxBytesIgnored, &["paging::max_bytes", "scale::a_hundred_thousand_by_pages"]),
    (Fault::LastPageHasNext, &["paging::ends"]),
    (Fault::LimitIgnored, &["order::limit", "paging::every_limit"]),
    (Fault::CountIgnoresOffset, &["order::counts"]),
    (Fault::CountIgnoresLimit, &["order::counts"]),
    (Fault::GetManySorted, &["read::many"]),
    (Fault::KeysFoldCase, &["read::by_text_key"]),
    (Fault::TextFindsIntKeys, &["read::key_of_another_kind"]),
    (Fault::OtherKeysAreAbsent, &["read::key_of_another_kind", "malformed::keys_of_another_kind"]),
    (Fault::LongPatternFindsNothing, &["malformed::long_pattern"]),
    (Fault::UnknownFieldPanics, &["malformed::conditions"]),
    (Fault::UnknownCollectionIsEmpty, &["read::unknown_collection"]),
    (Fault::DeadlineIgnored, &["context::deadline_passed_reads", "context::deadline_passed_writes", "context::prepare"]),
    (Fault::CancelIgnored, &["context::cancelled"]),
    (Fault::DeadlineAfterCommit, &["context::deadline_passed_writes", "context::cut_in_the_middle"]),
    (Fault::MissesOwnWrites, &["changes::own_writes", "changes::a_cache_is_never_stale"]),
    (Fault::MissesForeignWrites, &["shared::changes_are_told"]),
    (Fault::UnknownTokenIsNothing, &["changes::unknown_token", "changes::reopened", "shared::tokens_are_apart"]),
    (Fault::EverythingAlways, &["changes::quiet"]),
    (Fault::UnreadableIsAbsent, &["unreadable::get", "unreadable::not_overwritten", "unreadable::its_key_is_taken"]),
    (Fault::UnreadableFailsFind, &["unreadable::find"]),
    (Fault::UnreadableNotReported, &["unreadable::find"]),
    (Fault::UnreadableForgetsItsValues, &["unreadable::get_by", "unreadable::its_values_are_taken"]),
    (Fault::UnreadableNotGotBy, &["unreadable::get_by"]),
    (Fault::UnreadableCounted, &["unreadable::counted"]),
    (Fault::SecondPrimaryAccepted, &["prepare::one_primary"]),
    (Fault::NewerAccepted, &["prepare::too_new"]),
    (Fault::DefaultsForgotten, &["prepare::added_field"]),
    (Fault::UnknownNamesDropped, &["unknown::folded"]),
    (Fault::CloseDoesNothing, &["lifecycle::closed"]),
    (Fault::ClosedIsRetryable, &["lifecycle::closed"]),
    (Fault::StatsAfterClose, &["lifecycle::closed"]),
    (Fault::RekeyForgotten, &["negative::no_rekey"]),
    (Fault::ForgetsWhenClosed, &["lifecycle::reopen", "values::after_reopening"]),
    (Fault::StaleReads, &["shared::writes_are_seen"]),
    (Fault::DeclaresBackup, &["declared::backup"]),
    (Fault::DeclaresNothingButTracks, &["negative::no_tracking"]),
    (Fault::BackupOverwrites, &["declared::backup"]),
    (Fault::RestoreForgetsNotes, &["keeping::restore"]),
    (Fault::RestoreKeepsNothing, &["keeping::restore"]),
    (Fault::RestoreTakesAnything, &["keeping::restore_damaged"]),
    (Fault::VerifyBackupLooksAway, &["keeping::verify_backup"]),
    (Fault::RepairLosesRecords, &["keeping::repair"]),
    (Fault::StoresShared, &["lifecycle::stores_apart"]),
];

/// Those that random sequences must find too.
const FOUND_BY_CHANCE: &[Fault] = &[
    Fault::NotRolledBack,
    Fault::PutMerges,
    Fault::WhenIgnored,
    Fault::ExpectIgnored,
    Fault::DeleteWhereIgnoresLimit,
    Fault::InsertNextCounts,
    Fault::UniqueNotEnforced,
    Fault::ExceptionIgnored,
    Fault::TextCutAtNul,
    Fault::NeMatchesNil,
    Fault::ZeroHasASign,
    Fault::TiesByChance,
    Fault::DescendingNilFirst,
    Fault::PageLosesARow,
    Fault::CountIgnoresOffset,
    Fault::MissesOwnWrites,
    Fault::ForgetsWhenClosed,
];

#[test]
fn without_a_fault_the_wrapper_passes_every_case() {
    let summary = check(&Broken::by(None), "").expect("the store opens");
    assert!(summary.passed() && summary.skipped().next().is_none(), "{summary}");
    model_test(&Broken::by(None), 100, 3).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn each_broken_backend_is_caught_by_the_cases_that_are_there_for_it() {
    let all = cases();
    let mut missed = Vec::new();
    for (fault, catchers) in MUTANTS {
        let subject = Broken::by(Some(*fault));
        for name in *catchers {
            let case = all.iter().find(|case| case.name == *name).unwrap_or_else(|| panic!("there is no case {name}"));
            match case.run(&subject) {
                Err(Failure::Wrong(why)) => {
                    let why: String = why.chars().take(110).collect();
                    println!("{fault:<26?} {name:<38} {why}");
                }
                other => missed.push(format!("{fault:?} passed {name}: {other:?}")),
            }
        }
    }
    println!("{} broken backends", MUTANTS.len());
    assert!(missed.is_empty(), "not caught:\n{}", missed.join("\n"));
}

#[test]
fn random_sequences_find_broken_backends_and_show_a_short_one() {
    let mut missed = Vec::new();
    for fault in FOUND_BY_CHANCE {
        match model_test(&Broken::by(Some(*fault)), 600, 11) {
            Err(Failure::Wrong(why)) => {
                let steps = why.lines().count() - 1;
                println!("{fault:<26?} {steps} steps: {}", why.lines().next().unwrap_or(""));
                if steps > 4 {
                    missed.push(format!("{fault:?} was found in a sequence of {steps} steps:\n{why}"));
                }
            }
            other => missed.push(format!("{fault:?}: {other:?}")),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

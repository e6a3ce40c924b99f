use hivemind_abi::model::{Code, CollectionId, Key, Row, Token};

use super::*;

fn batch() -> Vec<Mutation> {
    vec![Mutation::Delete { collection: CollectionId(0), key: Key::Int(1), when: vec![] }]
}

fn leads(turn: Turn<'_>) -> Leader<'_> {
    match turn {
        Turn::Lead(leader) => leader,
        Turn::Done(result) => panic!("answered: {result:?}"),
    }
}

fn answered(turn: Turn<'_>) -> Result<Applied> {
    match turn {
        Turn::Done(result) => result,
        Turn::Lead(_) => panic!("leads"),
    }
}

fn applied() -> Answer {
    Ok(Ok(Applied { outcomes: Vec::new(), token: Token::default() }))
}

/// Until this many wait.
fn until_waiting(group: &Group, count: usize) {
    while group.queue().waiting.len() != count {
        std::thread::yield_now();
    }
}

#[test]
fn whoever_comes_first_leads_and_hands_on_to_the_next() {
    let group = Group::default();
    let cx = Context::unbounded();
    std::thread::scope(|scope| {
        let first = leads(group.join(&cx, &batch()));
        let waiting: Vec<_> = (1..=3)
            .map(|n| {
                let thread = scope.spawn(|| match group.join(&cx, &batch()) {
                    Turn::Lead(mut leader) => {
                        while let Some(member) = leader.take() {
                            member.answer(applied());
                        }
                        true
                    }
                    Turn::Done(result) => result.map(|_| false).expect("applied"),
                });
                until_waiting(&group, n);
                thread
            })
            .collect();
        drop(first);
        let led: Vec<bool> = waiting.into_iter().map(|t| t.join().expect("no panic")).collect();
        assert_eq!(led, [true, false, false], "the longest waiting leads, and answers the others");
    });
    drop(leads(group.join(&cx, &batch())));
}

#[test]
fn whoever_waits_leaves_at_its_deadline_or_when_cancelled_and_nobody_carries_its_batch_out() {
    let group = Group::default();
    let mut leader = leads(group.join(&Context::unbounded(), &batch()));
    let error = answered(group.join(&Context::within(Duration::from_millis(5)), &batch())).expect_err("too late");
    assert_eq!((error.code(), error.retryable()), (Code::Deadline, true));
    let cancelled = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| answered(group.join(&Context::unbounded().cancelled_by(&cancelled), &batch())));
        until_waiting(&group, 1);
        cancelled.store(true, Ordering::Relaxed);
        assert_eq!(waiting.join().expect("no panic").expect_err("cancelled").code(), Code::Deadline);
    });
    assert!(leader.take().is_none(), "both have left");
}

#[test]
fn a_batch_that_was_taken_on_is_told_of_its_callers_cancel_and_answered_by_the_leader() {
    let group = Group::default();
    let mut leader = leads(group.join(&Context::unbounded(), &batch()));
    let cancelled = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| answered(group.join(&Context::unbounded().cancelled_by(&cancelled), &batch())));
        until_waiting(&group, 1);
        let member = leader.take().expect("a batch");
        assert!(member.context().check().is_ok());
        cancelled.store(true, Ordering::Relaxed);
        while member.context().check().is_ok() {
            std::thread::yield_now();
        }
        member.answer(applied());
        waiting.join().expect("no panic").expect("it was committed all the same");
    });
}

#[test]
fn a_leader_that_ends_before_the_commit_gives_back_what_it_took_on() {
    let group = Group::default();
    let cx = Context::unbounded();
    std::thread::scope(|scope| {
        let mut leader = leads(group.join(&cx, &batch()));
        let turns: Vec<_> = (1..=2)
            .map(|n| {
                let turn = scope.spawn(|| match group.join(&cx, &batch()) {
                    Turn::Lead(mut next) => {
                        next.take().expect("the other one").answer(applied());
                        "led"
                    }
                    Turn::Done(result) => result.map(|_| "carried").expect("applied"),
                });
                until_waiting(&group, n);
                turn
            })
            .collect();
        leader.take().expect("the first");
        leader.take().expect("the second");
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _leader = leader;
            panic!("in the leader's own batch");
        }));
        assert!(ended.is_err());
        let turns: Vec<_> = turns.into_iter().map(|t| t.join().expect("no panic")).collect();
        assert_eq!(turns, ["led", "carried"], "in the order in which they came");
    });
}

#[test]
fn a_leader_that_ends_while_committing_leaves_the_outcome_unknown() {
    let group = Group::default();
    let cx = Context::unbounded();
    std::thread::scope(|scope| {
        let mut leader = leads(group.join(&cx, &batch()));
        let (answer, left) = (scope.spawn(|| answered(group.join(&cx, &batch()))), 1);
        until_waiting(&group, left);
        leader.take().expect("a batch");
        leader.sends();
        drop(leader);
        assert_eq!(answer.join().expect("no panic").expect_err("unknown").code(), Code::OutcomeUnknown);
    });
}

#[test]
fn a_panic_in_a_batch_is_its_callers() {
    let group = Group::default();
    let cx = Context::unbounded();
    std::thread::scope(|scope| {
        let mut leader = leads(group.join(&cx, &batch()));
        let waiting = scope.spawn(|| answered(group.join(&cx, &batch())));
        until_waiting(&group, 1);
        leader.take().expect("a batch").answer(Err(Box::new("the payload")));
        let panic = waiting.join().expect_err("a panic");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"the payload"));
    });
}

#[test]
fn after_a_long_time_without_a_gap_a_leader_gives_way() {
    let group = Group::default();
    let cx = Context::unbounded();
    std::thread::scope(|scope| {
        let leader = leads(group.join(&cx, &batch()));
        assert!(leader.not_before.is_none());
        let next = scope.spawn(|| leads(group.join(&cx, &batch())).not_before);
        until_waiting(&group, 1);
        group.queue().unbroken = Instant::now().checked_sub(UNBROKEN);
        drop(leader);
        assert!(next.join().expect("no panic").is_some());
    });
    assert!(group.queue().unbroken.is_none(), "nobody waits any more");
}

#[test]
fn a_batch_that_may_take_long_is_left_to_lead_itself() {
    let group = Group::default();
    let cx = Context::unbounded();
    let long = [Mutation::DeleteWhere { query: hivemind_abi::model::Query::all(CollectionId(0)) }];
    std::thread::scope(|scope| {
        let mut leader = leads(group.join(&cx, &batch()));
        let heavy = scope.spawn(|| drop(leads(group.join(&cx, &long))));
        until_waiting(&group, 1);
        assert!(leader.take().is_none());
        drop(leader);
        heavy.join().expect("it leads");
    });
    let many: Vec<Mutation> = (0..=BRIEF).flat_map(|_| batch()).collect();
    assert!(!is_brief(&many) && is_brief(&many[1..]));
    let put = |bytes: usize| Mutation::Put { collection: CollectionId(0), row: Row::from_bytes(vec![0; bytes]) };
    assert!(is_brief(&[put(BRIEF_BYTES - 10), put(10)]) && !is_brief(&[put(BRIEF_BYTES - 10), put(11)]));
    let set = |bytes: usize| {
        let changes = vec![Change::set(1, "x".repeat(bytes))];
        [Mutation::Update { collection: CollectionId(0), key: Key::Int(1), changes, when: vec![] }]
    };
    assert!(is_brief(&set(BRIEF_BYTES)) && !is_brief(&set(BRIEF_BYTES + 1)));
}

#[test]
fn batches_of_a_transaction_that_failed_are_carried_out_by_their_own_callers() {
    let group = Group::default();
    let cx = Context::unbounded();
    std::thread::scope(|scope| {
        let mut leader = leads(group.join(&cx, &batch()));
        let turns: Vec<_> = (1..=3)
            .map(|n| {
                let turn = scope.spawn(|| match group.join(&cx, &batch()) {
                    Turn::Lead(mut next) => next.take().is_none(),
                    Turn::Done(result) => panic!("answered: {result:?}"),
                });
                until_waiting(&group, n);
                turn
            })
            .collect();
        while leader.take().is_some() {}
        leader.sends();
        leader.took_back();
        // Nothing more is asked of this caller, whose own time may be over.
        drop(leader);
        assert!(turns.into_iter().all(|turn| turn.join().expect("no panic")), "each led, and alone");
    });
    drop(leads(group.join(&cx, &batch())));
}

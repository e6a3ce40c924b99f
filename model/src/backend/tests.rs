//! What the trait does for engines that leave a method to it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::*;

/// Answers every `find` with the next of these pages, and the last of them for ever.
#[derive(Default)]
struct Scripted {
    pages: Mutex<Vec<Page>>,
    asked: AtomicUsize,
    cancel: AtomicBool,
}

impl Scripted {
    fn of(pages: Vec<Page>) -> Self {
        Self { pages: Mutex::new(pages), ..Self::default() }
    }
}

impl Backend for Scripted {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn prepare(&self, _cx: &Context<'_>, _collections: &[Collection]) -> Result<Vec<CollectionId>> {
        Ok(Vec::new())
    }

    fn get(&self, _cx: &Context<'_>, _collection: CollectionId, _key: KeyRef<'_>) -> Result<Option<Row>> {
        Ok(None)
    }

    fn find(&self, _cx: &Context<'_>, _query: &Query, _max_bytes: usize) -> Result<Page> {
        // Nobody needs a hundred pages here.
        if self.asked.fetch_add(1, Ordering::SeqCst) > 100 {
            return Err(Error::panicked("asked without end"));
        }
        self.cancel.store(true, Ordering::SeqCst);
        let mut pages = self.pages.lock().expect("a lock");
        Ok(if pages.len() > 1 { pages.remove(0) } else { pages[0].clone() })
    }

    fn apply(&self, _cx: &Context<'_>, _mutations: &[Mutation]) -> Result<Applied> {
        Err(Error::unsupported("apply"))
    }
}

const C: CollectionId = CollectionId(0);

fn page(rows: usize, more: bool, unreadable: usize) -> Page {
    let place = Continuation { values: Vec::new(), key: Key::Int(1) };
    let damaged = (0..unreadable as i64).map(|key| Unreadable { key: Key::Int(key), message: "x".to_owned() });
    Page { rows: vec![Row::from_bytes(vec![0x91, 1]); rows], next: more.then_some(place), unreadable: damaged.collect() }
}

#[test]
fn get_by_never_takes_an_unreadable_record_for_absence() {
    let get_by = |page: Page| {
        let found = Scripted::of(vec![page]).get_by(&Context::unbounded(), C, 1, ValueRef::Text("k"));
        found.map(|row| row.is_some()).map_err(|e| (e.code(), e.message().contains('2')))
    };
    assert_eq!(get_by(page(0, false, 0)), Ok(false));
    assert_eq!(get_by(page(1, true, 2)), Ok(true));
    assert_eq!(get_by(page(0, false, 2)), Err((Code::Corrupt, true)));
}

#[test]
fn counting_ends_when_the_caller_gives_up_and_when_pages_lead_nowhere() {
    let all = Query::all(C);
    let cx = Context::unbounded();
    assert_eq!(Scripted::of(vec![page(2, true, 1), page(3, false, 0)]).count(&cx, &all), Ok(5));
    assert_eq!(Scripted::of(vec![page(2, true, 0)]).count(&cx, &all.clone().limit(6)), Ok(6));
    let endless = Scripted::of(vec![page(1, true, 0), page(0, true, 0)]).count(&cx, &all);
    assert_eq!(endless.expect_err("an empty page with a next").code(), Code::Corrupt);
    let slow = Scripted::of(vec![page(1, true, 0)]);
    let counted = slow.count(&Context::unbounded().cancelled_by(&slow.cancel), &all);
    assert_eq!((counted.expect_err("cancelled").code(), slow.asked.load(Ordering::SeqCst)), (Code::Deadline, 1));
}

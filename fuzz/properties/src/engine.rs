//! Decoded queries and mutations carried out: the indexed tables that engines are built on answer what the deliberately naive
//! reference model does, whatever they are asked; pages put together are the whole answer; a batch taken back leaves no trace.

use hivemind_model::msgpack::Reader;
use hivemind_model::reference::Reference;
use hivemind_model::table::Database;
use hivemind_model::wire::Wire;
use hivemind_model::{
    Backend, Collection, CollectionId, Condition, Context, Error, Index, Mutation, Outcome, Page, Query, Result, Row, eval,
};

use crate::collections;

const ID: CollectionId = CollectionId(0);
/// What an input may ask for at most, so that the naive model's time stays small.
const MOST: usize = 48;

/// The first byte chooses the collection: one of the known ones, or one that comes next in the input. Then batches of mutations and
/// queries in any number and order, each a MessagePack value.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    let Some((mut collection, rest)) = collections::chosen(data) else { return };
    let mut reader = Reader::new(rest);
    if data[0] >= 0x80 {
        match Collection::decode(&mut reader) {
            Ok(decoded) => collection = decoded,
            Err(_) => return,
        }
    }
    let (reference, mut tables) = (Reference::new(), Database::default());
    let collections = std::slice::from_ref(&collection);
    let prepared = [reference.prepare(&cx(), collections), tables.define(collections)];
    if !agree("prepare", prepared, |a, b| assert_eq!(a, b)) {
        return;
    }
    let mut both = Both { collection, reference, tables };
    let mut asked = 0;
    while !reader.is_at_end() && asked < MOST {
        let mut ahead = reader.clone();
        if let Ok(batch) = Vec::<Mutation>::decode(&mut ahead) {
            asked += 1 + batch.len();
            both.apply(&batch);
        } else {
            ahead = reader.clone();
            let Ok(query) = Query::decode(&mut ahead) else { return };
            asked += 1 + query.all.len() + query.order.len();
            both.ask(&query);
        }
        reader = ahead;
    }
}

struct Both {
    collection: Collection,
    reference: Reference,
    tables: Database,
}

fn cx() -> Context<'static> {
    Context::unbounded()
}

/// Compares two answers, and says whether they are good ones. Errors must be of one kind and about the same mutation.
fn agree<T: std::fmt::Debug>(what: &str, [expected, found]: [Result<T>; 2], same: impl FnOnce(&T, &T)) -> bool {
    match (&expected, &found) {
        (Ok(expected), Ok(found)) => {
            same(expected, found);
            true
        }
        (Err(expected), Err(found)) => {
            let about = |e: &Error| (e.code(), e.detail().mutation);
            assert_eq!(about(expected), about(found), "{what}: expected {expected}, found {found}");
            false
        }
        _ => panic!("{what}: expected {expected:?}, found {found:?}"),
    }
}

impl Both {
    fn apply(&mut self, batch: &[Mutation]) {
        let before = self.reference_rows(&Query::all(ID));
        let expected = self.reference.apply(&cx(), batch).map(|applied| applied.outcomes);
        let found = self.tables.apply(&cx(), batch).map(|(outcomes, undo)| {
            self.tables.undo(undo);
            self.all_same(&before, &self.tables_rows(&Query::all(ID), 64));
            let again = self.tables.apply(&cx(), batch).expect("it was applied before").0;
            assert_eq!(again, outcomes);
            outcomes
        });
        agree("apply", [expected, found], |expected, found| {
            assert_eq!(expected.len(), found.len());
            for (expected, found) in expected.iter().zip(found) {
                match (expected, found) {
                    (Outcome::Updated(a), Outcome::Updated(b)) => self.same(a, b),
                    (a, b) => assert_eq!(a, b),
                }
            }
        });
        let rows = self.reference_rows(&Query::all(ID));
        self.all_same(&rows, &self.tables_rows(&Query::all(ID), 64));
        self.found_by_unique_values(&rows);
    }

    /// Each record is found by its key and by every value that it alone may have.
    fn found_by_unique_values(&self, rows: &[Row]) {
        let table = self.tables.tables().get(ID).expect("it was defined");
        for row in rows {
            let view = row.view(&self.collection).expect("a row");
            let key = view.key().to_key();
            self.same(row, table.get(&key).expect("a look-up").expect("it is there"));
            for (at, field) in self.collection.fields.iter().enumerate() {
                let Index::Unique { except } = &field.index else { continue };
                let value = view.at(at);
                if value.is_nil() || except.iter().any(|e| eval::same(e.as_ref(), value)) {
                    continue;
                }
                self.same(row, table.get_by(at, value).expect("a look-up").expect("it is there"));
                assert_eq!(table.holder(at, value, &key), Ok(None), "another has it too");
            }
        }
    }

    fn ask(&self, query: &Query) {
        let table = self.tables.tables().get(query.collection);
        let find = [self.reference.find(&cx(), query, usize::MAX), table.clone().and_then(|t| t.find(&cx(), query, usize::MAX))];
        let good = agree("find", find, |expected: &Page, found: &Page| {
            self.all_same(&expected.rows, &found.rows);
            assert_eq!(expected.next.is_some(), found.next.is_some(), "whether there is more");
        });
        let unordered = Query { order: Vec::new(), after: None, ..query.clone() };
        let counts = [self.reference.count(&cx(), &unordered), table.and_then(|t| t.count(&cx(), &unordered))];
        agree("count", counts, |a, b| assert_eq!(a, b));
        if good {
            let whole = Query { limit: None, ..query.clone() };
            let found = self.tables_rows(&whole, 1);
            self.all_same(&self.reference_rows(&whole), &found);
            self.evaluated(query, &found);
        }
    }

    /// Every row of an answer meets its conditions, and stands behind the one before it.
    fn evaluated(&self, query: &Query, rows: &[Row]) {
        let views: Vec<_> = rows.iter().map(|row| row.view(&self.collection).expect("a stored row")).collect();
        for view in &views {
            assert!(eval::matches(view, &query.all));
            let place = eval::place_of(&query.order, view);
            assert!(!eval::is_after(&query.order, view, &place), "a record behind its own place");
        }
        for pair in views.windows(2) {
            assert!(eval::compare_rows(&query.order, &pair[0], &pair[1]).is_lt(), "out of order");
            assert!(eval::is_after(&query.order, &pair[1], &eval::place_of(&query.order, &pair[0])));
        }
        for condition in &query.all {
            let opposite = Condition { op: opposite(condition.op), ..condition.clone() };
            for view in views.iter().filter(|_| opposite.op != condition.op) {
                assert!(!eval::matches(view, std::slice::from_ref(&opposite)), "{condition:?} and its opposite");
            }
        }
    }

    fn reference_rows(&self, query: &Query) -> Vec<Row> {
        self.pages(query, |query| self.reference.find(&cx(), query, usize::MAX))
    }

    fn tables_rows(&self, query: &Query, bytes: usize) -> Vec<Row> {
        self.pages(query, |query| self.tables.tables().get(query.collection)?.find(&cx(), query, bytes))
    }

    /// All pages of a good query.
    fn pages(&self, query: &Query, find: impl Fn(&Query) -> Result<Page>) -> Vec<Row> {
        let (mut query, mut rows) = (query.clone(), Vec::new());
        loop {
            let page = find(&query).expect("a page of a good query");
            assert!(page.unreadable.is_empty() && (page.next.is_none() || !page.rows.is_empty()));
            rows.extend(page.rows);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return rows,
            }
        }
    }

    fn all_same(&self, expected: &[Row], found: &[Row]) {
        assert_eq!(expected.len(), found.len(), "how many rows");
        expected.iter().zip(found).for_each(|(a, b)| self.same(a, b));
    }

    fn same(&self, expected: &Row, found: &Row) {
        let (a, b) = (expected.view(&self.collection).expect("a row"), found.view(&self.collection).expect("a row"));
        assert!(eval::same_rows(&a, &b), "two rows differ");
        b.validate().expect("a stored row is valid");
    }
}

/// The operator that holds for no value for which `op` does, or the same where there is none.
const fn opposite(op: hivemind_model::Op) -> hivemind_model::Op {
    use hivemind_model::Op;
    match op {
        Op::Eq => Op::Ne,
        Op::Ne => Op::Eq,
        Op::Lt => Op::Ge,
        Op::Ge => Op::Lt,
        Op::Le => Op::Gt,
        Op::Gt => Op::Le,
        Op::IsNull => Op::NotNull,
        Op::NotNull => Op::IsNull,
        other => other,
    }
}

//! One thread of a worker: draws an operation, says so, does it, says what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use hivemind_model::{
    Backend, Change, Code, Collection, CollectionId, Condition, Context, Key, Mutation, Op as Compare, Outcome, Query, Row,
    RowView, Value,
};
use hivemind_store::clients::{MetadataChange, NewClient, REVOKED, collection};
use hivemind_store::{Client, Clients, Error};

use super::{Assignment, Mutant, Out};
use crate::faults::op::{Line, Op, SHARED, Step, in_full, notes};

/// More notes than this are removed again.
const NOTES: usize = 12;
/// More live clients than this are revoked again.
const LIVE: usize = 8;

pub(super) struct Writer<'w> {
    mutant: Option<Mutant>,
    generation: u64,
    thread: usize,
    number: u64,
    dice: Rng,
    clients: Clients,
    backend: &'w dyn Backend,
    notes: CollectionId,
    described: (Collection, Collection),
    out: &'w Out,
    // What this thread wrote and knows to be stored.
    own_clients: Vec<Arc<Client>>,
    own_notes: BTreeMap<String, i64>,
    has_shared: bool,
    holds: bool,
}

/// What came of an operation.
enum Ended {
    Done(Vec<i64>),
    Refused,
    Failed(hivemind_model::Error),
}

impl<'w> Writer<'w> {
    pub(super) fn new(
        assignment: &Assignment,
        thread: usize,
        clients: Clients,
        (backend, notes_id): (&'w dyn Backend, CollectionId),
        out: &'w Out,
    ) -> Self {
        let dice = Rng::with_seed(assignment.seed.wrapping_mul(31).wrapping_add(thread as u64));
        let mut writer = Self {
            mutant: assignment.mutant,
            generation: assignment.generation,
            thread,
            number: 0,
            dice,
            clients,
            backend,
            notes: notes_id,
            described: (collection(), notes()),
            out,
            own_clients: Vec::new(),
            own_notes: BTreeMap::new(),
            has_shared: false,
            holds: false,
        };
        writer.recall().unwrap_or_else(|e| out.say(&Line::Broken(format!("recalling what thread {thread} wrote: {e}"))));
        writer
    }

    fn name(&self, what: &str) -> String {
        format!("t{}-{}-{}{what}", self.thread, self.generation, self.number)
    }

    /// Finds what threads of this number wrote before.
    fn recall(&mut self) -> Result<(), Error> {
        let prefix = format!("t{}-", self.thread);
        let mut pages = self.clients.pages();
        while let Some(page) = pollster::block_on(pages.next())? {
            let own = page.clients.into_iter().filter(|c| c.api_key.starts_with(&prefix));
            self.own_clients.extend(own.map(Arc::from));
        }
        let page = self.backend.find(&Context::unbounded(), &Query::all(self.notes), usize::MAX)?;
        for row in &page.rows {
            let view = row.view(&self.described.1)?;
            let text = |name: &str| view.get(name).and_then(|v| v.as_str().map(str::to_owned));
            let slug = text("slug").unwrap_or_default();
            if slug == SHARED {
                self.has_shared = true;
                self.holds = text("holder").is_some_and(|holder| holder == format!("t{}", self.thread));
            } else if slug.starts_with(&prefix) {
                self.own_notes.insert(slug, n_of(&view));
            }
        }
        Ok(())
    }

    pub(super) fn run(mut self) {
        loop {
            self.number += 1;
            let op = self.draw();
            let (thread, number) = (self.thread, self.number);
            self.out.say(&Line::Begin { thread, number, op: op.clone() });
            if self.mutant == Some(Mutant::AcknowledgesTooEarly) && matches!(op, Op::Touch { .. } | Op::Rename { .. }) {
                self.out.say(&Line::Done { thread, number, ids: Vec::new() });
                // Long enough for the parent to read it.
                std::thread::sleep(std::time::Duration::from_millis(2));
                let _ = self.carry_out(&op);
                continue;
            }
            match self.carry_out(&op) {
                Ended::Done(ids) => {
                    self.out.say(&Line::Done { thread, number, ids: ids.clone() });
                    self.note_done(&op, &ids);
                }
                Ended::Refused => self.out.say(&Line::Refused { thread, number }),
                Ended::Failed(error) => {
                    let not_applied = error.retryable();
                    self.out.say(&Line::Failed { thread, number, not_applied, message: error.to_string() });
                }
            }
        }
    }

    fn draw(&mut self) -> Op {
        if !self.has_shared && self.thread == 0 {
            return Op::Batch { steps: vec![Step::InsertNote { slug: SHARED.to_owned(), body: String::new() }] };
        }
        let mine = (!self.own_clients.is_empty()).then(|| self.dice.usize(..self.own_clients.len()));
        let id = mine.map(|at| self.own_clients[at].id);
        match (self.dice.u32(..100), id) {
            (0..10, _) | (_, None) => Op::Add { key: self.name(""), name: self.name(" ü") },
            // Any thread may try for this key, and one gets it.
            (10..13, _) => Op::Add { key: format!("race-{}-{}", self.generation, self.number), name: self.name("") },
            (13..17, Some(id)) => Op::Rename { id, name: self.name("") },
            (17..21, Some(id)) => Op::Allow { id, item: format!("type.{}", self.dice.u32(..6)) },
            (21..24, Some(id)) => Op::Deny { id, item: format!("type.{}", self.dice.u32(..6)) },
            (24..28, Some(id)) => Op::Remember { id, member: format!("m{}", self.dice.u32(..4)), value: self.dice.i64(0..1000) },
            (28..34, Some(id)) => Op::Touch { id, seen: f64::from(self.dice.u32(..)) },
            (34..42, Some(id)) if self.own_clients.len() > LIVE || self.dice.u32(..4) == 0 => Op::Revoke { id },
            (_, Some(_)) => Op::Batch { steps: self.draw_batch(mine) },
        }
    }

    fn draw_batch(&mut self, mine: Option<usize>) -> Vec<Step> {
        let fresh = self.name("n");
        let body = |dice: &mut Rng, tag: &str| {
            // Short ones share a page, long ones need several.
            let length = if dice.u32(..8) == 0 { dice.usize(..20_000) } else { dice.usize(..300) };
            format!("{tag}:{length}")
        };
        let known = self.dice.choice(self.own_notes.iter()).map(|(slug, n)| (slug.clone(), *n));
        let body = body(&mut self.dice, &fresh);
        let update = |dice: &mut Rng, slug: String, when: Option<i64>| Step::UpdateNote {
            slug,
            by: dice.i64(1..10),
            member: format!("m{}", dice.u32(..5)),
            value: dice.i64(0..100_000),
            item: dice.i64(0..20),
            when,
        };
        let mut steps = match (self.dice.u32(..12), known) {
            (0 | 1, Some((slug, _))) => vec![Step::PutNote { slug, body }],
            (2 | 3, Some((slug, n))) => {
                let when = if self.dice.bool() { Some(n) } else { None };
                vec![update(&mut self.dice, slug, when)]
            }
            (4, Some((slug, n))) => vec![
                Step::ExpectNote { slug: slug.clone(), present: true },
                update(&mut self.dice, slug, Some(n)),
                Step::PutNote { slug: fresh, body },
            ],
            // These must be refused, and leave nothing of what stands before.
            (5, Some((slug, _))) => {
                vec![Step::PutNote { slug: fresh, body }, Step::ExpectNote { slug, present: false }]
            }
            (6, Some((slug, n))) => {
                vec![Step::PutNote { slug: fresh, body }, update(&mut self.dice, slug, Some(n + 1_000_000))]
            }
            (7, Some(_)) if self.own_notes.len() > 3 => {
                let slugs: Vec<_> = self.own_notes.keys().take(5).cloned().collect();
                slugs.into_iter().map(|slug| update(&mut self.dice, slug, None)).collect()
            }
            (8, _) if self.has_shared => {
                let thread = self.thread;
                vec![if self.holds { Step::Release { thread } } else { Step::Claim { thread } }]
            }
            // Over both collections: the JSON backend needs its journal for these.
            _ => {
                let mut steps =
                    vec![Step::AddClient { key: self.name("b"), name: self.name("") }, Step::InsertNote { slug: fresh, body }];
                if let Some(at) = mine {
                    let client = &self.own_clients[at];
                    steps.push(Step::RenameClient { id: client.id, key: client.api_key.clone(), name: self.name("r") });
                }
                steps
            }
        };
        if self.own_notes.len() > NOTES
            && let Some(slug) = self.own_notes.keys().next()
        {
            let used = steps.iter().any(|s| matches!(s, Step::UpdateNote { slug: other, .. } | Step::ExpectNote { slug: other, .. } | Step::PutNote { slug: other, .. } if other == slug));
            if !used {
                steps.push(Step::DeleteNote { slug: slug.clone() });
            }
        }
        if self.has_shared && self.dice.u32(..3) == 0 {
            steps.push(Step::Count { thread: self.thread, value: i64::try_from(self.number).unwrap_or(0) });
        }
        steps
    }

    fn carry_out(&mut self, op: &Op) -> Ended {
        let own = |id: i64| self.own_clients.iter().position(|c| c.id == id);
        let typed = match op {
            Op::Batch { steps } => return self.apply(steps),
            Op::Add { key, name } => {
                let new = NewClient { name: name.clone(), ..NewClient::new(key) };
                pollster::block_on(self.clients.add(new))
            }
            Op::Rename { id, .. }
            | Op::Allow { id, .. }
            | Op::Deny { id, .. }
            | Op::Remember { id, .. }
            | Op::Touch { id, .. }
            | Op::Revoke { id } => {
                let Some(at) = own(*id) else { return Ended::Refused };
                let client = Arc::clone(&self.own_clients[at]);
                let changed = pollster::block_on(self.change(op, &client));
                if let Ok(changed) = &changed {
                    self.own_clients[at] = Arc::clone(changed);
                    if changed.api_key == REVOKED {
                        self.own_clients.remove(at);
                    }
                }
                return ended(changed.map(|_| Vec::new()));
            }
        };
        ended(typed.map(|client| {
            let id = client.id;
            if client.api_key.starts_with('t') {
                self.own_clients.push(client);
            }
            vec![id]
        }))
    }

    async fn change(&self, op: &Op, client: &Client) -> Result<Arc<Client>, Error> {
        match op {
            Op::Rename { name, .. } => self.clients.rename(client, name).await,
            Op::Allow { item, .. } => self.clients.allow_types(client, &[item]).await,
            Op::Deny { item, .. } => self.clients.deny_types(client, &[item]).await,
            Op::Remember { member, value, .. } => {
                let change = MetadataChange { set: vec![(member.clone(), value.to_string())], unset: Vec::new() };
                self.clients.set_metadata(client, &change).await
            }
            Op::Touch { seen, .. } => self.clients.touch(client, *seen).await,
            _ => self.clients.revoke(client).await,
        }
    }

    fn apply(&self, steps: &[Step]) -> Ended {
        let mutations: Result<Vec<_>, _> = steps.iter().map(|step| self.mutation(step)).collect();
        let mutations = match mutations {
            Ok(mutations) => mutations,
            Err(error) => return Ended::Failed(error),
        };
        let groups: Vec<&[Mutation]> = match self.mutant {
            Some(Mutant::SplitsBatches) => mutations.chunks(1).collect(),
            _ => vec![&mutations],
        };
        let mut ids = Vec::new();
        for group in groups {
            match self.backend.apply(&Context::unbounded(), group) {
                Ok(applied) => ids.extend(applied.outcomes.iter().zip(group).filter_map(|(outcome, mutation)| match outcome {
                    Outcome::Inserted(Key::Int(id)) if matches!(mutation, Mutation::InsertNext { .. }) => Some(*id),
                    _ => None,
                })),
                Err(error) if error.code() == Code::Conflict => return Ended::Refused,
                Err(error) => return Ended::Failed(error),
            }
        }
        Ended::Done(ids)
    }

    fn mutation(&self, step: &Step) -> hivemind_model::Result<Mutation> {
        let (client, note) = (&self.described.0, &self.described.1);
        let at = |name: &str| note.require(name);
        let note_row = |slug: &str, body: &str| {
            Ok::<_, hivemind_model::Error>(Row::builder(note).set("slug", slug)?.set("body", in_full(body))?.build())
        };
        let update = |slug: &str, changes: Vec<Change>, when: Vec<Condition>| Mutation::Update {
            collection: self.notes,
            key: Key::from(slug),
            changes,
            when,
        };
        Ok(match step {
            Step::AddClient { key, name } => Mutation::InsertNext {
                collection: self.clients.id(),
                row: Row::builder(client).set("api_key", key.as_str())?.set("name", name.as_str())?.build(),
            },
            Step::RenameClient { id, key, name } => Mutation::Update {
                collection: self.clients.id(),
                key: Key::Int(*id),
                changes: vec![Change::set(client.require("name")?, name.as_str())],
                when: vec![Condition::new(client.require("api_key")?, Compare::Eq, key.as_str())],
            },
            Step::InsertNote { slug, body } => Mutation::Insert { collection: self.notes, row: note_row(slug, body)? },
            Step::PutNote { slug, body } => Mutation::Put { collection: self.notes, row: note_row(slug, body)? },
            Step::UpdateNote { slug, by, member, value, item, when } => {
                let changes = vec![
                    Change::Increment { field: at("n")?, by: Value::Int(*by) },
                    Change::JsonSet { field: at("meta")?, name: member.clone(), json: value.to_string() },
                    Change::ListAdd { field: at("items")?, item: Value::Int(*item) },
                ];
                let n = at("n")?;
                let when = when.map(|value| Condition::new(n, Compare::Eq, value));
                update(slug, changes, when.into_iter().collect())
            }
            Step::DeleteNote { slug } => {
                Mutation::Delete { collection: self.notes, key: Key::from(slug.as_str()), when: Vec::new() }
            }
            Step::ExpectNote { slug, present } => {
                let key = Key::from(slug.as_str());
                let row = self.backend.get(&Context::unbounded(), self.notes, key.as_ref())?.filter(|_| *present);
                Mutation::Expect { collection: self.notes, key, row }
            }
            Step::Count { thread, value } => {
                let member = Change::JsonSet { field: at("meta")?, name: format!("t{thread}"), json: value.to_string() };
                update(SHARED, vec![Change::Increment { field: at("n")?, by: Value::Int(1) }, member], Vec::new())
            }
            Step::Claim { thread } => {
                let holder = Change::set(at("holder")?, format!("t{thread}").as_str());
                update(SHARED, vec![holder], vec![Condition::is_null(at("holder")?)])
            }
            Step::Release { thread } => {
                let is_mine = Condition::new(at("holder")?, Compare::Eq, format!("t{thread}").as_str());
                update(SHARED, vec![Change::set(at("holder")?, Value::Nil)], vec![is_mine])
            }
        })
    }

    /// Remembers what is stored now.
    fn note_done(&mut self, op: &Op, ids: &[i64]) {
        let Op::Batch { steps } = op else { return };
        let mut ids = ids.iter();
        for step in steps {
            match step {
                Step::AddClient { .. } => {
                    let id = ids.next().copied().unwrap_or_default();
                    if let Ok(Some(client)) = pollster::block_on(self.clients.by_id(id)) {
                        self.own_clients.push(client);
                    }
                }
                Step::InsertNote { slug, .. } | Step::PutNote { slug, .. } if slug != SHARED => {
                    self.own_notes.insert(slug.clone(), 0);
                }
                Step::InsertNote { .. } => self.has_shared = true,
                Step::UpdateNote { slug, by, .. } => {
                    if let Some(n) = self.own_notes.get_mut(slug) {
                        *n += by;
                    }
                }
                Step::DeleteNote { slug } => drop(self.own_notes.remove(slug)),
                Step::Claim { .. } => self.holds = true,
                Step::Release { .. } => self.holds = false,
                _ => {}
            }
        }
    }
}

fn n_of(view: &RowView<'_>) -> i64 {
    match view.get("n").map(|v| v.to_value()) {
        Some(Value::Int(n)) => n,
        _ => 0,
    }
}

fn ended(result: Result<Vec<i64>, Error>) -> Ended {
    match result {
        Ok(ids) => Ended::Done(ids),
        Err(Error::KeyTaken { .. }) => Ended::Refused,
        Err(Error::Backend(error)) if error.code() == Code::Conflict => Ended::Refused,
        Err(Error::Backend(error)) => Ended::Failed(error),
        Err(other) => Ended::Failed(hivemind_model::Error::invalid(other.to_string())),
    }
}

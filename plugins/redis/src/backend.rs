//! The trait, over the link: every call looks at the store as it is now.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hivemind_abi::Host;
use hivemind_abi::model::{
    Applied, Backend, Capabilities, Capability, Catalog, Changes, Collection, CollectionId, Condition, Context, Error, Index,
    Key, KeyRef, Lookup, Mutation, Op, Page, Query, Report, Result, Row, Task, Token, ValueRef, engine, eval,
};

use crate::apply::Applying;
use crate::backup::Backing;
use crate::backup::restore::{self, Restoring};
use crate::commit::Committer;
use crate::config::Config;
use crate::find::{self, Asking};
use crate::gate::Gate;
use crate::index;
use crate::keys::{Keys, Namespace};
use crate::link::{BOUND, Link, Topology};
use crate::lookup::{self, Found};
use crate::maintain::{self, Describing};
use crate::prepare::Preparing;
use crate::read;
use crate::receipt::Receipts;
use crate::recent::Recent;
use crate::relocate::Relocating;
use crate::space::{Space, Spaces};
use crate::sync;

/// A handle on one namespace of one Redis.
pub struct Redis {
    host: Host,
    link: Link,
    namespace: Namespace,
    index_prefix: String,
    database: i64,
    /// Keys of several slots are written one by one: records only.
    is_bare: bool,
    /// The server tells what others change.
    is_tracked: bool,
    catalog: Catalog,
    spaces: Spaces,
    recent: Recent,
    receipts: Receipts,
    gate: Gate,
    counting: Gate,
    preparing: Mutex<()>,
    closed: AtomicBool,
}

/// Opens a handle: connects, and writes nothing.
///
/// # Errors
/// `invalid` for settings; `unavailable`, `denied` or `unsupported` for a server that cannot be used.
pub fn open(config: &str, host: Host) -> Result<Redis> {
    let config = Config::parse(config)?;
    let link = Link::open(&config, &host)?;
    let tag = config.cluster_hash_tag.as_deref();
    let namespace = Namespace::new(&config.index_prefix.0, tag);
    let is_bare = link.topology() == Topology::Cluster && tag.is_none();
    if is_bare {
        host.warn(
            "this is a cluster and cluster_hash_tag is not set: only single records can be written, access keys are not kept unique, and \
             every search reads all records. Move the namespace to a tag",
        );
    }
    let is_tracked = link.track(&Context::unbounded(), namespace.records().to_vec())?;
    Ok(Redis {
        host,
        link,
        is_bare,
        is_tracked,
        catalog: Catalog::new(),
        spaces: Spaces::default(),
        recent: Recent::new()?,
        receipts: Receipts::new(namespace.clone())?,
        namespace,
        database: config.db,
        index_prefix: config.index_prefix.0.clone(),
        gate: Gate::default(),
        counting: Gate::default(),
        preparing: Mutex::new(()),
        closed: AtomicBool::new(false),
    })
}

impl Redis {
    fn preparing(&self) -> MutexGuard<'_, ()> {
        self.preparing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every call begins here.
    fn enter(&self, cx: &Context<'_>) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        cx.check()
    }

    fn committer<'c>(&'c self, cx: &'c Context<'c>) -> Committer<'c> {
        Committer { cx, link: &self.link, receipts: (!self.is_bare).then_some(&self.receipts) }
    }

    fn asking<'c>(&'c self, cx: &'c Context<'c>, collection: CollectionId) -> Result<Asking<'c>> {
        Ok(Asking { cx, link: &self.link, spaces: &self.spaces, space: self.spaces.get(collection)?, recent: &self.recent })
    }

    /// What must be known for a backup of one moment.
    fn backing<'c>(&'c self, cx: &'c Context<'c>) -> Result<Backing<'c>> {
        if self.is_bare {
            return Err(Error::unsupported(
                "a cluster without cluster_hash_tag has no moment that all records share; move the namespace to a tag, or use export",
            ));
        }
        if !self.is_tracked {
            return Err(Error::unsupported(
                "a backup needs the server to tell what changes meanwhile; allow it with ACL SETUSER … +client|tracking, or use export",
            ));
        }
        Ok(Backing { cx, link: &self.link, namespace: &self.namespace })
    }

    /// The prepared collections once more, as a restore needs them.
    fn known(&self) -> Vec<Space> {
        self.spaces.iter().map(|space| self.space(space.id, &space.collection)).collect()
    }

    fn restore(&self, cx: &Context<'_>, from: &Path, keep: Option<&Path>) -> Result<Report> {
        let backing = self.backing(cx)?;
        let known = self.known();
        let restoring = Restoring { committer: self.committer(cx), namespace: &self.namespace, spaces: &known };
        restoring.check(from)?;
        if let Some(keep) = keep {
            backing.run(keep).map_err(|e| e.context("the present state could not be kept, and nothing was changed"))?;
        }
        let report = restoring.run(from);
        // Whatever became of it, nothing that was known of records counts any more.
        self.spaces.iter().for_each(Space::forget);
        self.recent.lost();
        let report = report?;
        Preparing { committer: self.committer(cx), host: &self.host }.run(&known)?;
        Ok(report)
    }

    /// Brings collections up, and finishes what restores have left to whoever opens the store next: one that was cut, before anything of
    /// it is taken for the whole, and the sets of collections that the one who restored did not know.
    fn bring_up(&self, cx: &Context<'_>, spaces: &[Space]) -> Result<()> {
        let mut known = self.known();
        known.extend(spaces.iter().map(|space| self.space(space.id, &space.collection)));
        let restoring = Restoring { committer: self.committer(cx), namespace: &self.namespace, spaces: &known };
        let left = if self.is_bare || spaces.is_empty() { Vec::new() } else { restoring.go_on(spaces)? };
        Preparing { committer: self.committer(cx), host: &self.host }.run(spaces)?;
        let left = spaces.iter().filter(|space| left.contains(&space.collection.name));
        left.into_iter().try_for_each(|space| restoring.make_sets(space))
    }

    /// Makes right what is kept beside the records.
    fn repair(&self, cx: &Context<'_>) -> Result<Report> {
        let committer = self.committer(cx);
        let mut all = sync::Totals::default();
        for space in self.spaces.iter() {
            space.forget();
            index::ensure(cx, &self.link, &self.host, &self.namespace, &space.keys);
            sync::repair(&committer, space)?.add_to(&mut all);
        }
        Ok(all.into_report(true))
    }

    fn space(&self, id: CollectionId, collection: &Arc<Collection>) -> Space {
        let keys = Keys::new(&self.namespace, collection);
        Space::new(id, Arc::clone(collection), if self.is_bare { keys.bare() } else { keys })
    }

    /// Says what an operator should change at the servers. What cannot be asked is not worth failing for.
    fn warn(&self, cx: &Context<'_>) {
        let masters = self.link.about(cx).unwrap_or_default();
        masters.iter().flat_map(maintain::problems).for_each(|problem| self.host.warn(&problem.message));
    }

    /// Refuses what a store of single records cannot keep.
    fn check_offered(&self, collection: &Collection) -> Result<()> {
        let unique = collection.fields.iter().find(|field| matches!(field.index, Index::Unique { .. }));
        match unique {
            // The Python node's own collection is used as that node uses it there.
            Some(field) if self.is_bare && !collection.primary => Err(Error::unsupported(format!(
                "{} of {} must be unique, which a cluster without cluster_hash_tag cannot keep",
                field.name, collection.name
            ))
            .collection(&collection.name)),
            _ => Ok(()),
        }
    }
}

fn closed() -> Error {
    Error::unavailable("this store is closed")
}

impl Backend for Redis {
    fn capabilities(&self) -> Capabilities {
        use Capability::{AtomicBatch, ChangeTracking, Durable, MultiProcess, Network, OnlineBackup, Unique};
        let all = Capabilities::of(&[Durable, AtomicBatch, Unique, MultiProcess, OnlineBackup, ChangeTracking, Network]);
        let offered = if self.is_bare { all.without(AtomicBatch).without(Unique).without(OnlineBackup) } else { all };
        if self.is_tracked { offered.with_staleness(BOUND) } else { offered.without(ChangeTracking).without(OnlineBackup) }
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        let _guard = self.preparing();
        self.enter(cx)?;
        for collection in collections {
            collection.validate()?;
            self.check_offered(collection)?;
        }
        // On trial, so that nothing is touched for what would be refused.
        let trial = Catalog::new();
        let known: Vec<Collection> = self.catalog.iter().map(|(_, collection)| collection.as_ref().clone()).collect();
        trial.register(&known)?;
        let ids = trial.register(collections)?;
        let mut new: Vec<CollectionId> = ids.iter().copied().filter(|id| self.spaces.get(*id).is_err()).collect();
        new.sort_unstable();
        new.dedup();
        let spaces = new.into_iter().map(|id| Ok(self.space(id, trial.get(id)?))).collect::<Result<Vec<_>>>()?;
        self.bring_up(cx, &spaces)?;
        spaces.iter().for_each(|space| index::ensure(cx, &self.link, &self.host, &self.namespace, &space.keys));
        if self.spaces.iter().next().is_none() && !spaces.is_empty() {
            self.warn(cx);
        }
        let ids = self.catalog.register(collections)?;
        spaces.into_iter().for_each(|space| self.spaces.set(space.id, || space));
        Ok(ids)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        self.enter(cx)?;
        let space = self.spaces.get(collection)?;
        engine::check_key(&space.collection, key)?;
        read::get(cx, &self.link, space, &key.to_key())
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        self.enter(cx)?;
        let space = self.spaces.get(collection)?;
        space.collection.at(field)?;
        let found = if find::is_exact(space, field, value) {
            lookup::by_set(cx, &self.link, space, field, value)?
        } else {
            Found::Unreliable
        };
        match found {
            Found::None => Ok(None),
            Found::Record(key, stored) => stored.into_row(&space.collection, &key),
            Found::Unreliable => {
                let query = Query::all(collection).filter(Condition::new(field, Op::Eq, value.to_value()));
                eval::check_query(&space.collection, &query)?;
                self.asking(cx, collection)?.first(field, value, &query)
            }
        }
    }

    fn get_many(&self, cx: &Context<'_>, collection: CollectionId, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.enter(cx)?;
        let space = self.spaces.get(collection)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(wrong) = keys.iter().position(|key| engine::check_key(&space.collection, key.as_ref()).is_err()) {
            // Its own answer; the others have theirs.
            let get = |(at, key): (usize, &Key)| {
                if at == wrong {
                    engine::check_key(&space.collection, key.as_ref()).map(|()| None)
                } else {
                    self.get(cx, collection, key.as_ref())
                }
            };
            return Ok(keys.iter().enumerate().map(get).collect());
        }
        read::get_many(cx, &self.link, space, keys)
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.enter(cx)?;
        let asking = self.asking(cx, query.collection)?;
        eval::check_query(&asking.space.collection, query)?;
        asking.page(query, max_bytes)
    }

    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        self.enter(cx)?;
        let asking = self.asking(cx, query.collection)?;
        let query = &Query { order: Vec::new(), after: None, ..query.clone() };
        eval::check_query(&asking.space.collection, query)?;
        asking.count(query)
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        self.enter(cx)?;
        for (at, mutation) in mutations.iter().enumerate() {
            self.spaces.get(mutation.collection()).map_err(|e| e.mutation(at))?;
        }
        if self.is_bare && mutations.len() > 1 {
            return Err(Error::unsupported(
                "a cluster without cluster_hash_tag carries out one change of one record at a time; move the namespace to a tag",
            ));
        }
        if mutations.is_empty() {
            return Ok(Applied { outcomes: Vec::new(), token: self.recent.now() });
        }
        let applying = Applying {
            cx,
            link: &self.link,
            catalog: &self.catalog,
            spaces: &self.spaces,
            recent: &self.recent,
            receipts: (!self.is_bare).then_some(&self.receipts),
            gate: &self.gate,
            counting: &self.counting,
        };
        match mutations {
            [Mutation::DeleteWhere { query }] if self.is_bare => applying.delete_one_by_one(query).map_err(|e| e.mutation(0)),
            _ => applying.run(mutations),
        }
    }

    fn changes_since(&self, cx: &Context<'_>, collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        self.enter(cx)?;
        self.spaces.get(collection)?;
        Ok(self.recent.since(&self.link, &self.spaces, collection, token))
    }

    fn sync(&self, cx: &Context<'_>) -> Result<Report> {
        self.enter(cx)?;
        self.repair(cx)
    }

    fn maintain(&self, cx: &Context<'_>, task: &Task) -> Result<Report> {
        self.enter(cx)?;
        match task {
            Task::Verify => {
                let committer = self.committer(cx);
                let mut all = sync::Totals::default();
                for space in self.spaces.iter() {
                    sync::verify(&committer, space)?.add_to(&mut all);
                }
                Ok(all.into_report(false))
            }
            Task::Move { to, dry_run } => {
                let relocating = Relocating {
                    committer: self.committer(cx),
                    spaces: &self.spaces,
                    index_prefix: &self.index_prefix,
                    base: self.namespace.base(),
                };
                relocating.run(to, *dry_run)
            }
            Task::Backup { to } => self.backing(cx)?.run(Path::new(to)),
            Task::VerifyBackup { from, collections } => restore::verify(cx, Path::new(from), collections),
            Task::Restore { from, keep } => self.restore(cx, Path::new(from), keep.as_deref().map(Path::new)),
            Task::Repair => {
                let report = self.repair(cx)?;
                if self.is_bare {
                    return Ok(report);
                }
                let known = self.known();
                let restoring = Restoring { committer: self.committer(cx), namespace: &self.namespace, spaces: &known };
                let removed = restoring.clear_cut()?;
                Ok(report.with("leftovers_removed", i64::try_from(removed).unwrap_or(i64::MAX)))
            }
            other => Err(Error::unsupported(format!("{} does not offer {other:?}", crate::MODULE))),
        }
    }

    fn stats(&self, cx: &Context<'_>) -> Result<Report> {
        self.enter(cx)?;
        let describing = Describing {
            cx,
            link: &self.link,
            namespace: &self.namespace,
            database: self.database,
            spaces: &self.spaces,
            is_bare: self.is_bare,
            is_tracked: self.is_tracked,
        };
        describing.report()
    }

    fn close(&self, cx: &Context<'_>) -> Result<()> {
        let _guard = self.preparing();
        if self.closed.swap(true, Ordering::AcqRel) {
            return Err(closed());
        }
        let receipts = self.receipts.all();
        if !receipts.is_empty() {
            // They would expire by themselves.
            let mut unlink = redis::cmd("DEL");
            for key in &receipts {
                unlink.arg(key);
            }
            let _ = self.link.query(cx, &unlink, crate::link::Repeat::Never);
        }
        self.link.close();
        Ok(())
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("namespace", &self.namespace).field("link", &self.link).finish_non_exhaustive()
    }
}

//! What satellites see while the storage fails, and when it has lost what it held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Fixture, Told, add, eventually};
use hivemind_model::reference::Reference;
use hivemind_model::{
    Applied, Backend, Capabilities, Change, Changes, Code, Collection, CollectionId, Context, Error, KeyRef, Mutation, Page,
    Query, Report, Result, Row, Token, ValueRef,
};
use hivemind_node::event::Refusal;
use hivemind_protocol::MessageType;

/// The reference, behind a connection that can be cut.
#[derive(Default)]
struct Cut {
    inner: Reference,
    is_cut: AtomicBool,
    /// It is read, and not written.
    is_full: AtomicBool,
    /// The records are there, and cannot be read.
    is_corrupt: AtomicBool,
    /// Somebody sets and resets the key of client 1 whenever it is to be pinned.
    is_repinned: AtomicBool,
}

impl Cut {
    fn check(&self) -> Result<&Reference> {
        if self.is_cut.load(Ordering::SeqCst) { Err(Error::unavailable("cut")) } else { Ok(&self.inner) }
    }

    fn between(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        let [Mutation::Update { collection, key, changes, when }] = mutations else { return self.inner.apply(cx, mutations) };
        let (field, pin) = match &changes[..] {
            [Change::JsonSet { field, name, .. }] if name == "noise_pubkey" => (*field, name),
            _ => return self.inner.apply(cx, mutations),
        };
        let apply = |change: Change, when: Vec<_>| {
            let (collection, key) = (*collection, key.clone());
            self.inner.apply(cx, &[Mutation::Update { collection, key, changes: vec![change], when }])
        };
        apply(Change::JsonSet { field, name: pin.clone(), json: "\"another\"".to_owned() }, Vec::new())?;
        let answer = apply(changes[0].clone(), when.clone());
        apply(Change::JsonUnset { field, name: pin.clone() }, Vec::new())?;
        answer
    }
}

impl Backend for Cut {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        self.check()?.prepare(cx, collections)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        self.check()?.get(cx, collection, key)
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        if self.is_corrupt.load(Ordering::SeqCst) {
            return Err(Error::corrupt("no record"));
        }
        self.check()?.get_by(cx, collection, field, value)
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.check()?.find(cx, query, max_bytes)
    }

    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        self.check()?.count(cx, query)
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        let inner = self.check()?;
        if self.is_full.load(Ordering::SeqCst) {
            return Err(Error::new(Code::Io, false, "full").known_not_applied());
        }
        if self.is_repinned.load(Ordering::SeqCst) { self.between(cx, mutations) } else { inner.apply(cx, mutations) }
    }

    fn changes_since(&self, cx: &Context<'_>, collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        self.check()?.changes_since(cx, collection, token)
    }

    fn sync(&self, cx: &Context<'_>) -> Result<Report> {
        self.check()?.sync(cx)
    }

    fn stats(&self, cx: &Context<'_>) -> Result<Report> {
        self.check()?.stats(cx)
    }

    fn close(&self, cx: &Context<'_>) -> Result<()> {
        self.inner.close(cx)
    }
}

fn unavailable() -> Told {
    Told::Closed(1011, "client database unavailable".to_owned())
}

async fn told(fixture: &Fixture, access_key: &str) -> Told {
    let mut satellite = fixture.satellite(access_key);
    satellite.open().await;
    satellite.hear().await
}

#[tokio::test]
async fn while_the_storage_fails_nobody_is_unknown_and_messages_are_denied() {
    let backend = Arc::new(Cut::default());
    let fixture = Fixture::over(Arc::clone(&backend) as _, |_| {}).await;
    let mut satellite = fixture.satellite("kitchen");
    satellite.connect().await.expect("a session");
    satellite.hello("here").await;
    eventually("pinned and seen", async || fixture.watch.called("touch") == 1 && fixture.watch.called("set_metadata") == 1).await;

    backend.is_cut.store(true, Ordering::SeqCst);
    for key in ["kitchen", "nobody"] {
        assert_eq!(told(&fixture, key).await, unavailable(), "{key}");
    }
    assert_eq!((fixture.watch.refused(Refusal::Storage), fixture.watch.refused(Refusal::UnknownKey)), (2, 0));
    assert!(!fixture.node.health().storage);
    satellite.utter("can you hear me").await;
    let (kind, payload) = satellite.receive().await.expect("an answer");
    assert!(kind == MessageType::Bus && payload.contains("policy_error"), "{payload}");

    backend.is_cut.store(false, Ordering::SeqCst);
    satellite.utter("can you hear me").await;
    let (_, payload) = satellite.receive().await.expect("an answer");
    assert!(!payload.contains("policy_error"), "{payload}");
    assert!(fixture.node.health().storage);
    fixture.satellite("kitchen").open().await;
    eventually("unknown again", async || told(&fixture, "nobody").await == Told::Closed(1008, "invalid api key".to_owned()))
        .await;
}

/// Cut between the record's first look and its second.
#[tokio::test]
async fn a_storage_that_fails_during_the_handshake_lets_nobody_in() {
    let backend = Arc::new(Cut::default());
    let fixture = Fixture::over(Arc::clone(&backend) as _, |_| {}).await;
    let mut satellite = fixture.satellite("kitchen");
    satellite.open().await;
    let initiator = satellite.greeted().await.expect("greeted");
    eventually("kept", async || fixture.watch.called("set_metadata") == 1).await;
    backend.is_cut.store(true, Ordering::SeqCst);
    satellite.shake(initiator).await.expect("it believes so");
    assert_eq!(satellite.hear().await, unavailable());
    backend.is_cut.store(false, Ordering::SeqCst);
    satellite.connect().await.expect("a session");
}

/// Its access key is as good as before: told that it is unknown, the stock client would give up for ever.
#[tokio::test]
async fn who_is_pinned_and_reset_by_others_meanwhile_may_try_again() {
    let backend = Arc::new(Cut::default());
    let fixture = Fixture::over(Arc::clone(&backend) as _, |_| {}).await;
    let mut satellite = fixture.satellite("kitchen");
    backend.is_repinned.store(true, Ordering::SeqCst);
    satellite.connect().await.expect("it believes so");
    assert_eq!(satellite.hear().await, Told::Closed(1011, "the client was changed; try again".to_owned()));
    backend.is_repinned.store(false, Ordering::SeqCst);
    satellite.connect().await.expect("a session");
    satellite.hello("here").await;
    eventually("it is in", async || fixture.node.health().satellites == 1).await;
}

/// The disk was full when a password was stretched: what came of it is kept when the client comes again.
#[tokio::test]
async fn a_stretched_password_that_could_not_be_kept_is_kept_the_next_time() {
    let backend = Arc::new(Cut::default());
    let fixture = Fixture::over(Arc::clone(&backend) as _, |_| {}).await;
    backend.is_full.store(true, Ordering::SeqCst);
    let mut satellite = fixture.satellite("kitchen");
    satellite.connect().await.expect("it believes so");
    assert_eq!(satellite.hear().await, unavailable());
    eventually("tried", async || fixture.watch.called("set_metadata") == 1).await;
    backend.is_full.store(false, Ordering::SeqCst);
    eventually("kept", async || {
        satellite.connect().await.expect("a session");
        fixture.stored("kitchen").await.metadata.text("noise_psk").is_some()
    })
    .await;
}

/// One record that cannot be read is no storage that is away.
#[tokio::test]
async fn a_record_that_cannot_be_read_is_no_outage() {
    let backend = Arc::new(Cut::default());
    let fixture = Fixture::over(Arc::clone(&backend) as _, |_| {}).await;
    backend.is_corrupt.store(true, Ordering::SeqCst);
    assert_eq!(told(&fixture, "not cached").await, unavailable());
    assert!(fixture.node.health().storage);
    backend.is_corrupt.store(false, Ordering::SeqCst);
    backend.is_cut.store(true, Ordering::SeqCst);
    assert_eq!(told(&fixture, "not cached").await, unavailable());
    assert!(!fixture.node.health().storage);
}

#[tokio::test]
async fn an_empty_storage_knows_nobody_only_if_it_may_be_empty() {
    for allow_empty in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let clients = crate::common::clients(Arc::new(Reference::new())).await;
        let mut settings = crate::common::settings(&folder);
        settings.allow_empty = allow_empty;
        let watch = Arc::new(crate::common::Watch::default());
        let node = hivemind_node::Node::start(settings, clients.clone(), watch.clone()).await.expect("a node");
        let fixture = Fixture { node, clients, watch, folder };
        let expected = if allow_empty { Told::Closed(1008, "invalid api key".to_owned()) } else { unavailable() };
        assert_eq!(told(&fixture, "kitchen").await, expected);
        assert_eq!(fixture.node.health().storage, allow_empty);
        // With a first client there is nothing to be told any more, and no restart is needed.
        add(&fixture.clients, "kitchen").await;
        fixture.satellite("kitchen").connect().await.expect("a session");
    }
}

/// The node's own memory of what it has seen outlives it, and the storage.
#[tokio::test]
async fn a_storage_that_lost_its_records_is_noticed_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = async |count: usize, allow_empty: bool| {
        let clients = crate::common::clients(Arc::new(Reference::new())).await;
        for n in 0..count {
            add(&clients, &format!("client-{n}")).await;
        }
        let mut settings = crate::common::settings(&folder);
        settings.allow_empty = allow_empty;
        let watch = Arc::new(crate::common::Watch::default());
        let node = hivemind_node::Node::start(settings, clients.clone(), watch.clone()).await.expect("a node");
        Fixture { node, clients, watch, folder: tempfile::tempdir().expect("a folder") }
    };
    let unknown = Told::Closed(1008, "invalid api key".to_owned());
    for (count, allow_empty, expected) in
        [(10, false, &unknown), (4, false, &unavailable()), (5, false, &unknown), (2, false, &unavailable()), (2, true, &unknown)]
    {
        let fixture = start(count, allow_empty).await;
        if count == 5 {
            // Fewer, but enough, once it has stood for a moment.
            assert_eq!(told(&fixture, "nobody").await, unavailable());
            eventually("believed", async || &told(&fixture, "nobody").await == expected).await;
        }
        assert_eq!(&told(&fixture, "nobody").await, expected, "{count}");
        // Whom it does know it lets in.
        fixture.satellite("client-0").connect().await.expect("a session");
        fixture.node.stop(crate::common::HANGS).await;
    }
}

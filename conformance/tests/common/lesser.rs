//! A backend that promises nothing and refuses what it does not promise.

use std::sync::Arc;

use hivemind_conformance::{Instance, Subject};
use hivemind_model::{
    Applied, Backend, Capabilities, Collection, CollectionId, Context, Error, Index, KeyRef, Mutation, Page, Query, Result, Row,
};

use super::shelf::Shelf;

pub(crate) struct Lesser;

impl Subject for Lesser {
    fn name(&self) -> String {
        "a backend without capabilities".to_owned()
    }

    fn fresh(&self) -> Result<Box<dyn Instance>> {
        Ok(Box::new(Self))
    }
}

impl Instance for Lesser {
    fn open(&self) -> Result<Arc<dyn Backend>> {
        let shelf = Shelf::default().fresh()?;
        Ok(Arc::new(Handle { inner: shelf.open()? }))
    }
}

struct Handle {
    inner: Arc<dyn Backend>,
}

impl Backend for Handle {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        let unique = |c: &Collection| c.fields.iter().any(|f| matches!(f.index, Index::Unique { .. }));
        match collections.iter().find(|c| unique(c)) {
            Some(c) => Err(Error::unsupported(format!("unique fields, as {} has one", c.name))),
            None => self.inner.prepare(cx, collections),
        }
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        self.inner.get(cx, collection, key)
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.inner.find(cx, query, max_bytes)
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        if mutations.len() > 1 {
            return Err(Error::unsupported(format!("a batch of {} mutations", mutations.len())));
        }
        self.inner.apply(cx, mutations)
    }

    fn close(&self, cx: &Context<'_>) -> Result<()> {
        self.inner.close(cx)
    }
}

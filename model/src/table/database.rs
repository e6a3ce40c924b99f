//! A catalog and its tables in one value: all that an engine which lives in memory must hold.

use super::{Tables, Undo};
use crate::catalog::Catalog;
use crate::collection::{Collection, CollectionId};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::mutation::{Mutation, Outcome};

/// Prepared collections and their records.
#[derive(Debug, Default)]
pub struct Database {
    catalog: Catalog,
    tables: Tables,
}

impl Database {
    /// The prepared collections.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The records.
    #[must_use]
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Whether every one of these collections is prepared exactly so.
    #[must_use]
    pub fn has(&self, collections: &[Collection]) -> bool {
        collections.iter().all(|c| self.catalog.iter().any(|(_, known)| known.as_ref() == c))
    }

    /// Takes new collections in, and newer versions of known ones with their records carried over.
    ///
    /// # Errors
    /// `too new` if a known version is newer, `invalid` if a description is wrong or differs in the same version; nothing changed
    /// then.
    pub fn define(&mut self, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        let mut all: Vec<Collection> = self.catalog.iter().map(|(_, c)| c.as_ref().clone()).collect();
        for new in collections {
            let name = &new.name;
            match all.iter_mut().find(|known| known.name == *name) {
                None => all.push(new.clone()),
                Some(known) if known.version > new.version => {
                    let (stored, wanted) = (known.version, new.version);
                    let message = format!("collection {name} is stored in version {stored}; this program knows {wanted}");
                    return Err(Error::too_new(message).collection(name));
                }
                Some(known) if known.version == new.version && known != new => {
                    let message = format!("collection {name} is already prepared with another description");
                    return Err(Error::invalid(message).collection(name));
                }
                Some(known) => known.clone_from(new),
            }
        }
        let catalog = Catalog::new();
        catalog.register(&all)?;
        let ids = catalog.register(collections)?;
        self.tables = self.tables.redefined(&catalog);
        self.catalog = catalog;
        Ok(ids)
    }

    /// Carries a batch out, or leaves everything as it was.
    ///
    /// # Errors
    /// See [`crate::engine::apply`].
    pub fn apply(&mut self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<(Vec<Outcome>, Undo)> {
        self.tables.apply(&self.catalog, cx, mutations)
    }

    /// Takes a batch back. Only right while nothing else was applied since.
    pub fn undo(&mut self, undo: Undo) {
        self.tables.undo(undo);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, Key, Kind, Row, ValueRef};

    #[test]
    fn a_newer_description_carries_records_over_by_the_names_of_their_fields() {
        let old = Collection::new("c", 1, "id", Kind::Int).field("a", Kind::Text).field("b", Kind::Int);
        let mut new =
            Collection::new("c", 2, "id", Kind::Int).field("b", Kind::Int).field_with("n", Kind::Int, 7, crate::Index::Plain);
        new = new.field("rest", Kind::Json);
        new.extras = Some(3);
        let mut database = Database::default();
        let id = database.define(std::slice::from_ref(&old)).expect("defined")[0];
        let row = Row::builder(&old).set("a", "x").and_then(|b| b.set("b", 5)).expect("a row").build();
        database.apply(&Context::unbounded(), &[Mutation::InsertNext { collection: id, row }]).expect("applied");
        assert_eq!(database.define(&[new.clone()]).expect("newer"), [id]);
        let row = database.tables().get(id).and_then(|t| t.get(&Key::Int(1))).expect("read").expect("a row").clone();
        let view = row.view(&new).expect("a view");
        assert_eq!((view.get("b"), view.get("n")), (Some(ValueRef::Int(5)), Some(ValueRef::Int(7))));
        assert_eq!(view.get("rest"), Some(ValueRef::Json(r#"{"a": "x"}"#)));
        assert_eq!(database.define(&[old]).expect_err("older").code(), Code::TooNew);
        assert!(database.has(&[new]));
    }
}

//! Finding clients.

use std::sync::Arc;

use hivemind_model::{Backend, Condition, Context, Error, KeyRef, Op, Query, ValueRef};

use super::Clients;
use super::cache::{Answer, Wanted};
use super::client::Client;
use super::description::{REVOKED, at};
use crate::error::Result;

impl Clients {
    /// The client with this id, revoked ones included.
    ///
    /// # Errors
    /// The backend's. A failure is never reported as absence.
    pub async fn by_id(&self, id: i64) -> Result<Option<Arc<Client>>> {
        if self.storage.reads_in_place() {
            return self.look_up(self.storage.backend(), &self.storage.brief_context(), Wanted::Id(id));
        }
        let this = self.clone();
        self.storage.run_reads(move |backend, cx| Ok(this.look_up(backend, cx, Wanted::Id(id)))).await?
    }

    /// The client with this access key. Nobody has an empty key or the marker of revoked clients.
    ///
    /// # Errors
    /// The backend's. A failure is never reported as absence.
    pub async fn by_access_key(&self, key: &str) -> Result<Option<Arc<Client>>> {
        if key.is_empty() || key == REVOKED {
            return Ok(None);
        }
        if self.storage.reads_in_place() {
            return self.look_up(self.storage.backend(), &self.storage.brief_context(), Wanted::AccessKey(key));
        }
        let (this, key) = (self.clone(), key.to_owned());
        self.storage.run_reads(move |backend, cx| Ok(this.look_up(backend, cx, Wanted::AccessKey(&key)))).await?
    }

    /// The clients with this name, in the order of their ids, revoked ones left out.
    ///
    /// # Errors
    /// The backend's.
    pub async fn by_name(&self, name: &str) -> Result<Vec<Client>> {
        let mut found = Vec::new();
        let mut pages = self.pages_where(vec![Condition::new(at::NAME, Op::Eq, name)]);
        while let Some(page) = pages.next().await? {
            found.extend(page.clients.into_iter().filter(|c| !c.is_revoked()));
        }
        Ok(found)
    }

    /// How many records there are, revoked ones included.
    ///
    /// # Errors
    /// The backend's.
    pub async fn count(&self) -> Result<u64> {
        let query = Query::all(self.id);
        Ok(self.storage.run_reads(move |backend, cx| backend.count(cx, &query)).await?)
    }

    /// How many clients are not revoked, those without an access key included.
    ///
    /// # Errors
    /// The backend's.
    pub async fn count_live(&self) -> Result<u64> {
        let revoked = self.count_revoked().await?;
        Ok(self.count().await?.saturating_sub(revoked))
    }

    /// How many clients are revoked.
    ///
    /// # Errors
    /// The backend's.
    pub async fn count_revoked(&self) -> Result<u64> {
        let query = Query::all(self.id).filter(Condition::new(at::API_KEY, Op::Eq, REVOKED));
        Ok(self.storage.run_reads(move |backend, cx| backend.count(cx, &query)).await?)
    }

    fn look_up(&self, backend: &dyn Backend, cx: &Context<'_>, wanted: Wanted<'_>) -> Result<Option<Arc<Client>>> {
        let token = match &self.cache {
            None => None,
            // History that cannot be asked vouches for nothing: the record itself is read, and not kept.
            Some(cache) => match cache.look_up(backend, cx, (self.id, &self.collection), wanted) {
                Ok(Answer::Hit(client)) => return Ok(Some(client)),
                Ok(Answer::Miss(token)) => Some((cache, token)),
                Err(_) => None,
            },
        };
        let row = match wanted {
            Wanted::Id(id) => backend.get(cx, self.id, KeyRef::Int(id))?,
            Wanted::AccessKey(key) => backend.get_by(cx, self.id, at::API_KEY, ValueRef::Text(key))?,
        };
        let Some(row) = row else { return Ok(None) };
        let client = Arc::new(Client::from_row(&self.collection, &row)?);
        // Whoever is let in by this record must be who asked.
        let is_wanted = match wanted {
            Wanted::Id(id) => client.id == id,
            Wanted::AccessKey(key) => client.api_key == key,
        };
        if !is_wanted {
            let message =
                format!("the backend answered with client {}, which is not the one asked for; tell its vendor", client.id);
            return Err(Error::corrupt(message).into());
        }
        if let Some((cache, token)) = token {
            cache.keep(token, &client, wanted);
        }
        Ok(Some(client))
    }
}

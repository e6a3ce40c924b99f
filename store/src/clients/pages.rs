//! Walking through all clients in bounded memory.

use hivemind_model::msgpack::Reader;
use hivemind_model::{Condition, Continuation, Error, Key, Query, Row, Unreadable};

use super::Clients;
use super::client::Client;
use crate::error::Result;

/// How many bytes of rows one page holds at most.
const PAGE_BYTES: usize = 256 * 1024;

/// Some of the clients.
#[derive(Debug)]
#[non_exhaustive]
pub struct ClientPage {
    /// In the order of their ids, revoked ones included.
    pub clients: Vec<Client>,
    /// Records that are stored but cannot be read. They hide nothing else.
    pub unreadable: Vec<Unreadable>,
}

/// Hands out page after page. Nothing is held open in between.
#[derive(Debug)]
pub struct Pages {
    clients: Clients,
    next: Option<Query>,
    // The greatest id handed out.
    last: Option<i64>,
}

impl Clients {
    /// All clients, page by page. What others add or change meanwhile may or may not be seen; nothing comes twice.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.pages_where(Vec::new())
    }

    pub(super) fn pages_where(&self, all: Vec<Condition>) -> Pages {
        Pages { clients: self.clone(), next: Some(Query { all, ..Query::all(self.id) }), last: None }
    }

    /// Calls `visit` with each client, in the order of ids, and returns the records that cannot be read.
    ///
    /// # Errors
    /// The backend's, or the first of `visit`.
    pub async fn for_each<E: From<crate::Error>>(
        &self,
        mut visit: impl FnMut(Client) -> Result<(), E>,
    ) -> Result<Vec<Unreadable>, E> {
        let mut pages = self.pages();
        let mut unreadable = Vec::new();
        while let Some(page) = pages.next().await? {
            unreadable.extend(page.unreadable);
            page.clients.into_iter().try_for_each(&mut visit)?;
        }
        Ok(unreadable)
    }
}

impl Pages {
    /// The next page; `None` behind the last.
    ///
    /// # Errors
    /// The backend's. The same page can be asked for again.
    pub async fn next(&mut self) -> Result<Option<ClientPage>> {
        let Some(query) = self.next.clone() else { return Ok(None) };
        let asked = query.clone();
        let page = self.clients.storage.run_reads(move |backend, cx| backend.find(cx, &asked, PAGE_BYTES)).await?;
        let mut answer = ClientPage { clients: Vec::with_capacity(page.rows.len()), unreadable: page.unreadable };
        let mut last = self.last;
        for row in &page.rows {
            let id = id_of(row);
            match Client::from_row(&self.clients.collection, row) {
                // Pages that go round in circles would never end.
                Ok(client) if last.is_some_and(|last| client.id <= last) => return Err(out_of_order(client.id).into()),
                Ok(client) => answer.clients.push(client),
                Err(error) => {
                    let key = error.detail().key.clone().unwrap_or(Key::Int(id));
                    answer.unreadable.push(Unreadable { key, message: error.message().to_owned() });
                }
            }
            last = last.max(Some(id));
        }
        if page.next.is_some() && last == self.last {
            return Err(Error::corrupt("the backend answered a page that leads no further; tell its vendor").into());
        }
        self.last = last;
        self.next = page.next.map(|place: Continuation| query.after(place).offset(0));
        Ok(Some(answer))
    }
}

fn out_of_order(id: i64) -> Error {
    Error::corrupt(format!("the backend answered client {id} twice or out of order; tell its vendor"))
}

/// The id that a row starts with, whatever else is wrong with it; 0 if it has none.
fn id_of(row: &Row) -> i64 {
    let mut reader = Reader::new(row.as_bytes());
    reader.array().and_then(|_| reader.int()).unwrap_or_default()
}

//! SQLite called by hand: what one would write without this project, with the same pragmas and the same decoded result.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use crate::contest::Contestant;
use crate::{Failure, clients};

/// What a look-up decodes into: the fields of a typed client.
#[expect(dead_code, reason = "decoding them is what is measured")]
struct Client {
    id: i64,
    api_key: String,
    name: Option<String>,
    description: Option<String>,
    is_admin: bool,
    last_seen: f64,
    allowed_types: Vec<String>,
    password: Option<String>,
    flags: [bool; 3],
    metadata: String,
}

const SELECT: &str = "SELECT client_id, api_key, name, description, is_admin, last_seen, allowed_types, password, can_broadcast, \
can_escalate, can_propagate, metadata FROM clients WHERE api_key = ?1 ORDER BY client_id LIMIT 1";

/// Opens the database of a data folder.
fn open(data: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(data.join("hivemind-core/clients.db"), flags)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;")?;
    Ok(connection)
}

/// Looks clients up with a prepared statement.
pub(crate) struct LookUp {
    name: String,
    connection: Connection,
    among: u64,
}

impl LookUp {
    /// Looks up among the first `among` clients.
    pub(crate) fn new(name: &str, data: &Path, among: u64) -> Result<Self, Failure> {
        Ok(Self { name: name.to_owned(), connection: open(data)?, among })
    }
}

impl Contestant for LookUp {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn batch(&self) -> usize {
        2000
    }

    fn work(&mut self, picks: &[u64]) -> Result<Duration, Failure> {
        let keys = clients::keys(picks, self.among);
        let mut statement = self.connection.prepare_cached(SELECT)?;
        let start = Instant::now();
        for key in &keys {
            let client = statement.query_row([key], |row| {
                Ok(Client {
                    id: row.get(0)?,
                    api_key: row.get(1)?,
                    name: row.get(2)?,
                    description: row.get(3)?,
                    is_admin: row.get(4)?,
                    last_seen: row.get(5)?,
                    allowed_types: serde_json::from_str(row.get_ref(6)?.as_str()?).unwrap_or_default(),
                    password: row.get(7)?,
                    flags: [row.get(8)?, row.get(9)?, row.get(10)?],
                    metadata: row.get(11)?,
                })
            })?;
            std::hint::black_box(&client);
        }
        Ok(start.elapsed())
    }
}

/// Updates one column of one row in a transaction of its own.
pub(crate) fn touch(data: &Path, count: u64) -> Result<impl FnMut(&[u64]) -> Result<Duration, Failure>, Failure> {
    let connection = open(data)?;
    Ok(move |picks: &[u64]| {
        let keys = clients::keys(picks, count);
        let mut statement = connection.prepare_cached("UPDATE clients SET last_seen = ?1 WHERE api_key = ?2")?;
        let start = Instant::now();
        for (key, pick) in keys.iter().zip(picks) {
            statement.execute((clients::seen(*pick), key))?;
        }
        Ok(start.elapsed())
    })
}

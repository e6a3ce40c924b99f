//! The engine called by hand: what one would write without this project, with the same pragmas and the same decoded result.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use crate::Failure;
use crate::contest::Contestant;

/// A prepared statement on a copy of the database.
pub(crate) struct Sqlite {
    connection: Connection,
}

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

impl Sqlite {
    /// Opens the database under `data`.
    pub(crate) fn open(data: &Path) -> Result<Self, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(data.join("hivemind-core/clients.db"), flags)?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
        Ok(Self { connection })
    }
}

impl Contestant for Sqlite {
    fn name(&self) -> String {
        "rusqlite by hand, prepared statement".to_owned()
    }

    fn look_up(&mut self, keys: &[&str]) -> Result<Duration, Failure> {
        let mut statement = self.connection.prepare_cached(SELECT)?;
        let start = Instant::now();
        for key in keys {
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

//! The table of stored responses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    config::ResponseStore,
    database::{Database, DatabaseError, Statement, Value},
    state::Snapshot,
};

/// How long a response is kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The longest conversation that is kept, in bytes of JSON.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// How many responses are stored between two looks at the size of the table.
const CLEAN_EVERY: u64 = 32;

/// A stored response.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The id, as the caller got it.
    pub(super) id: String,
    /// The response, as JSON.
    pub(crate) response: String,
    /// The conversation that it ends: a JSON list of input items.
    pub(super) items: String,
}

/// The stored responses. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Responses {
    database: Database,
    /// The most bytes of all conversations together.
    max_bytes: u64,
    stored: Arc<AtomicU64>,
}

fn millis(since: SystemTime) -> i64 {
    let millis = since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    i64::try_from(millis).unwrap_or(i64::MAX)
}

impl Responses {
    /// Returns the stored responses of a configuration that stores them.
    pub(crate) fn of(snapshot: &Snapshot) -> Option<Self> {
        let settings = &snapshot.config.responses;
        let database = snapshot.process.database.clone().filter(|_| settings.store != ResponseStore::Off)?;
        Some(Self { database, max_bytes: settings.max_stored_bytes, stored: Arc::default() })
    }

    /// Returns a response of this caller; `None` if there is none with this id, or it has expired.
    pub(crate) async fn find(&self, caller: &str, id: &str) -> Result<Option<Record>, DatabaseError> {
        let sql = "SELECT response, items FROM berry_responses WHERE id = $1 AND caller = $2 AND expires_at > $3";
        let params = vec![id.into(), caller.into(), millis(SystemTime::now()).into()];
        let rows = self.database.query(sql, params).await?;
        Ok(rows.first().map(|row| Record {
            id: id.to_owned(),
            response: row.text(0).to_owned(),
            items: row.text(1).to_owned(),
        }))
    }

    /// Stores a response of this caller. One that is too long is not stored.
    pub(super) async fn store(&self, caller: &str, record: &Record) -> Result<(), DatabaseError> {
        let bytes = record.items.len() + record.response.len();
        if bytes > MAX_BYTES {
            tracing::debug!(bytes, "a response is too long to be stored");
            return Ok(());
        }
        let now = SystemTime::now();
        let sql = "INSERT INTO berry_responses (id, caller, created_at, expires_at, bytes, response, items)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (caller, id) DO UPDATE SET
             created_at = $3, expires_at = $4, bytes = $5, response = $6, items = $7";
        let params = vec![
            record.id.as_str().into(),
            caller.into(),
            millis(now).into(),
            millis(now + KEPT).into(),
            (bytes as u64).into(),
            record.response.as_str().into(),
            record.items.as_str().into(),
        ];
        self.database.transaction(vec![Statement::new(sql, params)]).await?;
        if self.stored.fetch_add(1, Relaxed).is_multiple_of(CLEAN_EVERY) {
            self.clean(now).await?;
        }
        Ok(())
    }

    /// Removes a response of this caller, and returns whether there was one.
    pub(crate) async fn remove(&self, caller: &str, id: &str) -> Result<bool, DatabaseError> {
        let sql = "DELETE FROM berry_responses WHERE id = $1 AND caller = $2";
        let changed = self.database.transaction(vec![Statement::new(sql, vec![id.into(), caller.into()])]).await?;
        Ok(changed.iter().any(|rows| *rows > 0))
    }

    /// Removes what has expired, and the oldest responses while all together are too large.
    async fn clean(&self, now: SystemTime) -> Result<(), DatabaseError> {
        let expired = "DELETE FROM berry_responses WHERE expires_at <= $1";
        self.database.transaction(vec![Statement::new(expired, vec![millis(now).into()])]).await?;
        let sum = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM berry_responses";
        let rows = self.database.query(sum, Vec::new()).await?;
        let bytes = rows.first().map_or(0, |row| u64::try_from(row.integer(0)).unwrap_or(0));
        if bytes <= self.max_bytes {
            return Ok(());
        }
        // In steps, so that the table may be somewhat smaller than it must be.
        let oldest = "DELETE FROM berry_responses WHERE created_at <= (SELECT created_at FROM berry_responses
             ORDER BY created_at LIMIT 1 OFFSET (SELECT COUNT(*) / 4 FROM berry_responses))";
        self.database.transaction(vec![Statement::new(oldest, Vec::<Value>::new())]).await?;
        Ok(())
    }
}

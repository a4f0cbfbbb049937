//! The database: keys made at run time, the ledger of finished requests, and whatever else outlives the process.
//!
//! Two engines stand behind one small interface: SQLite ([`sqlite`]) for one machine and PostgreSQL ([`postgres`]) for a
//! fleet. SQL is written once, in the dialect that both understand: `$1` for parameters, `BIGINT`, `TEXT` and `BYTEA`
//! for columns, `ON CONFLICT` for upserts, and `CAST(SUM(x) AS BIGINT)` for sums.
//!
//! Each engine has workers of its own that hold the connections and take jobs from bounded queues, so that a caller
//! which leaves cannot break off a transaction, and no lock is held across an await. No request waits for any of this.

mod migrations;
mod postgres;
mod sqlite;
mod tls;
mod value;

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::sync::oneshot;

pub(crate) use self::value::{Row, Value};
use self::{postgres::Postgres, sqlite::Sqlite};
use crate::config::DatabaseUrl;

/// How many jobs wait for one worker at most.
const QUEUE: usize = 64;

/// A statement with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    sql: Cow<'static, str>,
    params: Vec<Value>,
    /// The number of rows that it must change.
    expected: Option<u64>,
}

impl Statement {
    pub(crate) fn new(sql: impl Into<Cow<'static, str>>, params: Vec<Value>) -> Self {
        Self { sql: sql.into(), params, expected: None }
    }

    /// Makes the transaction fail with [`DatabaseError::Conflict`] unless the statement changes so many rows.
    pub(crate) fn expecting(mut self, rows: u64) -> Self {
        self.expected = Some(rows);
        self
    }

    /// Checks the number of changed rows.
    fn check(&self, changed: u64) -> Result<u64, DatabaseError> {
        match self.expected {
            Some(expected) if expected != changed => Err(DatabaseError::Conflict),
            _ => Ok(changed),
        }
    }
}

/// Why a statement was not carried out.
#[derive(Clone, Debug)]
pub(crate) enum DatabaseError {
    /// The database cannot be reached, or cannot work now. The same statement may succeed later. A transaction may have
    /// been committed all the same.
    Unavailable(String),
    /// The statement contradicts what the database holds, such as a name that is taken.
    Conflict,
    /// The database rejected the statement, and will reject it again.
    Failed(String),
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(f, "the database is not available: {why}"),
            Self::Conflict => f.write_str("the change contradicts what the database holds"),
            Self::Failed(why) => write!(f, "the database rejected a statement: {why}"),
        }
    }
}

impl std::error::Error for DatabaseError {}

/// The work of one job.
#[derive(Debug)]
enum Work {
    /// Returns the rows of a statement that changes nothing.
    Query(Statement),
    /// Carries out all statements or none, and returns how many rows each changed.
    Transaction(Vec<Statement>),
    /// Brings the schema up to date.
    Migrate,
}

/// The result of one job.
#[derive(Debug)]
enum Done {
    Rows(Vec<Row>),
    Changed(Vec<u64>),
}

type Outcome = Result<Done, DatabaseError>;

#[derive(Debug)]
struct Job {
    work: Work,
    reply: oneshot::Sender<Outcome>,
}

#[derive(Debug)]
enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    /// Whether the last statement reached the database.
    is_available: AtomicBool,
    /// Whether the schema is up to date, as far as this process knows.
    is_migrated: AtomicBool,
}

/// A handle to the database. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Database(Arc<Inner>);

impl Database {
    /// Creates the handle and its workers. They connect when there is work.
    pub(crate) fn new(url: &DatabaseUrl) -> Self {
        let engine = match url {
            DatabaseUrl::Sqlite(path) => Engine::Sqlite(Sqlite::new(path)),
            DatabaseUrl::Postgres(config) => Engine::Postgres(Postgres::new(config)),
        };
        Self(Arc::new(Inner { engine, is_available: AtomicBool::new(true), is_migrated: AtomicBool::new(false) }))
    }

    /// Whether the last statement reached the database.
    pub(crate) fn is_available(&self) -> bool {
        self.0.is_available.load(Relaxed)
    }

    /// Brings the schema up to date. Replicas that start together wait for each other.
    pub(crate) async fn migrate(&self) -> Result<(), DatabaseError> {
        self.run(Work::Migrate).await?;
        self.0.is_migrated.store(true, Relaxed);
        Ok(())
    }

    /// Returns the rows of a statement that changes nothing.
    pub(crate) async fn query(
        &self,
        sql: impl Into<Cow<'static, str>>,
        params: Vec<Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        self.ensure_schema().await?;
        match self.run(Work::Query(Statement::new(sql, params))).await? {
            Done::Rows(rows) => Ok(rows),
            Done::Changed(_) => Ok(Vec::new()),
        }
    }

    /// Carries out all statements or none, and returns how many rows each changed.
    pub(crate) async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<u64>, DatabaseError> {
        self.ensure_schema().await?;
        match self.run(Work::Transaction(statements)).await? {
            Done::Changed(changed) => Ok(changed),
            Done::Rows(_) => Ok(Vec::new()),
        }
    }

    /// Migrates unless that was done: the database may have been away when the server started.
    async fn ensure_schema(&self) -> Result<(), DatabaseError> {
        if self.0.is_migrated.load(Relaxed) { Ok(()) } else { self.migrate().await }
    }

    async fn run(&self, work: Work) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let job = Job { work, reply };
        let queue = match &self.0.engine {
            Engine::Sqlite(sqlite) => sqlite.queue(&job.work),
            Engine::Postgres(postgres) => postgres.queue(),
        };
        let outcome = match queue.try_send(job) {
            Ok(()) => outcome.await.unwrap_or_else(|_| Err(DatabaseError::Unavailable("it is closing".to_owned()))),
            Err(_) => Err(DatabaseError::Unavailable("too many statements wait for it".to_owned())),
        };
        self.note(&outcome);
        outcome
    }

    /// Logs the begin and the end of an outage.
    fn note(&self, outcome: &Outcome) {
        match outcome {
            Err(DatabaseError::Unavailable(why)) => {
                if self.0.is_available.swap(false, Relaxed) {
                    tracing::error!(%why, "the database is not available; requests go on with what is known");
                }
            }
            Err(DatabaseError::Failed(why)) => tracing::error!(%why, "the database rejected a statement"),
            Ok(_) | Err(DatabaseError::Conflict) => {
                if !self.0.is_available.swap(true, Relaxed) {
                    tracing::info!("the database is available again");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir) -> Database {
        Database::new(&DatabaseUrl::Sqlite(folder.path().join("berry.db")))
    }

    #[tokio::test]
    async fn migrates_twice_and_carries_out_all_statements_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (open(&folder), open(&folder));
        let (first, second) = tokio::join!(one.migrate(), other.migrate());
        first.unwrap();
        second.unwrap();
        let add = |name: &str| {
            Statement::new("INSERT INTO berry_state (name, value) VALUES ($1, $2)", vec![name.into(), 1_i64.into()])
        };
        one.transaction(vec![add("a"), add("b")]).await.unwrap();
        let failed = one.transaction(vec![add("c"), add("a")]).await;
        assert!(matches!(failed, Err(DatabaseError::Conflict)), "{failed:?}");
        let nothing = Statement::new("UPDATE berry_state SET value = 2 WHERE name = $1", vec!["d".into()]);
        let failed = one.transaction(vec![add("c"), nothing.expecting(1)]).await;
        assert!(matches!(failed, Err(DatabaseError::Conflict)), "{failed:?}");
        let sql = "SELECT name, value FROM berry_state WHERE value = $1 ORDER BY name";
        let rows = other.query(sql, vec![1_i64.into()]).await.unwrap();
        let names: Vec<&str> = rows.iter().map(|row| row.text(0)).collect();
        assert_eq!((names, rows[0].integer(1)), (vec!["a", "b"], 1));
    }

    #[tokio::test]
    async fn reports_a_file_that_cannot_be_opened_and_recovers() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("later");
        let database = Database::new(&DatabaseUrl::Sqlite(inner.join("berry.db")));
        assert!(matches!(database.migrate().await, Err(DatabaseError::Unavailable(_))));
        assert!(!database.is_available());
        std::fs::create_dir(&inner).unwrap();
        database.migrate().await.unwrap();
        assert!(database.is_available());
    }
}

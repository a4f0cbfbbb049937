//! SQLite: one thread that reads and one that writes, each with a connection of its own.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, TransactionBehavior, params_from_iter};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::{DatabaseError, Done, Job, Outcome, QUEUE, Row, Statement, Value, Work, migrations};

/// How long a statement waits for another process that holds the lock.
const BUSY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Sqlite {
    reader: Sender<Job>,
    writer: Sender<Job>,
}

impl Sqlite {
    /// Starts the threads. They end with the last handle to the queues.
    pub(super) fn new(path: &Path) -> Self {
        let start = |name: &str| {
            let (queue, jobs) = mpsc::channel(QUEUE);
            let path = path.to_owned();
            let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&path, jobs));
            if let Err(error) = started {
                tracing::error!(%error, "a thread of the database could not be started");
            }
            queue
        };
        Self { reader: start("sqlite-read"), writer: start("sqlite-write") }
    }

    pub(super) fn queue(&self, work: &Work) -> &Sender<Job> {
        match work {
            Work::Query(_) => &self.reader,
            Work::Transaction(_) | Work::Migrate => &self.writer,
        }
    }
}

fn work(path: &Path, mut jobs: Receiver<Job>) {
    let mut open = None;
    while let Some(Job { work, reply }) = jobs.blocking_recv() {
        let outcome = run(path, &mut open, &work).map_err(|error| error_of(&error));
        if matches!(outcome, Err(DatabaseError::Unavailable(_))) {
            // The file may have been replaced.
            open = None;
        }
        let outcome = outcome.and_then(|outcome| outcome);
        let _ = reply.send(outcome);
    }
}

/// The outer error is SQLite's, the inner one that of an expectation.
fn run(path: &Path, open: &mut Option<Connection>, work: &Work) -> rusqlite::Result<Outcome> {
    let connection = match open {
        Some(connection) => connection,
        None => open.insert(connect(path)?),
    };
    match work {
        Work::Query(statement) => rows(connection, statement).map(|rows| Ok(Done::Rows(rows))),
        Work::Transaction(statements) => {
            // A deferred transaction could fail in the middle, when it first writes.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut changed = Vec::with_capacity(statements.len());
            for statement in statements {
                match statement.check(execute(&transaction, statement)?) {
                    Ok(rows) => changed.push(rows),
                    Err(error) => {
                        transaction.rollback()?;
                        return Ok(Err(error));
                    }
                }
            }
            transaction.commit()?;
            Ok(Ok(Done::Changed(changed)))
        }
        Work::Migrate => migrate(connection).map(|()| Ok(Done::Changed(Vec::new()))),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // With a write-ahead log readers do not wait for writers. `FULL` makes a commit outlive a power failure.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 1000")?;
    Ok(connection)
}

/// SQLite writes numbered parameters with a question mark.
fn numbered(statement: &Statement) -> String {
    statement.sql.replace('$', "?")
}

fn rows(connection: &Connection, statement: &Statement) -> rusqlite::Result<Vec<Row>> {
    let mut prepared = connection.prepare(&numbered(statement))?;
    let columns = prepared.column_count();
    let mut found = prepared.query(params_from_iter(&statement.params))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let values = (0..columns).map(|index| row.get_ref(index).map(Value::from_sqlite));
        rows.push(Row(values.collect::<rusqlite::Result<_>>()?));
    }
    Ok(rows)
}

fn execute(connection: &Connection, statement: &Statement) -> rusqlite::Result<u64> {
    let changed = connection.prepare(&numbered(statement))?.execute(params_from_iter(&statement.params))?;
    Ok(u64::try_from(changed).unwrap_or_default())
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    // The lock makes a second process wait, and find the work done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migrations::TABLE)?;
    let version: i64 = transaction.query_row(migrations::VERSION, [], |row| row.get(0))?;
    for (number, sql) in migrations::after(version) {
        transaction.execute_batch(sql)?;
        transaction.execute(&migrations::record(number), [])?;
    }
    transaction.commit()
}

fn error_of(error: &rusqlite::Error) -> DatabaseError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => DatabaseError::Conflict,
        Some(ErrorCode::Unknown | ErrorCode::TypeMismatch | ErrorCode::ApiMisuse | ErrorCode::ParameterOutOfRange)
        | None => DatabaseError::Failed(error.to_string()),
        Some(_) => DatabaseError::Unavailable(error.to_string()),
    }
}

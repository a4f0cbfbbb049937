//! PostgreSQL: a few tasks, each with a connection of its own.

use std::time::Duration;

use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::timeout,
};
use tokio_postgres::{
    Client, Config, Error,
    error::SqlState,
    types::{ToSql, Type},
};

use super::{DatabaseError, Done, Job, Outcome, QUEUE, Row, Statement, Value, Work, migrations, tls::Tls};

/// The number of connections.
const CONNECTIONS: usize = 4;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a job may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a migration may take, which may have to wait for that of another replica.
const MIGRATION: Duration = Duration::from_secs(300);
/// The name of the lock that guards migrations; any number that nothing else uses.
const LOCK: &str = "SELECT pg_advisory_xact_lock(4711000018)";

#[derive(Debug)]
pub(super) struct Postgres(Vec<Sender<Job>>);

impl Postgres {
    /// Starts the tasks. They end with the last handle to the queues.
    pub(super) fn new(config: &Config) -> Self {
        let tls = Tls::new();
        let start = |_| {
            let (queue, jobs) = mpsc::channel(QUEUE);
            tokio::spawn(work(config.clone(), tls.clone(), jobs));
            queue
        };
        Self((0..CONNECTIONS).map(start).collect())
    }

    /// Returns the shortest queue.
    pub(super) fn queue(&self) -> &Sender<Job> {
        self.0.iter().max_by_key(|queue| queue.capacity()).unwrap_or(&self.0[0])
    }
}

async fn work(mut config: Config, tls: Tls, mut jobs: Receiver<Job>) {
    config.connect_timeout(CONNECT).tcp_user_timeout(LIMIT).application_name("berry");
    let mut open: Option<Client> = None;
    while let Some(Job { work, reply }) = jobs.recv().await {
        let limit = if matches!(work, Work::Migrate) { MIGRATION } else { LIMIT };
        let was_open = open.is_some();
        let mut outcome = within(limit, run(&config, &tls, &mut open, &work)).await;
        if matches!(outcome, Err(DatabaseError::Unavailable(_))) {
            open = None;
            // A connection that had been idle may have been closed without a word; reading again does no harm.
            if was_open && matches!(work, Work::Query(_)) {
                outcome = within(limit, run(&config, &tls, &mut open, &work)).await;
            }
        }
        let _ = reply.send(outcome);
    }
}

async fn within(limit: Duration, job: impl Future<Output = Result<Outcome, Error>>) -> Outcome {
    match timeout(limit, job).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Err(error_of(&error)),
        Err(_) => Err(DatabaseError::Unavailable(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// The outer error is PostgreSQL's, the inner one that of an expectation.
async fn run(config: &Config, tls: &Tls, open: &mut Option<Client>, work: &Work) -> Result<Outcome, Error> {
    let client = match open {
        Some(client) if !client.is_closed() => client,
        _ => {
            let (client, connection) = config.connect(tls.clone()).await?;
            // It ends with the client; its error is that of the statement under way.
            tokio::spawn(async move { drop(connection.await) });
            open.insert(client)
        }
    };
    match work {
        Work::Query(statement) => {
            let found = client.query_typed(&statement.sql, &typed(statement)).await?;
            let row = |row: &tokio_postgres::Row| {
                (0..row.len()).map(|index| Value::from_postgres(row, index)).collect::<Result<_, _>>().map(Row)
            };
            Ok(Ok(Done::Rows(found.iter().map(row).collect::<Result<_, _>>()?)))
        }
        Work::Transaction(statements) => {
            let transaction = client.transaction().await?;
            let mut changed = Vec::with_capacity(statements.len());
            for statement in statements {
                let rows = transaction.execute_typed(&statement.sql, &typed(statement)).await?;
                match statement.check(rows) {
                    Ok(rows) => changed.push(rows),
                    Err(error) => {
                        transaction.rollback().await?;
                        return Ok(Err(error));
                    }
                }
            }
            transaction.commit().await?;
            Ok(Ok(Done::Changed(changed)))
        }
        Work::Migrate => migrate(client).await.map(|()| Ok(Done::Changed(Vec::new()))),
    }
}

fn typed(statement: &Statement) -> Vec<(&(dyn ToSql + Sync), Type)> {
    statement.params.iter().map(|value| (value as &(dyn ToSql + Sync), value.postgres_type())).collect()
}

async fn migrate(client: &mut Client) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(LOCK).await?;
    transaction.batch_execute(migrations::TABLE).await?;
    let row = transaction.query_typed_one(migrations::VERSION, &[]).await?;
    for (number, sql) in migrations::after(row.get(0)) {
        transaction.batch_execute(sql).await?;
        transaction.batch_execute(&migrations::record(number)).await?;
    }
    transaction.commit().await
}

fn error_of(error: &Error) -> DatabaseError {
    let text = match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(error), _) => error.message().to_owned(),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    };
    let Some(code) = error.code() else { return DatabaseError::Unavailable(text) };
    if *code == SqlState::UNIQUE_VIOLATION {
        return DatabaseError::Conflict;
    }
    // Syntax errors and bad values are the program's mistakes. Everything else may pass.
    match code.code().get(..2) {
        Some("22" | "23" | "42") if *code != SqlState::INSUFFICIENT_PRIVILEGE => DatabaseError::Failed(text),
        _ => DatabaseError::Unavailable(text),
    }
}

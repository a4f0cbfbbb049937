//! The task that writes rows in batches, and removes old ones.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, atomic::Ordering::Relaxed},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc::Receiver, oneshot},
    time::{Instant, sleep, timeout_at},
};

use super::{
    Counts, Message,
    row::{COLUMNS, HourKey, LedgerRow, WIDTH},
};
use crate::database::{Database, DatabaseError, Statement, Value};

/// The rows of a batch.
const BATCH: usize = 500;
/// How long a batch waits to become full.
const WAIT: Duration = Duration::from_millis(200);
/// How long the task waits before it tries again, at first and at most.
const RETRY: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
/// How often old rows are removed.
const CLEANING: Duration = Duration::from_secs(3_600);
const DAY_MS: i64 = 86_400_000;
/// The columns of the sums, all of which are added up.
const SUMS: [&str; 9] = [
    "requests",
    "failed",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nanos",
    "wasted_nanos",
];

pub(super) async fn write(database: Database, mut messages: Receiver<Message>, counts: Arc<Counts>) {
    let (mut batch, mut flushes) = (Vec::with_capacity(BATCH), Vec::new());
    let mut cleaned: Option<Instant> = None;
    while let Some(first) = messages.recv().await {
        let deadline = Instant::now() + WAIT;
        take(first, &mut batch, &mut flushes);
        while batch.len() < BATCH && flushes.is_empty() {
            match timeout_at(deadline, messages.recv()).await {
                Ok(Some(message)) => take(message, &mut batch, &mut flushes),
                Ok(None) | Err(_) => break,
            }
        }
        write_batch(&database, &batch, &counts).await;
        batch.clear();
        for done in flushes.drain(..) {
            // Who asked may have gone.
            let _: Result<(), ()> = done.send(());
        }
        if cleaned.is_none_or(|at| at.elapsed() >= CLEANING) && database.is_available() {
            cleaned = Some(Instant::now());
            clean(&database, &counts).await;
        }
    }
}

fn take(message: Message, batch: &mut Vec<LedgerRow>, flushes: &mut Vec<oneshot::Sender<()>>) {
    match message {
        Message::Row(row) => batch.push(*row),
        Message::Flush(done) => flushes.push(done),
    }
}

/// Writes a batch, however long that takes: rows wait in the queue meanwhile.
async fn write_batch(database: &Database, batch: &[LedgerRow], counts: &Counts) {
    if batch.is_empty() {
        return;
    }
    let statements: Arc<[Statement]> = statements(batch).into();
    let rows = u64::try_from(batch.len()).unwrap_or_default();
    let [mut pause, most] = RETRY;
    loop {
        match database.transaction(statements.clone()).await {
            // A conflict is the batch's own id: the reply to an earlier try was lost.
            Ok(_) | Err(DatabaseError::Conflict) => {
                counts.written.fetch_add(rows, Relaxed);
                return;
            }
            Err(DatabaseError::Unavailable(_)) => sleep(pause).await,
            Err(DatabaseError::Failed(_)) => {
                counts.dropped.fetch_add(rows, Relaxed);
                return;
            }
        }
        pause = (pause * 2).min(most);
    }
}

/// Returns the transaction of a batch. Sums are in order, so that replicas which write at the same time do not wait for
/// each other in a circle.
pub(super) fn statements(batch: &[LedgerRow]) -> Vec<Statement> {
    let now = Timestamp::now().as_millisecond();
    // Ids that grow keep their index small to write.
    let id = format!("{now:012x}-{}", uuid::Uuid::new_v4().simple());
    let begin = "INSERT INTO berry_batches (id, written_at) VALUES ($1, $2)";
    let mut statements = vec![Statement::new(begin, vec![id.as_str().into(), now.into()])];
    let rows = batch.iter().enumerate().flat_map(|(number, row)| row.values(format!("{id}-{number}")));
    statements.push(Statement::insert(&**INSERT_ROWS, WIDTH, rows.collect()));
    let hours = sums(batch).into_iter().flat_map(|(key, sums)| {
        let HourKey { hour, key, user, team, model, backend } = key;
        let names: [Value; 6] = [hour.into(), key.into(), user.into(), team.into(), model.into(), backend.into()];
        names.into_iter().chain(sums.map(Value::from))
    });
    statements.push(Statement::insert(&**ADD_HOURS, 6 + SUMS.len(), hours.collect()));
    statements
}

static INSERT_ROWS: LazyLock<String> =
    LazyLock::new(|| format!("INSERT INTO berry_ledger ({COLUMNS}) VALUES {{rows}}"));

static ADD_HOURS: LazyLock<String> = LazyLock::new(|| {
    let add: Vec<_> = SUMS.iter().map(|sum| format!("{sum} = berry_usage_hours.{sum} + excluded.{sum}")).collect();
    format!(
        "INSERT INTO berry_usage_hours (hour, key_id, user_id, team_id, model, backend, {}) VALUES {{rows}} \
         ON CONFLICT (hour, key_id, user_id, team_id, model, backend) DO UPDATE SET {}",
        SUMS.join(", "),
        add.join(", "),
    )
});

fn sums(batch: &[LedgerRow]) -> BTreeMap<HourKey, [u64; 9]> {
    let mut sums = BTreeMap::new();
    for row in batch {
        let usage = row.usage;
        let add = [
            1,
            row.has_failed().into(),
            usage.input,
            usage.cached,
            usage.cache_write,
            usage.output,
            usage.reasoning,
            row.cost,
            row.wasted,
        ];
        let all: &mut [u64; 9] = sums.entry(row.hour_key()).or_default();
        all.iter_mut().zip(add).for_each(|(sum, more)| *sum = sum.saturating_add(more));
    }
    sums
}

/// Removes single rows that are too old; the sums of their hours stay.
async fn clean(database: &Database, counts: &Counts) {
    let now = Timestamp::now().as_millisecond();
    let before = now - i64::from(counts.retain_days.load(Relaxed).max(1)) * DAY_MS;
    let statements = vec![
        Statement::new("DELETE FROM berry_ledger WHERE finished_at < $1", vec![before.into()]),
        Statement::new("DELETE FROM berry_batches WHERE written_at < $1", vec![(now - DAY_MS).into()]),
    ];
    // The database has logged the error; the next round tries again.
    let _ = database.transaction(statements).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_a_value_for_each_column() {
        assert_eq!(COLUMNS.split(',').count(), WIDTH);
    }
}

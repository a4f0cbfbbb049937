//! The task that writes rows in batches, and removes old ones.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
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
/// The rows of a statement: engines bound the number of parameters.
const CHUNK: usize = 100;
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
    let statements = statements(batch);
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
    let id = uuid::Uuid::new_v4().simple().to_string();
    let now = Timestamp::now().as_millisecond();
    let begin = "INSERT INTO berry_batches (id, written_at) VALUES ($1, $2)";
    let mut statements = vec![Statement::new(begin, vec![id.into(), now.into()])];
    for rows in batch.chunks(CHUNK) {
        let sql = format!("INSERT INTO berry_ledger ({COLUMNS}) VALUES {}", places(rows.len(), WIDTH));
        statements.push(Statement::new(sql, rows.iter().flat_map(LedgerRow::values).collect()));
    }
    let sums: Vec<_> = sums(batch).into_iter().collect();
    let add: Vec<_> = SUMS.iter().map(|sum| format!("{sum} = berry_usage_hours.{sum} + excluded.{sum}")).collect();
    for hours in sums.chunks(CHUNK) {
        let sql = format!(
            "INSERT INTO berry_usage_hours (hour, key_id, user_id, team_id, model, backend, {}) VALUES {} \
             ON CONFLICT (hour, key_id, user_id, team_id, model, backend) DO UPDATE SET {}",
            SUMS.join(", "),
            places(hours.len(), 6 + SUMS.len()),
            add.join(", "),
        );
        let values = hours.iter().flat_map(|(key, sums)| {
            let HourKey { hour, key, user, team, model, backend } = key.clone();
            let names: [Value; 6] = [hour.into(), key.into(), user.into(), team.into(), model.into(), backend.into()];
            names.into_iter().chain(sums.iter().map(|sum| Value::from(*sum)))
        });
        statements.push(Statement::new(sql, values.collect()));
    }
    statements
}

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

/// Returns the places of parameters, such as `($1, $2), ($3, $4)`.
fn places(rows: usize, width: usize) -> String {
    let row = |row: usize| {
        let places: Vec<_> = (1..=width).map(|column| format!("${}", row * width + column)).collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
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
    fn numbers_the_places_of_all_rows() {
        assert_eq!(places(2, 3), "($1, $2, $3), ($4, $5, $6)");
        assert_eq!(COLUMNS.split(',').count(), WIDTH);
    }
}

//! The ledger over SQLite.

use std::time::Duration;

use berry_tower::progress::Usage;
use tokio::time::{Instant, sleep};

use super::{
    row::{HOUR_MS, LedgerRow},
    writer, *,
};
use crate::{config::DatabaseUrl, database::Database};

fn open(folder: &tempfile::TempDir) -> Database {
    Database::new(&DatabaseUrl::Sqlite(folder.path().join("berry.db")))
}

async fn total(database: &Database, from: i64, to: i64) -> Sums {
    let query = UsageQuery { from, to, by: Vec::new(), only: Vec::new() };
    sum(database, &query).await.unwrap().first().map(|row| row.sums).unwrap_or_default()
}

#[tokio::test]
async fn sums_agree_with_single_rows_over_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder);
    // Ten rows in each of four hours, six minutes apart.
    let rows: Vec<_> = (0..40)
        .map(|n| LedgerRow::example(n * HOUR_MS / 10, "m", Usage { input: 10, output: 1, ..Usage::default() }))
        .collect();
    database.transaction(writer::statements(&rows)).await.unwrap();
    for from in 0..40 {
        for to in from..=40 {
            let sums = total(&database, from * HOUR_MS / 10, to * HOUR_MS / 10).await;
            assert_eq!(
                (sums.requests, sums.input_tokens),
                ((to - from) as u64, 10 * (to - from) as u64),
                "{from} {to}"
            );
        }
    }
    let query = UsageQuery { from: 0, to: 4 * HOUR_MS, by: vec![By::Day, By::Model], only: Vec::new() };
    let found = sum(&database, &query).await.unwrap();
    assert_eq!(found[0].values, ["1970-01-01", "m"]);
}

#[tokio::test]
async fn a_batch_that_is_written_again_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder);
    let batch = writer::statements(&[LedgerRow::example(5, "m", Usage { input: 7, ..Usage::default() })]);
    database.transaction(batch.clone()).await.unwrap();
    assert!(database.transaction(batch).await.is_err());
    assert_eq!(total(&database, 0, HOUR_MS).await.input_tokens, 7);
}

#[tokio::test]
async fn rows_wait_while_the_database_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("later");
    let database = Database::new(&DatabaseUrl::Sqlite(inner.join("berry.db")));
    let ledger = Ledger::start(database.clone());
    for _ in 0..600 {
        let row = LedgerRow::example(5, "m", Usage { output: 1, ..Usage::default() });
        ledger.queue.try_send(Message::Row(Box::new(row))).unwrap();
    }
    sleep(Duration::from_millis(400)).await;
    assert_eq!(ledger.written(), 0);
    std::fs::create_dir(&inner).unwrap();
    let started = Instant::now();
    ledger.flush().await;
    assert!(started.elapsed() < Duration::from_secs(9));
    assert_eq!((ledger.written(), ledger.dropped(), ledger.queued()), (600, 0, 0));
    assert_eq!(total(&database, 0, HOUR_MS).await.output_tokens, 600);
}

#[test]
fn hashes_the_end_user_of_each_api() {
    let of = |body: &str| end_user(&Bytes::from(body.to_owned()));
    let hash = of(r#"{"user":"ann"}"#).unwrap();
    assert_eq!(hash.len(), 32);
    assert!(!hash.contains("ann"));
    assert_eq!(of(r#"{"metadata":{"user_id":"ann"}}"#).unwrap(), hash);
    assert_eq!(of(r#"{"safety_identifier":"ann","messages":[]}"#).unwrap(), hash);
    assert_eq!((of("{}"), of("no json")), (None, None));
}

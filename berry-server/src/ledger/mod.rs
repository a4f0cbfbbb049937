//! The ledger: one row for each finished request, and the sums of each hour.
//!
//! Requests hand their rows to a bounded queue and never wait. A task writes them in batches; while the database is away
//! they wait in the queue, and what no longer fits is dropped and counted. No text of a request or an answer is kept.

mod row;
#[cfg(test)]
mod tests;
mod usage;
mod writer;

use std::{
    any::Any,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use berry_tower::spend::{SpendObserver, SpendRecord};
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use self::row::LedgerRow;
pub(crate) use self::usage::{By, Sums, UsageQuery, UsageRow, sum};
use crate::{
    config::{self, build::Caller},
    database::Database,
};

/// How many rows wait to be written at most: more than a minute of a busy server.
const QUEUE: usize = 65_536;
/// How long a stop waits for the last rows.
const FLUSH: Duration = Duration::from_secs(10);

/// The caller of a request, and the end user that the request names.
#[derive(Debug)]
pub(crate) struct LedgerContext {
    caller: Arc<Caller>,
    end_user: Option<String>,
}

#[derive(Debug)]
enum Message {
    Row(Box<LedgerRow>),
    /// Asks for an answer when all rows before it have been written.
    Flush(oneshot::Sender<()>),
}

/// Numbers about the ledger.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
    /// How many days single rows are kept.
    pub(super) retain_days: AtomicU32,
}

/// A handle to the ledger. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ledger {
    queue: mpsc::Sender<Message>,
    counts: Arc<Counts>,
    records_user: Arc<AtomicBool>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Starts the task that writes, which ends with the last handle.
    pub(crate) fn start(database: Database) -> Self {
        let (queue, rows) = mpsc::channel(QUEUE);
        let counts = Arc::new(Counts::default());
        tokio::spawn(writer::write(database, rows, counts.clone()));
        Self { queue, counts, records_user: Arc::default() }
    }

    /// Takes over the settings of a configuration.
    pub(crate) fn set(&self, settings: Option<&config::Database>) {
        let Some(settings) = settings else { return };
        self.counts.retain_days.store(settings.retain_days, Relaxed);
        self.records_user.store(settings.record_user, Relaxed);
    }

    /// Returns the context of a request, which its row is made from.
    pub(crate) fn context(&self, caller: Arc<Caller>, body: &Bytes) -> Arc<dyn Any + Send + Sync> {
        if !self.records_user.load(Relaxed) {
            return caller;
        }
        Arc::new(LedgerContext { caller, end_user: end_user(body) })
    }

    /// The number of rows that were written.
    #[cfg_attr(not(feature = "observability"), allow(dead_code, reason = "only metrics tell it"))]
    pub(crate) fn written(&self) -> u64 {
        self.counts.written.load(Relaxed)
    }

    /// The number of rows that were lost, since the queue was full or the database rejected them.
    #[cfg_attr(not(feature = "observability"), allow(dead_code, reason = "only metrics tell it"))]
    pub(crate) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }

    /// The number of rows that wait.
    pub(crate) fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Writes what waits, if the database answers in time.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        let flush = async {
            if self.queue.send(Message::Flush(done)).await.is_ok() {
                let _ = flushed.await;
            }
        };
        if timeout(FLUSH, flush).await.is_err() {
            let lost = self.queued();
            tracing::error!(lost, "the database did not take the last rows of the ledger in time");
        }
    }
}

impl SpendObserver for Ledger {
    fn settled(&self, record: &SpendRecord<'_>) {
        let row = Box::new(LedgerRow::of(record));
        if self.queue.try_send(Message::Row(row)).is_err() && self.counts.dropped.fetch_add(1, Relaxed) == 0 {
            tracing::error!("the queue of the ledger is full; rows are lost, see berry_ledger_rows_total");
        }
    }
}

/// Returns a hash of the end user that a request names in `user`, `safety_identifier` or `metadata.user_id`.
fn end_user(body: &Bytes) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata {
        user_id: Option<String>,
    }
    #[derive(Deserialize)]
    struct Named {
        user: Option<String>,
        safety_identifier: Option<String>,
        metadata: Option<Metadata>,
    }
    let named: Named = serde_json::from_slice(body).ok()?;
    let user = named.metadata.and_then(|metadata| metadata.user_id).or(named.safety_identifier).or(named.user)?;
    let digest = Sha256::digest(user);
    Some(digest[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

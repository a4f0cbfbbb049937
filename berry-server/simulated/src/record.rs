//! The record of requests: when each arrived and how it ended.

use super::link::Link;
use bytes::Bytes;
use http::{HeaderMap, Method, request::Parts};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

/// How much of each request a provider records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Only the numbers, for demos and load tests.
    Counts,
    /// The newest requests with their bodies, within both bounds.
    Requests {
        /// The most recorded requests.
        count: usize,
        /// The most bytes of all recorded bodies together.
        bytes: usize,
    },
}

impl Default for Retention {
    fn default() -> Self {
        Self::Requests { count: 4096, bytes: 64 << 20 }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The whole response was handed to the connection.
    Complete,
    /// A fault closed the connection.
    Cut,
    /// A fault reset the connection.
    Reset,
    /// The client left first.
    PeerClosed,
    /// The provider was taken down or stopped.
    Stopped,
}

/// How a request ended, and when.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// How it ended.
    pub how: End,
    /// When it ended.
    pub at: Instant,
    /// The status of the response; `None` if there was no head.
    pub status: Option<u16>,
}

/// A recorded request. Its `Debug` omits the headers and the body, which may hold a key.
#[derive(Clone)]
pub struct RecordedRequest {
    /// The number of the request, from 0.
    pub number: u64,
    /// The number of its connection, from 0.
    pub connection: u64,
    /// The time at which its head had arrived.
    pub at: Instant,
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query, if there is one.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; empty until it has arrived whole, and if it exceeds the bound.
    pub body: Bytes,
    /// The end; `None` while the request is in progress.
    pub ended: Option<Ended>,
}

impl RecordedRequest {
    /// Returns the body as JSON; null if it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns a header's text; empty if it is missing or not text.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default()
    }

    /// Returns how the request ended; `None` while it is in progress.
    pub fn end(&self) -> Option<End> {
        self.ended.map(|ended| ended.how)
    }
}

impl fmt::Debug for RecordedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedRequest")
            .field("number", &self.number)
            .field("connection", &self.connection)
            .field("at", &self.at)
            .field("request", &format_args!("{} {}", self.method, self.path))
            .field("body_bytes", &self.body.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// The numbers of requests and connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests whose head has arrived.
    pub requests: u64,
    /// Model requests (`POST`) that have arrived whole.
    pub calls: u64,
    /// Requests in progress.
    pub in_flight: u64,
    /// Accepted connections.
    pub connections: u64,
    /// Open connections.
    pub open_connections: u64,
}

#[derive(Debug, Default)]
struct Log {
    counts: Counts,
    kept: VecDeque<RecordedRequest>,
    bytes: usize,
}

impl Log {
    fn entry(&mut self, number: u64) -> Option<&mut RecordedRequest> {
        let first = self.kept.front()?.number;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.kept.get_mut(index)
    }

    fn shrink(&mut self, count: usize, bytes: usize) {
        while self.kept.len() > count || self.bytes > bytes {
            let Some(oldest) = self.kept.pop_front() else {
                return;
            };
            self.bytes -= oldest.body.len();
        }
    }
}

/// The record of requests, in a `watch` channel: requests get short exclusive access, and tests can wait
/// for changes.
#[derive(Debug)]
pub(super) struct Record {
    log: watch::Sender<Log>,
    keep: Retention,
}

impl Record {
    pub(super) fn new(keep: Retention) -> Self {
        Self { log: watch::Sender::new(Log::default()), keep }
    }

    /// Changes the log and wakes waiting tests, of which there are none under load.
    fn change<T>(&self, change: impl FnOnce(&mut Log) -> T) -> Option<T> {
        let mut out = None;
        self.log.send_if_modified(|log| {
            out = Some(change(log));
            self.log.receiver_count() > 0
        });
        out
    }

    pub(super) fn connected(&self) -> u64 {
        let number = self.change(|log| {
            log.counts.connections += 1;
            log.counts.open_connections += 1;
            log.counts.connections - 1
        });
        number.unwrap_or_default()
    }

    pub(super) fn disconnected(&self) {
        self.change(|log| log.counts.open_connections -= 1);
    }

    pub(super) fn counts(&self) -> Counts {
        self.log.borrow().counts
    }

    pub(super) fn seen(&self) -> Vec<RecordedRequest> {
        self.log.borrow().kept.iter().cloned().collect()
    }

    pub(super) fn clear(&self) {
        self.change(|log| {
            log.kept.clear();
            log.bytes = 0;
        });
    }

    pub(super) async fn wait_until(&self, mut is: impl FnMut(&Counts) -> bool) {
        // Waiting cannot fail, because `self` owns the sender.
        let _ = self.log.subscribe().wait_for(|log| is(&log.counts)).await;
    }
}

/// The record of a request in progress. Dropping it without an end means that the client disconnected.
#[derive(Debug)]
pub(super) struct Entry {
    record: Arc<Record>,
    link: Arc<Link>,
    number: u64,
    status: Option<u16>,
    ended: bool,
}

impl Entry {
    pub(super) fn begin(record: &Arc<Record>, link: &Arc<Link>, head: &Parts) -> Self {
        let number = record.change(|log| {
            let number = log.counts.requests;
            log.counts.requests += 1;
            log.counts.in_flight += 1;
            if let Retention::Requests { count, bytes } = record.keep {
                log.kept.push_back(RecordedRequest {
                    number,
                    connection: link.number,
                    at: Instant::now(),
                    method: head.method.clone(),
                    path: head.uri.path().to_owned(),
                    query: head.uri.query().map(str::to_owned),
                    headers: head.headers.clone(),
                    body: Bytes::new(),
                    ended: None,
                });
                log.shrink(count, bytes);
            }
            number
        });
        Self {
            record: Arc::clone(record),
            link: Arc::clone(link),
            number: number.unwrap_or_default(),
            status: None,
            ended: false,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Records that the request has arrived completely.
    pub(super) fn arrived(&self, is_call: bool, body: &Bytes) {
        self.record.change(|log| {
            log.counts.calls += u64::from(is_call);
            if let Retention::Requests { count, bytes } = self.record.keep
                && body.len() <= bytes
                && let Some(seen) = log.entry(self.number)
            {
                seen.body = body.clone();
                log.bytes += body.len();
                log.shrink(count, bytes);
            }
        });
    }

    pub(super) fn status(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// Records the end. Only the first call has an effect.
    pub(super) fn end(&mut self, how: End) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let status = self.status;
        self.record.change(|log| {
            log.counts.in_flight -= 1;
            if let Some(seen) = log.entry(self.number) {
                let at = Instant::now();
                seen.ended = Some(Ended { how, at, status });
            }
        });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let stopped = self.link.is_stopped();
        self.end(if stopped { End::Stopped } else { End::PeerClosed });
    }
}

//! The task that encodes what is queued, and sends it to the collector.

use std::{sync::Arc, time::Duration};

use berry_tower::body::Buffered;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tower_service::Service;

use super::{FinishedRequest, Item, clock::Clock, exemplars::Exemplars, metrics, spans};
use crate::{observability::metrics::Metrics, state::Snapshot};

/// The longest time for which a finished request waits to be sent.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most requests in one export, whose spans are a megabyte or so.
const MAX_BATCH: usize = 512;
/// How long one export may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses before an export is tried again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// The most bytes that are read of the collector's response.
const MAX_RESPONSE: usize = 64 * 1024;
/// The time between two log lines about failed exports.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Sends what one configuration exports.
#[derive(Debug)]
pub(super) struct Exporter {
    endpoint: String,
    snapshot: Arc<Snapshot>,
    metrics: Arc<Metrics>,
    instance: Arc<str>,
    exemplars: Exemplars,
    last_logged: Option<Instant>,
}

impl Exporter {
    pub(super) fn new(endpoint: &str, snapshot: Arc<Snapshot>, metrics: Arc<Metrics>, instance: Arc<str>) -> Self {
        let exemplars = Exemplars::default();
        Self { endpoint: endpoint.to_owned(), snapshot, metrics, instance, exemplars, last_logged: None }
    }

    /// Exports until the senders of the queue are dropped.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Item>, urgent: Arc<Notify>) {
        let every = Duration::from_secs(self.snapshot.config.telemetry.metrics_interval_seconds);
        let mut metrics_due = (!every.is_zero()).then(|| Instant::now() + every);
        while !(queue.is_closed() && queue.is_empty()) {
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = urgent.notified() => {}
            }
            let flushed = self.export_requests(&mut queue).await;
            let is_due = metrics_due.is_some_and(|due| due <= Instant::now());
            if metrics_due.is_some() && (is_due || queue.is_closed() || !flushed.is_empty()) {
                self.export_metrics().await;
                metrics_due = Some(Instant::now() + every);
            }
            for waiting in flushed {
                let _ = waiting.send(());
            }
        }
    }

    /// Sends all requests that are queued. Returns those who wait until that is done.
    async fn export_requests(&mut self, queue: &mut mpsc::Receiver<Item>) -> Vec<oneshot::Sender<()>> {
        let (mut batch, mut flushed) = (Vec::new(), Vec::new());
        while let Ok(item) = queue.try_recv() {
            match item {
                Item::Finished(request) => batch.push(request),
                Item::Flush(done) => flushed.push(done),
            }
            if batch.len() == MAX_BATCH {
                self.export_batch(&batch).await;
                batch.clear();
            }
        }
        if !batch.is_empty() {
            self.export_batch(&batch).await;
        }
        flushed
    }

    async fn export_batch(&mut self, batch: &[Box<FinishedRequest>]) {
        let telemetry = &self.snapshot.config.telemetry;
        let requests = batch.iter().map(|request| &**request);
        let clock = Clock::now();
        let body = spans::encode(requests, telemetry, &self.instance, &clock);
        if self.send("/v1/traces", body).await {
            batch.iter().for_each(|request| self.exemplars.add(request, &clock));
        } else {
            self.metrics.telemetry_dropped("traces", batch.len() as u64);
        }
    }

    async fn export_metrics(&mut self) {
        let scrape = self.metrics.scrape(&self.snapshot);
        let clock = Clock::now();
        let start = clock.nanos(self.snapshot.process.started);
        let period = metrics::Period { start, now: clock.nanos(Instant::now()) };
        let exemplars = std::mem::take(&mut self.exemplars);
        let body = metrics::encode(&scrape, &self.snapshot.config.telemetry, &self.instance, period, &exemplars);
        if !self.send("/v1/metrics", body).await {
            let series = scrape.metrics().map(|(_, series)| series.len() as u64).sum();
            self.metrics.telemetry_dropped("metrics", series);
        }
    }

    /// Sends a message, again after an error that may pass. Returns whether the collector has taken it.
    async fn send(&mut self, path: &str, body: Vec<u8>) -> bool {
        let body = Buffered::from(body);
        let mut pauses = PAUSES.iter();
        let error = loop {
            let error = match timeout(TIMEOUT, self.try_send(path, body.clone())).await {
                Ok(Ok(status)) if status.is_success() => return true,
                Ok(Ok(status)) if !is_passing(status) => break format!("status {status}"),
                Ok(Ok(status)) => format!("status {status}"),
                Ok(Err(error)) => error,
                Err(_) => "no answer in time".to_owned(),
            };
            match pauses.next() {
                Some(pause) => sleep(*pause).await,
                None => break error,
            }
        };
        let now = Instant::now();
        if self.last_logged.is_none_or(|last| now - last >= LOG_INTERVAL) {
            self.last_logged = Some(now);
            tracing::warn!(error, path, "telemetry was not exported; see telemetry.otlp_endpoint");
        }
        false
    }

    async fn try_send(&self, path: &str, body: Buffered) -> Result<StatusCode, String> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() =
            Uri::try_from(format!("{}{path}", self.endpoint)).map_err(|_| "the endpoint is no URL".to_owned())?;
        *request.headers_mut() = self.snapshot.config.telemetry.otlp_headers.clone();
        request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-protobuf"));
        let response = self.snapshot.process.transport().call(request).await;
        // The error may quote the address, but not the headers.
        let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
        // Read to its end, so that the connection can be used again.
        let _ = Limited::new(body, MAX_RESPONSE).collect().await;
        Ok(head.status)
    }
}

/// Whether OTLP allows to send the same message again after this status.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

//! Export of traces and metrics by OTLP over HTTP, for `[telemetry]`.
//!
//! A request's trace begins with its [`AccessRecord`](crate::http::access_log) and collects its attempts while it runs.
//! When the response has ended, the facts are queued; a task of its own encodes and sends them. A full queue drops
//! requests and counts them. No prompt and no answer is exported.

mod attributes;
mod clock;
mod conventions;
mod exemplars;
mod exporter;
mod metrics;
mod protobuf;
mod request_trace;
mod resource;
mod spans;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderMap;
use tokio::sync::{Notify, mpsc, oneshot};
use uuid::Uuid;

pub(crate) use request_trace::RequestTrace;
pub(crate) use spans::FinishedRequest;

use super::{metrics::Metrics, outcome::RequestOutcome};
use crate::{config::Telemetry, state::Snapshot};
use exporter::Exporter;

/// The most finished requests that wait to be sent.
const MAX_QUEUED: usize = 8192;

/// The export of one server, over all its configurations.
#[derive(Debug)]
pub(crate) struct Otlp {
    /// The queue of the configuration in force, if it exports.
    queue: ArcSwapOption<Queue>,
    /// The resource's `service.instance.id`.
    instance: Arc<str>,
}

/// The queue of what is to be exported. When it is dropped, its task sends what is left and ends.
#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<Item>,
    /// Wakes the task before its time.
    urgent: Arc<Notify>,
}

/// What is queued.
#[derive(Debug)]
enum Item {
    Finished(Box<FinishedRequest>),
    /// Answered when everything before it was sent.
    Flush(oneshot::Sender<()>),
}

impl Default for Otlp {
    fn default() -> Self {
        Self { queue: ArcSwapOption::empty(), instance: Uuid::new_v4().to_string().into() }
    }
}

impl Otlp {
    /// Begins the trace of a request, if there is an endpoint to export to.
    pub(crate) fn start(telemetry: &Telemetry, headers: &HeaderMap) -> Option<RequestTrace> {
        telemetry.otlp_endpoint.as_ref()?;
        RequestTrace::start(headers, telemetry.sample_ratio)
    }

    /// Whether a request is exported: it is sampled, or it failed.
    pub(crate) fn wants(trace: &RequestTrace, outcome: RequestOutcome) -> bool {
        trace.context().is_sampled() || matches!(outcome, RequestOutcome::Failed | RequestOutcome::Interrupted)
    }

    /// Exports by this configuration from now on. What was queued before still goes where it was to go.
    pub(crate) fn export(&self, snapshot: &Arc<Snapshot>, metrics: &Arc<Metrics>) {
        let queue = snapshot.config.telemetry.otlp_endpoint.as_ref().map(|endpoint| {
            let (sender, receiver) = mpsc::channel(MAX_QUEUED);
            let urgent = Arc::new(Notify::new());
            let exporter = Exporter::new(endpoint, snapshot.clone(), metrics.clone(), self.instance.clone());
            tokio::spawn(exporter.run(receiver, urgent.clone()));
            Arc::new(Queue { sender, urgent })
        });
        self.queue.store(queue);
    }

    /// Queues a request. Returns whether there was room.
    pub(crate) fn push(&self, request: Box<FinishedRequest>) -> bool {
        let queue = self.queue.load();
        let Some(queue) = &*queue else { return true };
        let is_queued = queue.sender.try_send(Item::Finished(request)).is_ok();
        // Usually the task comes by itself, and no request pays for waking it.
        if queue.sender.capacity() == MAX_QUEUED / 2 {
            queue.urgent.notify_one();
        }
        is_queued
    }

    /// Waits until everything that is queued was sent.
    pub(crate) async fn flush(&self) {
        let Some(queue) = self.queue.load_full() else { return };
        let (done, flushed) = oneshot::channel();
        if queue.sender.send(Item::Flush(done)).await.is_ok() {
            queue.urgent.notify_one();
            let _ = flushed.await;
        }
    }
}

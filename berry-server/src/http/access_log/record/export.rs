//! Hands a finished request to the export of traces.

use std::sync::Arc;

use berry_tower::{attempt::ServedBy, progress::Progress, select::RoutedModel};
use tokio::time::Instant;

use super::AccessRecord;
use crate::observability::{
    otlp::{FinishedRequest, Otlp},
    outcome::RequestOutcome,
};

impl AccessRecord {
    /// Queues the request's spans, if it is sampled or has failed.
    pub(super) fn export_trace(&mut self, outcome: RequestOutcome, requested_model: Option<&Arc<str>>, ended: Instant) {
        let Some(trace) = self.trace.take().filter(|trace| Otlp::wants(trace, outcome)) else { return };
        let progress = self.progress.as_ref();
        let request = Box::new(FinishedRequest {
            trace,
            id: self.id.clone(),
            method: self.method.clone(),
            path: self.path.clone(),
            is_model_request: self.is_model_request,
            is_stream: progress.is_some_and(Progress::is_stream),
            started: self.started,
            ended,
            first_output: progress.and_then(Progress::first_output),
            status: self.status,
            outcome,
            caller: self.identity.caller().cloned(),
            requested_model: requested_model.cloned(),
            served_model: self.served_model.as_ref().map(RoutedModel::model).cloned(),
            served_by: self.served_by.as_ref().map(|ServedBy(backend)| backend.clone()),
            attempts: self.attempts,
            usage: progress.and_then(Progress::usage),
            dropped: self.dropped.clone(),
        });
        if !self.observability.otlp.push(request) {
            self.observability.metrics.telemetry_dropped("traces", 1);
        }
    }
}

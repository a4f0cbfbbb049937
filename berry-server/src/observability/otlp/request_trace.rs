//! The trace of one request: its place in the trace of the client, and the attempts that it made.

use std::{
    iter::successors,
    sync::{Arc, OnceLock},
    time::Duration,
};

use berry_tower::{
    backend::Backend,
    breaker::State,
    classify::Class,
    observe::{AttemptEnd, AttemptObserver, RequestObserver},
    progress::Usage,
    trace_context::TraceContext,
};
use http::{Extensions, HeaderMap, HeaderName, StatusCode};
use tokio::time::Instant;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace of one request. Cheap to clone; clones share the attempts.
#[derive(Clone, Debug)]
pub(crate) struct RequestTrace {
    context: TraceContext,
    /// The client's span.
    parent: Option<u64>,
    attempts: Arc<Attempts>,
}

impl RequestTrace {
    /// Continues the client's trace, or begins one of which `sample_ratio` is the share to export.
    pub(super) fn start(headers: &HeaderMap, sample_ratio: f64) -> Option<Self> {
        let client = headers.get(TRACEPARENT).and_then(TraceContext::parse);
        let span_id = rand::random();
        let context = match client {
            Some(client) => client.child(span_id),
            None => {
                let trace_id = rand::random();
                TraceContext::new(trace_id, span_id, is_sampled(trace_id, sample_ratio))
            }
        };
        Some(Self { context: context?, parent: client.map(TraceContext::span_id), attempts: Arc::default() })
    }

    /// Lets the layers behind know the trace, and tell of attempts.
    pub(crate) fn insert_into(&self, extensions: &mut Extensions) {
        extensions.insert(self.context);
        extensions.insert(RequestObserver(self.attempts.clone()));
    }

    pub(crate) const fn context(&self) -> TraceContext {
        self.context
    }

    pub(super) const fn parent(&self) -> Option<u64> {
        self.parent
    }

    /// Returns the attempts in the order of their ends.
    pub(super) fn attempts(&self) -> impl Iterator<Item = &AttemptRecord> {
        successors(self.attempts.0.get(), |node| node.next.0.get().map(|node| &**node)).map(|node| &node.record)
    }
}

/// Decides by the id, so that all services on a trace decide alike: the same rule as OpenTelemetry's ratio sampler.
fn is_sampled(trace_id: u128, ratio: f64) -> bool {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the lower half of the id, and a bound that saturates"
    )]
    let (low, bound) = ((trace_id as u64) >> 1, (ratio * (1_u64 << 63) as f64) as u64);
    ratio >= 1.0 || low < bound
}

/// The ended attempts of a request: a list that is only appended to. The first one needs no allocation of its own.
#[derive(Debug, Default)]
struct Attempts(OnceLock<Node>);

#[derive(Debug)]
struct Node {
    record: AttemptRecord,
    next: Next,
}

#[derive(Debug, Default)]
struct Next(OnceLock<Box<Node>>);

/// An attempt that has ended.
#[derive(Debug)]
pub(super) struct AttemptRecord {
    pub(super) number: u32,
    pub(super) backend: Arc<Backend>,
    /// The public name of the model that it was for.
    pub(super) model: Arc<str>,
    pub(super) class: Class,
    pub(super) status: Option<StatusCode>,
    pub(super) ended: Instant,
    pub(super) elapsed: Duration,
    pub(super) first_token_after: Option<Duration>,
    pub(super) usage: Option<Usage>,
    pub(super) reason: Option<Box<str>>,
    pub(super) previous: Option<Class>,
    pub(super) resumes: bool,
    pub(super) breaker: Option<State>,
}

impl AttemptObserver for Attempts {
    fn attempt_ended(&self, attempt: &AttemptEnd<'_>) {
        let record = AttemptRecord {
            number: attempt.number,
            backend: attempt.selected.clone(),
            model: attempt.model.clone(),
            class: attempt.class,
            status: attempt.status,
            ended: attempt.ended,
            elapsed: attempt.elapsed,
            first_token_after: attempt.first_token_after,
            usage: attempt.usage,
            reason: attempt.reason.map(Box::from),
            previous: attempt.previous,
            resumes: attempt.resumes,
            breaker: attempt.breaker,
        };
        let Err(node) = self.0.set(Node { record, next: Next::default() }) else { return };
        let (mut end, mut node) = (self.0.get(), Box::new(node));
        while let Some(last) = end {
            match last.next.0.set(node) {
                Ok(()) => return,
                Err(back) => node = back,
            }
            end = last.next.0.get().map(|node| &**node);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn continues_the_trace_of_the_client() {
        let mut headers = HeaderMap::new();
        let value = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        headers.insert(TRACEPARENT, HeaderValue::from_static(value));
        let trace = RequestTrace::start(&headers, 1.0).unwrap();
        assert_eq!(trace.context().trace_id(), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(trace.parent(), Some(0xb7ad_6b71_6920_3331));
        assert!(!trace.context().is_sampled(), "the client has decided");
    }

    #[test]
    fn samples_a_share_of_new_traces() {
        let sampled = |ratio| {
            let traces = (0..2000).filter_map(|_| RequestTrace::start(&HeaderMap::new(), ratio));
            traces.filter(|trace| trace.context().is_sampled()).count()
        };
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 2000));
        assert!((350..650).contains(&sampled(0.25)), "{}", sampled(0.25));
    }
}

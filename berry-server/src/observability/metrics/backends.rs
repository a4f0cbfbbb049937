//! Metrics of attempts: times and tokens by backend.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use berry_tower::{
    backend::BackendId,
    classify::Class,
    observe::{AttemptEnd, BackendObserver, Observer},
};
use metrics::{Counter, Histogram, counter, histogram, with_local_recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::names::{FIRST_TOKEN, LATENCY, OTHER, RETRIES, TOKENS};

/// The most backends with labels of their own. A configuration has far fewer, but each reload may bring others, and a
/// series stays until the process ends.
const MAX_LABELLED: usize = 10_000;

/// Hands out the handles of each backend.
pub(super) struct Backends {
    recorder: Arc<PrometheusRecorder>,
    /// The number of backends with labels of their own.
    labelled: AtomicUsize,
}

impl std::fmt::Debug for Backends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backends")
    }
}

impl Backends {
    pub(super) fn new(recorder: Arc<PrometheusRecorder>) -> Self {
        Self { recorder, labelled: AtomicUsize::new(0) }
    }

    /// Returns a backend's own labels, or `other` beyond the bound. A backend that returns after a reload counts again,
    /// because remembering it would need unbounded memory.
    fn labels(&self, id: &BackendId) -> [(&'static str, String); 2] {
        let room = self.labelled.fetch_update(Relaxed, Relaxed, |n| (n < MAX_LABELLED).then_some(n + 1)).is_ok();
        let label = |text: &str| if room { text } else { OTHER }.to_owned();
        [("provider", label(&id.provider)), ("model", label(&id.model))]
    }
}

impl Observer for Backends {
    fn backend(&self, id: &BackendId) -> Arc<dyn BackendObserver> {
        let labels = self.labels(id);
        let tokens = |kind: &'static str| {
            let [provider, model] = labels.clone();
            counter!(TOKENS, &[provider, model, ("kind", kind.to_owned())])
        };
        with_local_recorder(&*self.recorder, || {
            Arc::new(Backend {
                recorder: self.recorder.clone(),
                latency: histogram!(LATENCY, &labels),
                first_token: histogram!(FIRST_TOKEN, &labels),
                tokens: ["input", "output", "cached"].map(tokens),
            })
        })
    }
}

/// The handles of one backend.
struct Backend {
    recorder: Arc<PrometheusRecorder>,
    latency: Histogram,
    first_token: Histogram,
    tokens: [Counter; 3],
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

impl BackendObserver for Backend {
    fn attempt_ended(&self, attempt: &AttemptEnd<'_>) {
        if let Some(time) = attempt.head_after {
            self.latency.record(time);
        }
        if let Some(time) = attempt.first_token_after {
            self.first_token.record(time);
        }
        if let Some(usage) = attempt.usage {
            for (counter, n) in self.tokens.iter().zip([usage.input, usage.output, usage.cached]) {
                counter.increment(n);
            }
        }
    }

    fn retried(&self, model: &Arc<str>, reason: Class) {
        // Rare enough for a look-up; the model is not the backend's own.
        let model = model.clone();
        with_local_recorder(&*self.recorder, || {
            counter!(RETRIES, "model" => model, "reason" => reason.name()).increment(1);
        });
    }
}

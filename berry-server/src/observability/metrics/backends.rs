//! Metrics of attempts: times, speed and tokens by backend.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use berry_tower::{
    backend::BackendId,
    classify::Class,
    observe::{AttemptEnd, BackendObserver, Observer},
};

use super::{
    histogram::{Bounds, Histogram},
    labelled::LabelledCounters,
    names::{Metric, OTHER},
    scrape::Scrape,
    sharded::Sharded,
};

/// The most backends with labels of their own. A configuration has far fewer, but each reload may bring others, and a
/// series stays until the process ends.
const MAX_LABELLED: usize = 10_000;
const TOKEN_KINDS: [&str; 3] = ["input", "output", "cached"];

/// The metrics of all backends.
#[derive(Debug, Default)]
pub(super) struct Backends {
    known: ArcSwap<Vec<Arc<Backend>>>,
    /// By the model's public name and the class of the failure before.
    retries: Arc<LabelledCounters<2>>,
}

/// The metrics of one backend.
#[derive(Debug)]
struct Backend {
    id: BackendId,
    attempts: Sharded<Attempts>,
    retries: Arc<LabelledCounters<2>>,
}

/// The attempts of one backend that have ended.
#[derive(Debug, Default)]
struct Attempts {
    latency: Histogram,
    first_token: Histogram,
    per_output_token: Histogram,
    tokens_per_second: Histogram,
    tokens: [AtomicU64; TOKEN_KINDS.len()],
}

/// Hands out the metrics of each backend.
#[derive(Debug)]
pub(super) struct BackendMetrics(pub(super) Arc<Backends>);

impl Observer for BackendMetrics {
    /// Returns the metrics of a backend. One that returns after a reload counts on; beyond the bound, new ones count
    /// together as `other`.
    fn backend(&self, id: &BackendId) -> Arc<dyn BackendObserver> {
        let backends = &*self.0;
        let find = |known: &[Arc<Backend>], id: &BackendId| known.iter().find(|backend| backend.id == *id).cloned();
        let known = backends.known.load();
        if let Some(backend) = find(&known, id) {
            return backend;
        }
        let other = || BackendId { provider: OTHER.into(), model: OTHER.into() };
        let id = if known.len() < MAX_LABELLED { id.clone() } else { other() };
        let new = Arc::new(Backend { id, attempts: Sharded::default(), retries: backends.retries.clone() });
        backends.known.rcu(|known| {
            let mut known = Vec::clone(known);
            if find(&known, &new.id).is_none() {
                known.push(new.clone());
            }
            known
        });
        find(&backends.known.load(), &new.id).unwrap_or(new)
    }
}

impl Backends {
    pub(super) fn read(&self, scrape: &mut Scrape) {
        let known = self.known.load();
        for Backend { id, attempts, .. } in known.iter().map(|backend| &**backend) {
            let labels = || vec![("provider", id.provider.to_string()), ("model", id.model.to_string())];
            scrape.histogram(Metric::Latency, labels(), attempts.iter().map(|shard| &shard.latency));
            scrape.histogram(Metric::FirstToken, labels(), attempts.iter().map(|shard| &shard.first_token));
            scrape.histogram(Metric::PerOutputToken, labels(), attempts.iter().map(|shard| &shard.per_output_token));
            scrape.histogram(Metric::TokensPerSecond, labels(), attempts.iter().map(|shard| &shard.tokens_per_second));
            for (kind, name) in TOKEN_KINDS.into_iter().enumerate() {
                let mut labels = labels();
                labels.push(("kind", name.to_owned()));
                let tokens = attempts.iter().map(|shard| shard.tokens[kind].load(Relaxed)).sum();
                scrape.count(Metric::Tokens, labels, tokens);
            }
        }
        for ([model, reason], count) in self.retries.read() {
            let labels = vec![("model", model.to_string()), ("reason", reason.to_string())];
            scrape.count(Metric::Retries, labels, count);
        }
    }
}

impl BackendObserver for Backend {
    fn attempt_ended(&self, attempt: &AttemptEnd<'_>) {
        let counts = self.attempts.local();
        if let Some(time) = attempt.head_after {
            counts.latency.record(&Bounds::SECONDS, time);
        }
        if let Some(time) = attempt.first_token_after {
            counts.first_token.record(&Bounds::SECONDS, time);
        }
        let Some(usage) = attempt.usage else { return };
        for (counter, n) in counts.tokens.iter().zip([usage.input, usage.output, usage.cached]) {
            counter.fetch_add(n, Relaxed);
        }
        if attempt.class == Class::Success && usage.output > 0 {
            if let Some(time) = time_per_output_token(attempt.elapsed, attempt.first_token_after, usage.output) {
                counts.per_output_token.record(&Bounds::PER_TOKEN, time);
            }
            let seconds = attempt.elapsed.as_secs_f64().max(1e-6);
            counts.tokens_per_second.record_value(&Bounds::TOKENS_PER_SECOND, usage.output as f64 / seconds);
        }
    }

    fn retried(&self, model: &Arc<str>, reason: Class) {
        self.retries.add([model.clone(), reason.name().into()], 1);
    }
}

/// Returns the mean time between two output tokens of a stream.
fn time_per_output_token(elapsed: Duration, first_after: Option<Duration>, tokens: u64) -> Option<Duration> {
    let intervals = u32::try_from(tokens.checked_sub(1)?).ok()?;
    elapsed.checked_sub(first_after?)?.checked_div(intervals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_the_time_after_the_first_token() {
        let (elapsed, first) = (Duration::from_millis(1100), Some(Duration::from_millis(100)));
        assert_eq!(time_per_output_token(elapsed, first, 11), Some(Duration::from_millis(100)));
        assert_eq!(time_per_output_token(elapsed, first, 1), None, "one token has no interval");
        assert_eq!(time_per_output_token(elapsed, first, 0), None);
        assert_eq!(time_per_output_token(elapsed, None, 11), None, "not a stream");
    }

    #[test]
    fn backend_that_returns_counts_on() {
        let backends = Arc::new(Backends::default());
        let observer = BackendMetrics(backends.clone());
        let id = |model: &str| BackendId { provider: "p".into(), model: model.into() };
        observer.backend(&id("a"));
        observer.backend(&id("b"));
        observer.backend(&id("a"));
        assert_eq!(backends.known.load().len(), 2);
    }
}

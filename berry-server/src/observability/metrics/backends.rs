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

use tokio::time::Instant;

use super::{
    super::history::EpochCounter,
    histogram::{Bounds, Histogram},
    labelled::LabelledCounters,
    names::{Metric, OTHER},
    scrape::Scrape,
    sharded::Sharded,
};

/// The most backends with labels of their own. A configuration has far fewer, but each reload may bring others, and a
/// series stays until the process ends.
const MAX_LABELLED: usize = 10_000;
/// The slots of recent tokens: a minute, and the one that is being filled.
const RECENT_SLOTS: usize = 13;
const RECENT_SLOT: Duration = Duration::from_secs(5);
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
    /// The start of the first slot of recent tokens.
    epoch: Instant,
    attempts: Sharded<Attempts>,
    retries: Arc<LabelledCounters<2>>,
}

/// The attempts of one backend that have ended.
#[derive(Debug, Default)]
struct Attempts {
    latency: Histogram,
    duration: Histogram,
    first_token: Histogram,
    per_output_token: Histogram,
    /// Output tokens of the last minute.
    recent_output: [EpochCounter; RECENT_SLOTS],
    tokens: [AtomicU64; TOKEN_KINDS.len()],
    /// The tokens of single attempts: input and output.
    request_tokens: [Histogram; 2],
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
        let new = Arc::new(Backend {
            id,
            epoch: Instant::now(),
            attempts: Sharded::default(),
            retries: backends.retries.clone(),
        });
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
        let (known, now) = (self.known.load(), Instant::now());
        for Backend { id, epoch, attempts, .. } in known.iter().map(|backend| &**backend) {
            let labels = || vec![("provider", id.provider.to_string()), ("model", id.model.to_string())];
            scrape.histogram(Metric::Latency, labels(), attempts.iter().map(|shard| &shard.latency));
            scrape.histogram(Metric::AttemptDuration, labels(), attempts.iter().map(|shard| &shard.duration));
            scrape.histogram(Metric::FirstToken, labels(), attempts.iter().map(|shard| &shard.first_token));
            scrape.histogram(Metric::PerOutputToken, labels(), attempts.iter().map(|shard| &shard.per_output_token));
            let per_second = tokens_per_second(attempts, slot(*epoch, now));
            scrape.gauge(Metric::TokensPerSecond, labels(), per_second);
            for (kind, name) in TOKEN_KINDS.into_iter().enumerate() {
                let mut labels = labels();
                labels.push(("kind", name.to_owned()));
                let tokens = attempts.iter().map(|shard| shard.tokens[kind].load(Relaxed)).sum();
                if let Some(of_requests) =
                    attempts.iter().map(|shard| shard.request_tokens.get(kind)).collect::<Option<Vec<_>>>()
                {
                    scrape.histogram(Metric::TokenUsage, labels.clone(), of_requests.into_iter());
                }
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
        counts.duration.record(&Bounds::SECONDS, attempt.elapsed);
        let Some(usage) = attempt.usage else { return };
        for (histogram, n) in counts.request_tokens.iter().zip([usage.input, usage.output]) {
            histogram.record_value(&Bounds::TOKENS, n as f64);
        }
        for (counter, n) in counts.tokens.iter().zip([usage.input, usage.output, usage.cached]) {
            counter.fetch_add(n, Relaxed);
        }
        let tick = slot(self.epoch, attempt.ended);
        let output = u32::try_from(usage.output).unwrap_or(u32::MAX);
        counts.recent_output[tick as usize % RECENT_SLOTS].add(tick, output);
        if attempt.class == Class::Success
            && let Some(time) = time_per_output_token(attempt.elapsed, attempt.first_token_after, usage.output)
        {
            counts.per_output_token.record(&Bounds::PER_TOKEN, time);
        }
    }

    fn retried(&self, model: &Arc<str>, reason: Class) {
        self.retries.add([model.clone(), reason.name().into()], 1);
    }
}

/// Returns the number of the slot of recent tokens at a time, from 1.
fn slot(epoch: Instant, at: Instant) -> u32 {
    let slots = at.saturating_duration_since(epoch).as_secs() / RECENT_SLOT.as_secs();
    u32::try_from(slots).unwrap_or(u32::MAX - 1) + 1
}

/// Returns the rate over the whole slots before `tick`.
fn tokens_per_second(attempts: &Sharded<Attempts>, tick: u32) -> f64 {
    let last = RECENT_SLOTS as u32 - 1;
    let ticks = tick.saturating_sub(last)..tick;
    let of_tick = |shard: &Attempts, tick: u32| u64::from(shard.recent_output[tick as usize % RECENT_SLOTS].get(tick));
    let tokens: u64 = attempts.iter().flat_map(|shard| ticks.clone().map(move |tick| of_tick(shard, tick))).sum();
    tokens as f64 / (RECENT_SLOT * last).as_secs_f64()
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

    #[tokio::test(start_paused = true)]
    async fn rate_is_that_of_the_last_minute() {
        let attempts = Sharded::<Attempts>::default();
        let epoch = Instant::now();
        let now = slot(epoch, epoch + Duration::from_secs(7));
        attempts.local().recent_output[now as usize % RECENT_SLOTS].add(now, 600);
        let rate = |seconds| tokens_per_second(&attempts, slot(epoch, epoch + Duration::from_secs(seconds)));
        assert_eq!((rate(8), rate(12), rate(69), rate(70)), (0.0, 10.0, 10.0, 0.0));
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

//! Chaos: four backends behind the layers of the standard stack, on a paused clock. Each backend
//! fails in random ways at random times, but never all of them at once.
//!
//! Every request succeeds or ends with an error, a truncated stream never looks complete, no response
//! mixes two answers, and retries stay within their budget.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as a test may")]

mod client;
mod upstream;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use berry_tower::{
    backend::{Backend, Catalog, Model, Provider, SmartAi, StreamRecovery, Timeouts, Tuning, strategy},
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    classify::ModelApiVerdict,
    client::BackendClient,
    commit::CommitLayer,
    early::EarlyLayer,
    resume::ResumeLayer,
    retry::{BackoffPolicy, Budget, RetryLayer},
    select::{SelectLayer, SelectedBreaker},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};
use tower::Layer;

use client::{Outcome, Verdict, ask};
use upstream::{BACKENDS, Upstream};

/// The number of requests and their mean distance: each run covers half an hour.
const REQUESTS: usize = 10_000;
const INTERVAL: Duration = Duration::from_millis(180);
const FLOOR_PER_SECOND: u32 = 1;

fn catalog() -> Catalog {
    let timeouts = Timeouts::default()
        .with_connect(Duration::from_secs(1))
        .with_stream_head(Duration::from_secs(3))
        .with_plain_head(Duration::from_secs(4))
        .with_first_token(Duration::from_secs(2))
        .with_idle(Duration::from_secs(3));
    let backend = |i: usize| {
        let provider = Provider::new(format!("b{i}"), &format!("http://b{i}/v1")).unwrap().with_timeouts(timeouts);
        Backend::new(Arc::new(provider), "sim").with_prefill(i % 2 == 1)
    };
    let model = |name: &str, recovery| {
        let strategy = strategy::by_name("weighted_failover", &SmartAi::default()).unwrap();
        Model::new(name, strategy, (0..BACKENDS).map(backend)).with_stream_recovery(recovery)
    };
    let models = [
        model("plain", StreamRecovery::Off),
        model("replay", StreamRecovery::Replay),
        model("prefill", StreamRecovery::Prefill),
    ];
    // The faults change every few seconds, so the breaker and the health check recover as quickly.
    let breaker = BreakerPolicy::new().with_open_for(Duration::from_secs(4));
    let recovery_interval = Duration::from_secs(4);
    let catalog = Catalog::new(models).unwrap();
    catalog.retune(&Tuning { breaker, recovery_interval, ..Tuning::default() });
    catalog
}

async fn chaos(seed: u64, commit_after: Option<Duration>) {
    let (upstream, catalog) = (Upstream::new(seed, REQUESTS), catalog());
    let breaker = CircuitBreakerLayer::new(BreakerPolicy::default()).find(SelectedBreaker).classify(ModelApiVerdict);
    let service = breaker.layer(BackendClient::new(upstream.clone()));
    let service = CommitLayer.layer(SelectLayer::new(catalog.clone()).layer(service));
    let budget = Arc::new(Budget::new(0.2, FLOOR_PER_SECOND));
    let retry = RetryLayer::new(BackoffPolicy::new())
        .classify(ModelApiVerdict)
        .budget(budget)
        .total_timeout(Some(Duration::from_secs(30)));
    let service = ResumeLayer.layer(retry.layer(service));
    let service = EarlyLayer::new(Some(Duration::from_secs(2))).commit_after(commit_after).layer(service);

    let (mut rng, mut running, began) = (StdRng::seed_from_u64(seed), Vec::new(), Instant::now());
    for number in 0..REQUESTS {
        sleep(INTERVAL.mul_f64(2.0 * rng.random::<f64>())).await;
        running.push(tokio::spawn(ask(service.clone(), number, rng.random())));
    }
    let mut outcomes = Vec::new();
    for task in running {
        outcomes.push(task.await.unwrap());
    }
    check(&upstream, &catalog, &outcomes, began.elapsed());
}

fn check(upstream: &Upstream, catalog: &Catalog, outcomes: &[Outcome], took: Duration) {
    let count = |is: fn(&Verdict) -> bool| outcomes.iter().filter(|outcome| is(&outcome.verdict)).count();
    let (complete, disconnected) =
        (count(|t| matches!(t, Verdict::Complete)), count(|t| matches!(t, Verdict::Disconnected)));
    let (truncated, rejected) = (count(|t| matches!(t, Verdict::Truncated)), count(|t| matches!(t, Verdict::Rejected)));
    let resumed = outcomes.iter().filter(|outcome| outcome.resumed).count();
    let (attempts, on_tried) = upstream.attempts();
    let summary = format!(
        "{complete} complete ({resumed} resumed), {truncated} truncated, {rejected} rejected, {disconnected} disconnected; {attempts} attempts, {on_tried} on tried backends"
    );

    assert_eq!(complete + disconnected + truncated + rejected, REQUESTS, "{summary}");
    assert!(complete > REQUESTS * 9 / 10, "one backend is always healthy: {summary}");
    assert!(resumed > 0 && truncated > 0, "the run covers cut streams: {summary}");
    let floor = took.as_secs_f64() * f64::from(FLOOR_PER_SECOND);
    assert!((on_tried as f64) <= 0.2 * REQUESTS as f64 + floor, "{summary}");
    assert!(attempts < 2 * REQUESTS, "{summary}");
    assert_eq!(upstream.open().load(Relaxed), 0, "every upstream response is dropped");
    for model in catalog.load().models() {
        for backend in model.backends() {
            assert_eq!(backend.state().view(Instant::now()).in_flight, 0, "{}", backend.id());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_succeeds_or_reports_its_error() {
    chaos(1, None).await;
}

#[tokio::test(start_paused = true)]
async fn every_request_succeeds_or_reports_its_error_after_early_commit() {
    chaos(2, Some(Duration::from_secs(1))).await;
}

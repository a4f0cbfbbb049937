//! Failures that only one caller sees do not count against a backend. Failures for all callers do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use berry_tower::{
    backend::{
        Backend, Catalog, Model, Provider, SmartAi, Stage, Tuning,
        strategy::{NAMES, by_name},
    },
    body::Buffered,
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    caller::CallerId,
    classify::ModelApiVerdict,
    error::{Deadline, Failure},
    inspect::Requested,
    retry::{BackoffPolicy, Budget, RetryLayer},
    select::{SelectLayer, Selected, SelectedBreaker},
};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

/// The response of a backend to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Good,
    Status(u16),
    Timeout,
    Lost,
    Unreachable,
}

const FAILURES: [Reply; 6] =
    [Reply::Status(500), Reply::Status(403), Reply::Status(404), Reply::Timeout, Reply::Lost, Reply::Status(503)];

fn respond(reply: Reply) -> Result<Response<Full<Bytes>>, BoxError> {
    let status = |status: u16| Ok(Response::builder().status(status).body(Full::from("{}")).unwrap());
    match reply {
        Reply::Good => status(200),
        Reply::Status(code) => status(code),
        Reply::Timeout => Err(Failure::Timeout(Deadline::Head).into()),
        Reply::Lost => Err(Failure::ConnectionLost("reset".into()).into()),
        Reply::Unreachable => Err(Failure::Connect("refused".into()).into()),
    }
}

struct TestPool {
    catalog: Catalog,
    calls: Arc<Vec<AtomicU32>>,
    select: SelectLayer,
}

impl TestPool {
    fn new(strategy: &str, backends: usize) -> Self {
        let backend = |i| {
            let provider = Arc::new(Provider::new(format!("p{i}"), "http://127.0.0.1:9").unwrap());
            Backend::new(provider, "m").with_priority(i as u8)
        };
        let strategy = by_name(strategy, &SmartAi::default()).unwrap();
        let model = Model::new("m", strategy, (0..backends).map(backend));
        // Unhealthy backends are due for a trial at once, so that only the breaker blocks requests.
        let tuning = Tuning { recovery_interval: Duration::ZERO, ..Tuning::default() };
        let catalog = Catalog::new([model]).unwrap();
        catalog.retune(&tuning);
        let select = SelectLayer::new(catalog.clone());
        Self { catalog, calls: Arc::new((0..backends).map(|_| AtomicU32::new(0)).collect()), select }
    }

    /// Sends a request of `caller`, to which each backend replies as given. Returns whether it succeeded.
    async fn ask(&self, caller: &str, replies: impl Fn(usize) -> Reply + Clone + Send + Sync + 'static) -> bool {
        let calls = self.calls.clone();
        let upstream = service_fn(move |request: Request<Buffered>| {
            let backend = &request.extensions().get::<Selected>().unwrap().backend();
            let at: usize = backend.id().provider[1..].parse().unwrap();
            calls[at].fetch_add(1, Relaxed);
            let reply = replies(at);
            async move {
                sleep(Duration::from_millis(20)).await;
                respond(reply)
            }
        });
        let service = ServiceBuilder::new()
            .layer(
                RetryLayer::new(BackoffPolicy::new())
                    .classify(ModelApiVerdict)
                    .budget(Arc::new(Budget::new(1.0, 1000))),
            )
            .layer(self.select.clone())
            .layer(CircuitBreakerLayer::new(BreakerPolicy::default()).find(SelectedBreaker).classify(ModelApiVerdict))
            .service(upstream);
        let body = Buffered::from(r#"{"model":"m"}"#);
        let requested = Requested::read(body.bytes()).unwrap().with_path("/v1/chat/completions");
        let request = Request::post("/v1/chat/completions").extension(requested).extension(CallerId::of(caller));
        match service.oneshot(request.body(body).unwrap()).await {
            Ok(response) => response.status() == 200 && response.into_body().collect().await.is_ok(),
            Err(_) => false,
        }
    }

    fn is_closed(&self, backend: usize) -> bool {
        self.catalog.load().models()[0].backends()[backend].state().breaker().state(Instant::now()).is_closed()
    }

    /// The number of state changes of a backend's breaker.
    fn transitions(&self, backend: usize) -> u64 {
        self.catalog.load().models()[0].backends()[backend].state().breaker().transitions().iter().sum()
    }

    fn stage(&self, backend: usize) -> Stage {
        self.catalog.load().models()[0].backends()[backend].state().view(Instant::now()).stage
    }

    fn calls(&self, backend: usize) -> u32 {
        self.calls[backend].load(Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn failing_burst_of_one_caller_keeps_all_backends_healthy() {
    for failure in FAILURES {
        for strategy in NAMES {
            let pool = TestPool::new(strategy, 3);
            assert!(pool.ask("bob", |_| Reply::Good).await);
            for _ in 0..3 {
                let burst = join_all((0..60).map(|_| pool.ask("alice", move |_| failure)));
                let (served, bob) = tokio::join!(burst, pool.ask("bob", |_| Reply::Good));
                assert!(served.iter().all(|served| !served), "{failure:?}");
                assert!(bob, "{strategy}, {failure:?}: during the burst");
                for _ in 0..10 {
                    assert!(pool.ask("bob", |_| Reply::Good).await, "{strategy}, {failure:?}: after the burst");
                    sleep(Duration::from_millis(200)).await;
                }
            }
            for backend in 0..3 {
                assert!(pool.is_closed(backend), "{strategy}, {failure:?}: {backend}");
                assert_eq!(pool.stage(backend), Stage::Healthy, "{strategy}, {failure:?}: {backend}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failing_burst_keeps_the_only_backend_available() {
    for failure in FAILURES {
        let pool = TestPool::new("failover", 1);
        assert!(pool.ask("bob", |_| Reply::Good).await);
        for _ in 0..20 {
            join_all((0..20).map(|_| pool.ask("alice", move |_| failure))).await;
            assert!(pool.ask("bob", |_| Reply::Good).await, "{failure:?}");
        }
        assert!(pool.is_closed(0), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn outage_of_one_backend_opens_its_breaker_at_the_threshold() {
    for outage in FAILURES {
        let pool = TestPool::new("failover", 2);
        for caller in ["alice", "bob"] {
            assert!(pool.ask(caller, |_| Reply::Good).await);
        }
        for _ in 0..10 {
            // The other backend succeeds, so one caller is enough to open the breaker.
            assert!(pool.ask("alice", move |at| if at == 0 { outage } else { Reply::Good }).await);
        }
        assert!(!pool.is_closed(0), "{outage:?}");
        assert_eq!(pool.calls(0), 2 + 5, "{outage:?}");
        assert!(pool.is_closed(1) && pool.stage(1) == Stage::Healthy, "{outage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_of_one_caller_at_one_backend_open_no_breaker_while_it_serves_others() {
    for failure in FAILURES {
        // Those that let each backend serve Bob.
        for strategy in ["round_robin", "random", "weighted_random"] {
            let pool = TestPool::new(strategy, 3);
            while (0..3).any(|backend| pool.calls(backend) < 2) {
                assert!(pool.ask("bob", |_| Reply::Good).await);
            }
            // Each backend refuses other requests of Alice, and another backend serves each of them.
            for refusing in [0, 1, 2].repeat(3) {
                let reply = move |at| if at == refusing { failure } else { Reply::Good };
                let burst = join_all((0..30).map(|_| pool.ask("alice", reply)));
                let (served, bob) = tokio::join!(burst, pool.ask("bob", |_| Reply::Good));
                assert!(served.iter().all(|served| *served), "{strategy}, {failure:?}");
                assert!(bob, "{strategy}, {failure:?}: during the burst");
                for _ in 0..10 {
                    assert!(pool.ask("bob", |_| Reply::Good).await, "{strategy}, {failure:?}: after the burst");
                    sleep(Duration::from_millis(200)).await;
                }
            }
            let opened: u64 = (0..3).map(|backend| pool.transitions(backend)).sum();
            assert_eq!(opened, 0, "{strategy}, {failure:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn outage_of_one_backend_is_noticed_by_several_callers_at_the_threshold() {
    for outage in FAILURES {
        let pool = TestPool::new("failover", 2);
        for _ in 0..5 {
            for caller in ["alice", "bob"] {
                assert!(pool.ask(caller, |_| Reply::Good).await);
            }
        }
        for _ in 0..5 {
            for caller in ["alice", "bob"] {
                assert!(pool.ask(caller, move |at| if at == 0 { outage } else { Reply::Good }).await);
            }
        }
        assert!(!pool.is_closed(0) && pool.is_closed(1), "{outage:?}");
        assert_eq!(pool.calls(0), 10 + 5, "{outage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn outage_of_a_busy_backend_that_one_caller_meets_is_noticed_once_others_are_served_no_longer() {
    for outage in FAILURES {
        let pool = TestPool::new("failover", 2);
        for _ in 0..5 {
            for caller in ["alice", "bob"] {
                assert!(pool.ask(caller, |_| Reply::Good).await);
            }
        }
        let meet = || pool.ask("alice", move |at| if at == 0 { outage } else { Reply::Good });
        for _ in 0..10 {
            assert!(meet().await);
        }
        assert!(pool.is_closed(0), "{outage:?}: the backend may refuse this caller only");
        sleep(Duration::from_secs(61)).await;
        for _ in 0..5 {
            assert!(meet().await);
        }
        assert!(!pool.is_closed(0), "{outage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn outage_for_all_callers_opens_every_breaker() {
    for outage in FAILURES {
        let pool = TestPool::new("failover", 2);
        for caller in ["alice", "bob"] {
            assert!(pool.ask(caller, |_| Reply::Good).await);
        }
        for _ in 0..4 {
            assert!(!pool.ask("alice", move |_| outage).await && !pool.ask("bob", move |_| outage).await);
        }
        assert!(!pool.is_closed(0) && !pool.is_closed(1), "{outage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unreachable_backend_is_never_the_fault_of_a_caller() {
    let pool = TestPool::new("failover", 2);
    assert!(pool.ask("bob", |_| Reply::Good).await);
    for _ in 0..4 {
        assert!(!pool.ask("alice", |_| Reply::Unreachable).await);
    }
    assert!(!pool.is_closed(0) && !pool.is_closed(1));
}

#[tokio::test(start_paused = true)]
async fn only_caller_opens_a_breaker_at_the_threshold() {
    for backends in [1, 2] {
        let pool = TestPool::new("failover", backends);
        for _ in 0..6 {
            assert!(!pool.ask("alice", |_| Reply::Status(500)).await);
        }
        for backend in 0..backends {
            assert!(!pool.is_closed(backend));
            assert_eq!(pool.calls(backend), 5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn requests_of_one_caller_never_block_others(
        strategy in 0..NAMES.len(),
        backends in 1..4_usize,
        requests in prop::collection::vec((any::<bool>(), 0..FAILURES.len(), 0..3_u64), 20..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let pool = TestPool::new(NAMES[strategy], backends);
            prop_assert!(pool.ask("bob", |_| Reply::Good).await);
            let mut failing = Vec::new();
            for (fails, failure, pause) in requests {
                if fails {
                    let failure = FAILURES[failure];
                    failing.push(pool.ask("alice", move |_| failure));
                    continue;
                }
                // The collected failing requests run at the same time as this one.
                let (_, served) = tokio::join!(join_all(failing.drain(..)), pool.ask("bob", |_| Reply::Good));
                prop_assert!(served);
                sleep(Duration::from_secs(pause)).await;
            }
            Ok(())
        })?;
    }
}

//! A request ends within its total timeout and the retry budget, whatever the policy decides.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Sender, channel},
    },
    time::Duration,
};

use berry_tower::{
    backend::{Backend, Catalog, Model, Provider, strategy::Failover},
    body::Buffered,
    classify::ModelApiVerdict,
    inspect::Requested,
    retry::{Budget, Decision, FailedAttempt, RetryLayer},
    select::{SelectLayer, Selected},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use proptest::{collection::vec, prelude::*};
use tokio::time::{Instant, sleep};
use tower::{BoxError, Layer, ServiceExt, service_fn};

#[derive(Clone, Debug)]
struct Case {
    /// The decisions of the policy, repeated in a cycle.
    decisions: Vec<Decision>,
    /// The statuses and latencies of the service, repeated in a cycle.
    statuses: Vec<(u16, Duration)>,
    total: Duration,
    retries_per_second: u32,
    backends: usize,
    fallbacks: usize,
}

fn decision() -> impl Strategy<Value = Decision> {
    prop_oneof![
        1 => Just(Decision::Stop),
        6 => Just(Decision::RetryNow),
        6 => (0..5000_u64).prop_map(|wait| Decision::RetryAfter(Duration::from_millis(wait))),
        1 => Just(Decision::RetryAfter(Duration::MAX)),
        2 => Just(Decision::Fallback),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let status = (prop::sample::select(vec![500, 503, 429, 401, 404, 413, 200]), 0..3000_u64)
        .prop_map(|(status, takes)| (status, Duration::from_millis(takes)));
    (vec(decision(), 1..6), vec(status, 1..8), 0..60_u64, 0..4_u32, 1..4_usize, 0..3_usize).prop_map(
        |(decisions, statuses, total, retries_per_second, backends, fallbacks)| Case {
            decisions,
            statuses,
            total: Duration::from_secs(total),
            retries_per_second,
            backends,
            fallbacks,
        },
    )
}

/// The number of calls to the policy and the service, and the backend of each call.
#[derive(Debug)]
struct CallLog {
    decisions: AtomicUsize,
    calls: AtomicUsize,
    backends: Sender<String>,
}

impl CallLog {
    fn new(backends: Sender<String>) -> Arc<Self> {
        Arc::new(Self { decisions: AtomicUsize::new(0), calls: AtomicUsize::new(0), backends })
    }
}

fn retry(
    case: &Case,
    log: &Arc<CallLog>,
) -> RetryLayer<impl Fn(&FailedAttempt<'_>) -> Decision + Clone + Send + Sync + 'static, ModelApiVerdict> {
    let (decisions, log) = (case.decisions.clone(), log.clone());
    let policy = move |_: &FailedAttempt<'_>| decisions[log.decisions.fetch_add(1, Relaxed) % decisions.len()];
    RetryLayer::new(policy)
        .budget(Arc::new(Budget::new(0.0, case.retries_per_second)))
        .total_timeout(Some(case.total))
        .classify(ModelApiVerdict)
}

/// Returns the maximum number of retries that the budget grants within the total timeout.
fn max_retries(case: &Case) -> usize {
    let windows = usize::try_from(case.total.as_secs()).unwrap() / 10 + 2;
    10 * case.retries_per_second as usize * windows
}

async fn upstream(case: Arc<Case>, log: Arc<CallLog>, backend: String) -> Result<Response<Full<Bytes>>, BoxError> {
    log.backends.send(backend)?;
    let call = log.calls.fetch_add(1, Relaxed);
    let (status, takes) = case.statuses[call % case.statuses.len()];
    if !takes.is_zero() {
        sleep(takes).await;
    }
    Ok(Response::builder().status(status).body(Full::from("{}"))?)
}

fn block_on<F: Future<Output = Result<(), TestCaseError>>>(test: F) -> Result<(), TestCaseError> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn bounds_any_policy_around_one_service(case in case()) {
        block_on(async {
            let (sender, backends) = channel();
            let (case, log, start) = (Arc::new(case), CallLog::new(sender), Instant::now());
            let (own_case, own_log) = (case.clone(), log.clone());
            let service = service_fn(move |_: Request<Buffered>| upstream(own_case.clone(), own_log.clone(), String::new()));
            let _ = retry(&case, &log).layer(service).oneshot(Request::default()).await;
            let calls = backends.try_iter().count();
            prop_assert!(start.elapsed() <= case.total.max(Duration::from_millis(1)), "{:?}", start.elapsed());
            prop_assert!(calls <= 1 + max_retries(&case), "{calls} calls");
            prop_assert!(log.decisions.load(Relaxed) <= calls, "at most one decision per failure");
            Ok(())
        })?;
    }

    #[test]
    fn bounds_any_policy_in_front_of_a_selection(case in case()) {
        block_on(async {
            let (sender, backends) = channel();
            let (case, log, start) = (Arc::new(case), CallLog::new(sender), Instant::now());
            let models = (0..=case.fallbacks).map(|model| {
                let backends = (0..case.backends).map(|backend| {
                    let provider = Provider::new(format!("{model}-{backend}"), "http://127.0.0.1:9").unwrap();
                    Backend::new(Arc::new(provider.with_max_retries(50)), "m")
                });
                let built = Model::new(format!("m{model}"), Arc::new(Failover), backends);
                let fallbacks = if model == 0 { case.fallbacks } else { 0 };
                built.with_fallbacks((1..=fallbacks).map(|fallback| format!("m{fallback}")))
            });
            let (own_case, own_log) = (case.clone(), log.clone());
            let service = service_fn(move |request: Request<Buffered>| {
                let backend = request.extensions().get::<Selected>().unwrap().backend().id().provider.to_string();
                upstream(own_case.clone(), own_log.clone(), backend)
            });
            let service = SelectLayer::new(Catalog::new(models).unwrap()).layer(service);
            let body = Buffered::from(r#"{"model":"m0"}"#);
            let requested = Requested::read(body.bytes()).unwrap().with_path("/v1/chat/completions");
            let request = Request::post("/v1/chat/completions").extension(requested).body(body).unwrap();
            let _ = retry(&case, &log).layer(service).oneshot(request).await;
            let calls: Vec<_> = backends.try_iter().collect();
            prop_assert!(start.elapsed() <= case.total.max(Duration::from_millis(1)), "{:?}", start.elapsed());
            let repeats = calls.len() - calls.iter().collect::<HashSet<_>>().len();
            prop_assert!(repeats <= max_retries(&case), "{repeats} repeats in {calls:?}");
            // The policy decides after each failure, and whenever only tried backends are left.
            let max = 2 * calls.len() + 16 * (1 + case.fallbacks) + max_retries(&case);
            prop_assert!(log.decisions.load(Relaxed) <= max, "{:?} decisions, {} calls", log.decisions, calls.len());
            Ok(())
        })?;
    }
}

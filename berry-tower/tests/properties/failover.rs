//! Failover: the backends that a request tries, their order and number, and no leaked slots.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

use berry_tower::{
    attempt::BackendId,
    backend::{
        Backend, Catalog, Model, Provider, SmartAi,
        strategy::{NAMES, by_name},
    },
    body::Buffered,
    classify::ModelApiVerdict,
    error::{Deadline, Exhausted, Failure},
    inspect::Requested,
    retry::{BackoffPolicy, Budget, RetryLayer},
    select::{SelectLayer, Selected},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tokio::time::Instant;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

/// The behaviour of a backend for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Responds,
    Status(u16),
    Resets,
    Hangs,
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop::sample::select(vec![
        Behaviour::Responds,
        Behaviour::Status(500),
        Behaviour::Status(503),
        Behaviour::Status(429),
        Behaviour::Status(401),
        Behaviour::Status(404),
        Behaviour::Resets,
        Behaviour::Hangs,
    ])
}

#[derive(Clone, Debug)]
struct Case {
    strategy: usize,
    /// The behaviour of each backend for its first, second, … request. The last applies to all later
    /// requests.
    backends: Vec<Vec<Behaviour>>,
    max_retries: u32,
    max_same_backend_retries: u32,
    provider_retries: u32,
}

fn case() -> impl Strategy<Value = Case> {
    let backend = prop::collection::vec(behaviour(), 1..4);
    (0..NAMES.len(), prop::collection::vec(backend, 1..5), 0..5_u32, 0..4_u32, 0..4_u32).prop_map(
        |(strategy, backends, max_retries, internal, provider_retries)| Case {
            strategy,
            backends,
            max_retries,
            max_same_backend_retries: internal.min(max_retries),
            provider_retries,
        },
    )
}

fn catalog(case: &Case) -> Catalog {
    let backends = (0..case.backends.len()).map(|i| {
        let provider = Provider::new(format!("p{i}"), "http://127.0.0.1:9").unwrap();
        Backend::new(Arc::new(provider.with_max_retries(case.provider_retries)), "m")
    });
    Catalog::new([Model::new("m", by_name(NAMES[case.strategy], &SmartAi::default()).unwrap(), backends)]).unwrap()
}

fn act(behaviour: Behaviour) -> Result<Response<Full<Bytes>>, BoxError> {
    let response = |status: u16| Ok(Response::builder().status(status).body(Full::from("{}")).unwrap());
    match behaviour {
        Behaviour::Responds => response(200),
        Behaviour::Status(status) => response(status),
        Behaviour::Resets => Err(Failure::ConnectionLost("reset".into()).into()),
        Behaviour::Hangs => Err(Failure::Timeout(Deadline::Head).into()),
    }
}

/// Sends a request. Returns the backends that it tried in order, and whether it succeeded.
async fn run(case: &Case, catalog: &Catalog) -> (Vec<(BackendId, Behaviour)>, bool) {
    let (sender, receiver) = mpsc::channel();
    let calls: Arc<HashMap<String, AtomicUsize>> =
        Arc::new((0..case.backends.len()).map(|i| (format!("p{i}"), AtomicUsize::new(0))).collect());
    let backends = case.backends.clone();
    let upstream = service_fn(move |request: Request<Buffered>| {
        let id = request.extensions().get::<Selected>().unwrap().backend().id().clone();
        let n = calls[&*id.provider].fetch_add(1, Relaxed);
        let scripts = &backends[id.provider[1..].parse::<usize>().unwrap()];
        let behaviour = scripts[n.min(scripts.len() - 1)];
        sender.send((id, behaviour)).unwrap();
        std::future::ready(act(behaviour))
    });
    let policy = BackoffPolicy::new()
        .with_max_retries(case.max_retries)
        .with_max_same_backend_retries(case.max_same_backend_retries);
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(policy).classify(ModelApiVerdict).budget(Arc::new(Budget::new(1.0, 1000))))
        .layer(SelectLayer::new(catalog.clone()))
        .service(upstream);
    let body = Buffered::from(r#"{"model":"m"}"#);
    let requested = Requested::read(body.bytes()).unwrap().with_path("/v1/chat/completions");
    let result = service.oneshot(Request::builder().extension(requested).body(body).unwrap()).await;
    let succeeded = match result {
        Ok(response) => {
            let good = response.status() == 200;
            response.into_body().collect().await.unwrap();
            good
        }
        Err(error) => {
            let exhausted = error.downcast_ref::<Exhausted>().expect("the error of exhausted attempts");
            assert!(exhausted.attempts >= 1);
            false
        }
    };
    (receiver.try_iter().collect(), succeeded)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn tries_eligible_backends_in_order_within_the_limits(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let catalog = catalog(&case);
            let began = Instant::now();
            let (tried, succeeded) = run(&case, &catalog).await;

            prop_assert!(!tried.is_empty() && tried.len() <= 1 + case.max_retries as usize, "{tried:?}");
            prop_assert!(began.elapsed() <= Duration::from_secs(4 * 5 * 4));
            let mut on_tried = 0;
            for (i, (id, behaviour)) in tried.iter().enumerate() {
                let before: Vec<_> = tried[..i].iter().filter(|(earlier, _)| earlier == id).collect();
                prop_assert!(before.len() <= case.provider_retries as usize);
                if *behaviour == Behaviour::Responds {
                    prop_assert!(succeeded && i + 1 == tried.len(), "no attempt follows a success");
                }
                if before.is_empty() {
                    continue;
                }
                on_tried += 1;
                let all_tried = (0..case.backends.len()).all(|k| tried[..i].iter().any(|(b, _)| *b.provider == *format!("p{k}")));
                prop_assert!(all_tried, "a tried backend was repeated before an untried one: {tried:?}");
                for (_, did) in before {
                    let is_final = matches!(did, Behaviour::Status(401 | 404) | Behaviour::Hangs);
                    prop_assert!(!is_final, "a backend was repeated after {did:?}: {tried:?}");
                }
            }
            prop_assert!(on_tried <= case.max_same_backend_retries, "{tried:?}");
            let has_healthy_backend = case.backends.iter().any(|scripts| scripts[0] == Behaviour::Responds);
            if has_healthy_backend && case.backends.len() <= 1 + case.max_retries as usize {
                prop_assert!(succeeded, "a backend would have responded: {tried:?}");
            }
            for (_, live) in catalog.load().states() {
                prop_assert_eq!(live.view(Instant::now()).in_flight, 0);
            }
            Ok(())
        })?;
    }
}

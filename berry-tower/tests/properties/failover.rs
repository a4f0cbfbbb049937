//! Failover: whom a request asks, in which order, how often, and that nothing is left behind.

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
    backend::{Backend, Catalog, Model, Provider, SmartAi},
    body::Buffered,
    classify::ModelApiVerdict,
    error::{Deadline, Exhausted, Failure},
    inspect::Requested,
    retry::{BackoffPolicy, Budget, RetryLayer},
    select::{
        SelectLayer, Selected,
        strategy::{NAMES, by_name},
    },
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tokio::time::Instant;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

/// What a backend does, each time that it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Answers,
    Status(u16),
    Breaks,
    IsSilent,
}

fn does() -> impl Strategy<Value = Does> {
    prop::sample::select(vec![
        Does::Answers,
        Does::Status(500),
        Does::Status(503),
        Does::Status(429),
        Does::Status(401),
        Does::Status(404),
        Does::Breaks,
        Does::IsSilent,
    ])
}

#[derive(Clone, Debug)]
struct Case {
    strategy: usize,
    /// What each backend does at its first, second, … request; the last stands for all later ones.
    backends: Vec<Vec<Does>>,
    max_retries: u32,
    max_same_backend_retries: u32,
    provider_retries: u32,
}

fn case() -> impl Strategy<Value = Case> {
    let backend = prop::collection::vec(does(), 1..4);
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
        let mut provider = Provider::new(format!("p{i}"), "http://127.0.0.1:9").unwrap();
        provider.max_retries = case.provider_retries;
        Backend::new(Arc::new(provider), "m")
    });
    Catalog::new([Model::new("m", by_name(NAMES[case.strategy], &SmartAi::default()).unwrap(), backends)])
}

fn act(does: Does) -> Result<Response<Full<Bytes>>, BoxError> {
    let answer = |status: u16| Ok(Response::builder().status(status).body(Full::from("{}")).unwrap());
    match does {
        Does::Answers => answer(200),
        Does::Status(status) => answer(status),
        Does::Breaks => Err(Failure::ConnectionLost("reset".into()).into()),
        Does::IsSilent => Err(Failure::Timeout(Deadline::Head).into()),
    }
}

/// Whom one request asks, in order, and whether it was answered.
async fn run(case: &Case, catalog: &Catalog) -> (Vec<(BackendId, Does)>, bool) {
    let (tell, told) = mpsc::channel();
    let asked: Arc<HashMap<String, AtomicUsize>> =
        Arc::new((0..case.backends.len()).map(|i| (format!("p{i}"), AtomicUsize::new(0))).collect());
    let backends = case.backends.clone();
    let upstream = service_fn(move |request: Request<Buffered>| {
        let id = request.extensions().get::<Selected>().unwrap().backend.id.clone();
        let n = asked[&*id.provider].fetch_add(1, Relaxed);
        let scripts = &backends[id.provider[1..].parse::<usize>().unwrap()];
        let does = scripts[n.min(scripts.len() - 1)];
        tell.send((id, does)).unwrap();
        std::future::ready(act(does))
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
    let answered = match result {
        Ok(response) => {
            let good = response.status() == 200;
            response.into_body().collect().await.unwrap();
            good
        }
        Err(error) => {
            let exhausted = error.downcast_ref::<Exhausted>().expect("it says that all attempts failed");
            assert!(exhausted.attempts >= 1);
            false
        }
    };
    (told.try_iter().collect(), answered)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_request_asks_the_right_ones_in_the_right_order(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let catalog = catalog(&case);
            let began = Instant::now();
            let (asked, answered) = run(&case, &catalog).await;

            prop_assert!(!asked.is_empty() && asked.len() <= 1 + case.max_retries as usize, "{asked:?}");
            prop_assert!(began.elapsed() <= Duration::from_secs(4 * 5 * 4));
            let mut on_tried = 0;
            for (i, (id, does)) in asked.iter().enumerate() {
                let before: Vec<_> = asked[..i].iter().filter(|(earlier, _)| earlier == id).collect();
                prop_assert!(before.len() <= case.provider_retries as usize);
                if *does == Does::Answers {
                    prop_assert!(answered && i + 1 == asked.len(), "an answer is the end");
                }
                if before.is_empty() {
                    continue;
                }
                on_tried += 1;
                let all_tried = (0..case.backends.len()).all(|k| asked[..i].iter().any(|(b, _)| *b.provider == *format!("p{k}")));
                prop_assert!(all_tried, "a tried one came back before a fresh one was asked: {asked:?}");
                for (_, did) in before {
                    let barred = matches!(did, Does::Status(401 | 404) | Does::IsSilent);
                    prop_assert!(!barred, "{did:?} does not come back: {asked:?}");
                }
            }
            prop_assert!(on_tried <= case.max_same_backend_retries, "{asked:?}");
            let good_at_once = case.backends.iter().any(|scripts| scripts[0] == Does::Answers);
            if good_at_once && case.backends.len() <= 1 + case.max_retries as usize {
                prop_assert!(answered, "somebody would have answered: {asked:?}");
            }
            for (_, live) in catalog.load().states() {
                prop_assert_eq!(live.view(Instant::now()).in_flight, 0);
            }
            Ok(())
        })?;
    }
}

//! In-flight counts: requests that complete, fail or are cancelled at any point release their slot in
//! flight and their trial.

use std::{sync::Arc, time::Duration};

use berry_tower::{
    backend::{
        Backend, Catalog, Model, Provider, SmartAi,
        strategy::{NAMES, by_name},
    },
    body::Buffered,
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    classify::ModelApiVerdict,
    client::BackendClient,
    commit::CommitLayer,
    inspect::Requested,
    retry::{BackoffPolicy, Budget, RetryLayer},
    select::{SelectLayer, SelectedBreaker},
};
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proptest::{collection::vec, prelude::*};
use tokio::time::{Instant, sleep};
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

/// The behaviour of the upstream for a request.
#[derive(Clone, Copy, Debug)]
struct Upstream {
    /// The seconds until the head is sent, or `None` for never.
    head_after: Option<u64>,
    /// The status, or 0 for a connection reset.
    status: u16,
    /// The number of tokens, which are sent a second apart.
    tokens: usize,
    /// The way in which the stream ends.
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Done,
    Cut,
    Broken,
    Silent,
}

/// A request: the second in which it is sent, and the seconds after which its client disconnects.
#[derive(Clone, Copy, Debug)]
struct Client {
    arrives_at: u64,
    disconnects_after: Option<u64>,
}

fn upstream() -> impl Strategy<Value = Upstream> {
    let end = prop_oneof![3 => Just(End::Done), 1 => Just(End::Cut), 1 => Just(End::Broken), 1 => Just(End::Silent)];
    let status = prop_oneof![5 => Just(200), 5 => prop::sample::select(vec![500, 429, 400, 401, 0])];
    let head = prop_oneof![6 => (0..4_u64).prop_map(Some), 1 => Just(None)];
    (head, status, 0..4_usize, end).prop_map(|(head_after, status, tokens, end)| Upstream {
        head_after,
        status,
        tokens,
        end,
    })
}

fn client() -> impl Strategy<Value = Client> {
    (0..20_u64, prop::option::of(0..12_u64))
        .prop_map(|(arrives_at, disconnects_after)| Client { arrives_at, disconnects_after })
}

type Frames = Result<Frame<Bytes>, BoxError>;

fn body(upstream: Upstream) -> impl http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static {
    let token = |_| async {
        sleep(Duration::from_secs(1)).await;
        let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
        Frames::Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    };
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let end = match upstream.end {
        End::Done => stream::iter([Frames::Ok(Frame::data(Bytes::from_static(end.as_bytes())))]).boxed(),
        End::Cut => stream::empty().boxed(),
        End::Broken => stream::iter([Frames::Err("reset".into())]).boxed(),
        End::Silent => stream::pending().boxed(),
    };
    StreamBody::new(stream::iter(0..upstream.tokens).then(token).chain(end))
}

fn catalog(strategy: usize, max: u32) -> Catalog {
    let backends = (0..2).map(|i| {
        let provider = Provider::new(format!("p{i}"), "http://127.0.0.1:9").unwrap();
        Backend::new(Arc::new(provider), "m").with_max_in_flight(max)
    });
    Catalog::new([Model::new("m", by_name(NAMES[strategy], &SmartAi::default()).unwrap(), backends)]).unwrap()
}

async fn ask(catalog: Catalog, client: Client, upstream: Upstream) {
    sleep(Duration::from_secs(client.arrives_at)).await;
    let network = service_fn(move |_: Request<Buffered>| async move {
        match upstream.head_after {
            Some(wait) => sleep(Duration::from_secs(wait)).await,
            None => std::future::pending().await,
        }
        let status = StatusCode::from_u16(upstream.status).map_err(|_| BoxError::from("reset"))?;
        let builder = Response::builder().status(status).header("content-type", "text/event-stream");
        Ok::<_, BoxError>(builder.body(body(upstream)).unwrap())
    });
    let breaker = CircuitBreakerLayer::new(BreakerPolicy::default()).find(SelectedBreaker).classify(ModelApiVerdict);
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(BackoffPolicy::new()).classify(ModelApiVerdict).budget(Arc::new(Budget::new(1.0, 1000))))
        .layer(CommitLayer)
        .layer(SelectLayer::new(catalog))
        .layer(breaker)
        .service(BackendClient::new(network));
    let text = Buffered::from(r#"{"model":"m","stream":true}"#);
    let requested = Requested::read(text.bytes()).unwrap().with_path("/v1/chat/completions");
    let request = Request::post("/v1/chat/completions").extension(requested).body(text).unwrap();
    let exchange = async {
        if let Ok(response) = service.oneshot(request).await {
            let mut body = std::pin::pin!(response.into_body());
            while let Some(Ok(_)) = body.frame().await {}
        }
    };
    match client.disconnects_after {
        None => exchange.await,
        Some(after) => drop(tokio::time::timeout(Duration::from_secs(after), exchange).await),
    }
}

/// Sends requests after the breakers' open time. A leaked trial would keep a breaker from closing.
async fn use_every_backend(catalog: &Catalog) {
    sleep(Duration::from_secs(3600)).await;
    let client = Client { arrives_at: 0, disconnects_after: None };
    let good = Upstream { head_after: Some(0), status: 200, tokens: 1, end: End::Done };
    for _ in 0..20 {
        ask(catalog.clone(), client, good).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_request_releases_its_slot(
        strategy in 0..NAMES.len(),
        max in 0..4_u32,
        requests in vec((client(), upstream()), 1..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let catalog = catalog(strategy, max);
            join_all(requests.into_iter().map(|(client, upstream)| ask(catalog.clone(), client, upstream))).await;
            for (id, live) in catalog.load().states() {
                prop_assert_eq!(live.view(Instant::now()).in_flight, 0, "{}", id);
            }
            use_every_backend(&catalog).await;
            for (id, live) in catalog.load().states() {
                let view = live.view(Instant::now());
                prop_assert_eq!(view.in_flight, 0, "{}", id);
                prop_assert!(view.breaker_available(), "{}: its breaker never arrives_at back", id);
            }
            Ok(())
        })?;
    }
}

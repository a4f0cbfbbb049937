//! Bounds on the allocations of a request through the standard gateway. Raise them only on purpose.

use std::{convert::Infallible, sync::Arc};

use allocation_counter::{AllocationInfo, measure};
use berry_tower::{
    auth::{ApiKey, ApiKeys},
    backend::{Backend, Catalog, Model, Provider, strategy::WeightedFailover},
    body::Buffered,
    gateway::{Settings, gateway},
    rate_limit::{Limits, Quota, QuotaFromRequest},
};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, request::Parts};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{ServiceExt, service_fn};

/// The allocations of a plain request, from its head to the end of its response, without those of the
/// connections. Two are boxes around a lease and a body, since moving them from layer to layer costs more.
const PLAIN: u64 = 48;
/// The allocations of a streamed request with ten events.
const STREAM: u64 = 68;
/// The additional allocations for a hundred more events.
const MORE_EVENTS: u64 = 4;

#[derive(Clone)]
struct User(Arc<Quota>);

/// Measures the allocations of one request, after warm-up requests.
fn count<B>(
    content_type: &'static str,
    stream: bool,
    body: impl Fn() -> B + Clone + Send + Sync + 'static,
) -> AllocationInfo
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let upstream = service_fn(move |_: Request<Buffered>| {
        let response = Response::builder().header("content-type", content_type).body(body());
        std::future::ready(Ok::<_, Infallible>(response.unwrap()))
    });
    let backends = ["a", "b"].map(|name| {
        let provider = Provider::new(name, "http://127.0.0.1:9").unwrap().with_key("sk-upstream").unwrap();
        Backend::new(Arc::new(provider), "gpt-4o-mini")
    });
    let catalog = Catalog::new([Model::new("fast", Arc::new(WeightedFailover), backends)]).unwrap();
    let quota = Arc::new(Quota::new(Limits::new().per_minute(1_000).per_hour(1_000)));
    let keys = ApiKeys::new([ApiKey::from_token("a-token-of-mine", User(quota))]);
    let limit = QuotaFromRequest::new(|head: &Parts| head.extensions.get::<User>().map(|user| user.0.clone()));
    let stack = Settings::with_transport(catalog, upstream);
    let service = gateway(stack, keys, limit, |_: &User, model: &str| model == "fast");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let send = || {
        let request = Request::post("/v1/chat/completions")
            .header("authorization", "Bearer a-token-of-mine")
            .header("content-type", "application/json");
        let body = format!(r#"{{"model":"fast","stream":{stream},"messages":[{{"role":"user","content":"Hello!"}}]}}"#);
        let (request, service) = (request.body(Full::<Bytes>::from(body)).unwrap(), service.clone());
        measure(|| {
            runtime.block_on(async {
                let response = service.oneshot(request).await.unwrap();
                assert_eq!(response.status(), 200);
                let mut body = std::pin::pin!(response.into_body());
                while let Some(frame) = body.frame().await {
                    frame.unwrap();
                }
            });
        })
    };
    for _ in 0..8 {
        send();
    }
    send()
}

#[test]
fn plain_request_stays_within_the_allocation_bound() {
    const RESPONSE: &str = r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"Hello!"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":9}}"#;
    let info = count("application/json", false, || Full::<Bytes>::from(RESPONSE));
    assert!(info.count_total <= PLAIN, "{info:?}");
    assert!(info.count_current <= 0, "memory is not released: {info:?}");
}

#[test]
fn stream_stays_within_the_allocation_bound() {
    let allocations = |events: usize| {
        let words = (0..events).map(|i| format!(r#"{{"index":0,"delta":{{"content":" word {i}"}}}}"#));
        let finish = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#.to_owned();
        let mut frames: Vec<_> =
            words.chain([finish]).map(|choice| Bytes::from(format!("data: {{\"choices\":[{choice}]}}\n\n"))).collect();
        frames.push("data: [DONE]\n\n".into());
        let info = count("text/event-stream", true, move || {
            let frames = frames.clone();
            StreamBody::new(stream::iter(frames.into_iter().map(|frame| Ok::<_, Infallible>(Frame::data(frame)))))
        });
        assert!(info.count_current <= 0, "memory is not released: {info:?}");
        info.count_total
    };
    let (few, many) = (allocations(10), allocations(110));
    assert!(few <= STREAM, "{few}");
    assert!(many - few <= MORE_EVENTS, "{few}, then {many}");
}

//! Requests, responses and services that are always ready.

use std::{convert::Infallible, hint::black_box, sync::Arc};

use berry_tower::{
    backend::{Backend, Catalog, Model, Provider, strategy::WeightedFailover},
    body::Buffered,
    inspect::Requested,
    select::Selected,
};
use bytes::Bytes;
use criterion::{BatchSize, Bencher};
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt, service_fn};

/// The body of a small response.
pub(crate) const RESPONSE: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I help you today?"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}"#;
/// The token of the caller.
pub(crate) const TOKEN: &str = "a-token-of-mine-that-is-long-enough";

/// Returns a single-threaded runtime.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Returns the body of a chat request of about `size` bytes.
pub(crate) fn chat_body(size: usize, stream: bool) -> Bytes {
    let text = "All happy families are alike. \\n".repeat(size / 32);
    let stream = if stream { r#""stream":true,"# } else { "" };
    Bytes::from(format!(
        r#"{{"model":"fast",{stream}"messages":[{{"role":"user","content":"{text}"}}],"temperature":0.7}}"#
    ))
}

/// Returns a request as a client sends it.
pub(crate) fn request(body: &Bytes) -> Request<Full<Bytes>> {
    Request::post("/v1/chat/completions")
        .header(header::HOST, "127.0.0.1:3000")
        .header(header::USER_AGENT, "bench/1.0")
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .body(Full::new(body.clone()))
        .expect("a request")
}

/// Returns a request as `Inspect` and, with a `selected` backend, `Select` forward it.
pub(crate) fn inspected(body: &Bytes, selected: Option<&Arc<Backend>>) -> Request<Buffered> {
    let (head, _) = request(body).into_parts();
    let mut request = Request::from_parts(head, Buffered::from(body.clone()));
    let requested = Requested::read(body).expect("a chat request").with_path("/v1/chat/completions");
    request.extensions_mut().insert(requested);
    if let Some(backend) = selected {
        request.extensions_mut().insert(Selected::new(backend.clone()));
    }
    request
}

/// Returns a catalog with one model on `n` backends.
pub(crate) fn catalog(n: usize) -> Catalog {
    let backends = (0..n).map(|i| backend(&format!("provider-{i}")));
    Catalog::new([Model::new("fast", Arc::new(WeightedFailover), backends)]).expect("a catalog")
}

pub(crate) fn backend(provider: &str) -> Backend {
    let provider =
        Provider::new(provider, "http://127.0.0.1:9").and_then(|p| p.with_key("sk-upstream")).expect("an address");
    Backend::new(Arc::new(provider), "gpt-4o-mini")
}

/// Returns a service that responds immediately with [`RESPONSE`].
pub(crate) fn upstream<B: Send + 'static>()
-> impl Service<Request<B>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send + 'static>
+ Clone
+ Send
+ Sync
+ 'static {
    service_fn(|request: Request<B>| {
        black_box(&request);
        let response = Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, RESPONSE.len())
            .header(header::DATE, "Sun, 22 Nov 2026 00:00:00 GMT");
        std::future::ready(Ok(response.body(Full::from(RESPONSE)).expect("a response")))
    })
}

/// Measures a call and the reading of its response, without the construction of the request. The
/// service is cloned for each request, as servers do.
pub(crate) fn calls<S, Q, B>(bench: &mut Bencher<'_>, service: &S, request: impl Fn() -> Q)
where
    S: Service<Q, Response = Response<B>> + Clone,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let runtime = runtime();
    let _inside = runtime.enter();
    let once = |request: Q| async {
        let response = service.clone().oneshot(request).await.map_err(Into::into).expect("a response");
        assert!(response.status().is_success(), "{}", response.status());
        response.into_body().collect().await.map_err(Into::into).expect("a body").to_bytes()
    };
    bench.iter_batched(request, |request| runtime.block_on(once(request)), BatchSize::SmallInput);
}

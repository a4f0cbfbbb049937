//! The overhead of the standard stack over an upstream that is always ready.

use std::{convert::Infallible, future::ready, sync::Arc};

use berry_tower::{
    auth::{ApiKey, ApiKeys},
    body::Buffered,
    gateway::{Settings, gateway},
    rate_limit::{Limits, Quota, QuotaFromRequest},
};
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use futures_util::stream;
use http::{Request, Response, header, request::Parts};
use http_body::Frame;
use http_body_util::StreamBody;
use tower::service_fn;

use crate::{
    pieces::{EVENTS, events},
    support::{TOKEN, calls, catalog, chat_body, request, upstream},
};

#[derive(Clone)]
struct User(Arc<Quota>);

/// Returns the standard gateway over a transport.
pub(crate) fn gateway_over<T, U>(
    transport: T,
) -> impl tower::Service<
    Request<http_body_util::Full<Bytes>>,
    Response = Response<impl http_body::Body<Data = Bytes, Error = berry_tower::error::BoxError>>,
    Error = Infallible,
> + Clone
where
    T: tower::Service<Request<Buffered>, Response = Response<U>, Error = Infallible, Future: Send>,
    T: Clone + Send + Sync + 'static,
    U: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let quota = Arc::new(Quota::new(Limits::new().per_minute(u32::MAX).per_hour(u32::MAX)));
    let keys = ApiKeys::new([ApiKey::from_token(TOKEN, User(quota))]);
    let limit = QuotaFromRequest::new(|head: &Parts| head.extensions.get::<User>().map(|user| user.0.clone()));
    gateway(Settings::with_transport(catalog(2), transport), keys, limit, |_: &User, model: &str| model == "fast")
}

/// Measures a plain response, and a stream with one event per frame.
pub(crate) fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("gateway");
    let body = chat_body(256, false);
    let service = gateway_over(upstream::<Buffered>());
    group.bench_function("plain", |b| calls(b, &service, || request(&body)));

    let body = chat_body(256, true);
    let service = gateway_over(service_fn(|_: Request<Buffered>| {
        let frames = events().into_iter().map(|event| Ok::<_, Infallible>(Frame::data(event)));
        let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
        ready(Ok::<_, Infallible>(response.body(StreamBody::new(stream::iter(frames))).expect("a response")))
    }));
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("stream", |b| calls(b, &service, || request(&body)));
    group.finish();
}

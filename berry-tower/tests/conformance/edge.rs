//! Tower's contract for the edge layers.

use std::{convert::Infallible, sync::Arc, task::Context};

use berry_tower::{
    auth::{ApiKey, ApiKeys, AuthLayer, Authenticate, Rejection, bearer},
    body::Buffered,
    collect::CollectLayer,
    drain::DrainLayer,
    error_response::ErrorResponseLayer,
    inspect::{InspectLayer, Requested},
    permission::ModelPermissionLayer,
    rate_limit::{Limits, PerKey, Quota, QuotaFromRequest, RateLimitLayer},
};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, header::AUTHORIZATION, request::Parts};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use tower::{Layer, Service};

use crate::support::{Behaviour, Strict, check, check_rejection, is_ready};

const BODY: &str = r#"{"model":"fast"}"#;

fn with_token() -> Request<Full<Bytes>> {
    Request::builder().header(AUTHORIZATION, "Bearer good").body(BODY.into()).unwrap()
}

fn plain() -> Request<Full<Bytes>> {
    Request::new(BODY.into())
}

fn silent() -> Request<impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static> {
    Request::new(StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>()))
}

#[derive(Clone, Debug)]
struct SlowAuth;

impl Authenticate for SlowAuth {
    type Identity = ();

    async fn authenticate(&self, head: &Parts) -> Result<(), Rejection> {
        tokio::task::yield_now().await;
        bearer(&head.headers).map(drop).ok_or(Rejection::InvalidToken)
    }
}

#[tokio::test]
async fn auth_keeps_the_contract() {
    let layer = AuthLayer::new(ApiKeys::new([ApiKey::from_token("good", "alice")]));
    check(layer.clone(), with_token).await;
    check_rejection(layer, plain(), 401).await;
    check(AuthLayer::new(SlowAuth), with_token).await;
    check_rejection(AuthLayer::new(SlowAuth), plain(), 401).await;
}

#[tokio::test]
async fn auth_holds_no_inner_slot_while_it_waits() {
    let mut service = AuthLayer::new(SlowAuth).layer(Strict::new(1, Behaviour::Responds));
    assert!(is_ready::<Full<Bytes>>(&mut service));
    let _waiting = service.call(with_token());
    assert!(is_ready::<Full<Bytes>>(&mut service.clone()));
}

#[tokio::test(start_paused = true)]
async fn rate_limit_keeps_the_contract() {
    check(RateLimitLayer::new(PerKey::new(Limits::new().per_minute(100), |_: &Parts| Some(0))), plain).await;
    let none = RateLimitLayer::new(PerKey::new(Limits::new().per_minute(100), |_: &Parts| None::<u8>).require_key());
    check_rejection(none, plain(), 500).await;

    let quota = Arc::new(Quota::new(Limits::new().concurrent(2)));
    let request = || Request::builder().extension(Arc::clone(&quota)).body(Full::<Bytes>::default()).unwrap();
    let layer = RateLimitLayer::new(QuotaFromRequest::new(|head: &Parts| head.extensions.get().cloned()));
    check(layer.clone(), request).await;
    assert_eq!(quota.usage().in_flight, 0, "every slot is released");
    let (_a, _b) = (quota.acquire().unwrap(), quota.acquire().unwrap());
    check_rejection(layer, request(), 429).await;
}

#[tokio::test]
async fn inspect_keeps_the_contract() {
    check(InspectLayer::new(), || plain().map(|_| Buffered::from(BODY))).await;
    check_rejection(InspectLayer::new(), Request::new(Buffered::from("[]")), 400).await;
}

#[tokio::test]
async fn collect_keeps_the_contract() {
    check(CollectLayer::new(), plain).await;
    check_rejection(CollectLayer::new().max_body(1), Request::new(Full::<Bytes>::from("[]")), 413).await;
}

#[tokio::test]
async fn collect_holds_no_inner_slot_while_it_reads() {
    let mut service = CollectLayer::new().layer(Strict::new(1, Behaviour::Responds));
    assert!(is_ready::<Full<Bytes>>(&mut service));
    let mut reading = Box::pin(service.call(silent()));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(reading.as_mut().poll(&mut cx).is_pending());
    assert!(is_ready::<Full<Bytes>>(&mut service.clone()));
}

#[tokio::test]
async fn permission_keeps_the_contract() {
    let request = || {
        let requested = Requested::read(&Bytes::from(BODY)).unwrap();
        Request::builder().extension("alice").extension(requested).body(Buffered::from(BODY)).unwrap()
    };
    check(ModelPermissionLayer::new(|_: &&str, model: &str| model == "fast"), request).await;
    check_rejection(ModelPermissionLayer::new(|_: &&str, _: &str| false), request(), 403).await;
    check_rejection(ModelPermissionLayer::new(|_: &String, _: &str| true), request(), 500).await;
}

#[tokio::test]
async fn error_response_keeps_the_contract() {
    check(ErrorResponseLayer::new(), plain).await;
}

#[tokio::test(start_paused = true)]
async fn drain_keeps_the_contract() {
    check(DrainLayer::new(), plain).await;
    check(DrainLayer::new(), || Request::new(Full::<Bytes>::default())).await;
}

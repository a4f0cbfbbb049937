//! Requests through the layers.

#![expect(clippy::disallowed_types, reason = "a log of a test")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::{
    attempt::BackendId,
    body::Buffered,
    error::BoxError,
    inspect::InspectLayer,
    progress::{CommitPoint, Grammar, Progress, Usage},
    store::{Memory, Store},
};

const CHAT: &str = "/v1/chat/completions";

/// What an observer was told.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<Told>>>);

#[derive(Clone, Debug, PartialEq)]
struct Told {
    outcome: SpendOutcome,
    backend: Option<String>,
    usage: Option<Usage>,
    cost: Option<Money>,
    wasted: Money,
}

impl SpendObserver for Log {
    fn settled(&self, record: &SpendRecord<'_>) {
        let backend = record.backend.map(ToString::to_string);
        let SpendRecord { outcome, usage, cost, wasted, .. } = *record;
        self.0.lock().unwrap().push(Told { outcome, backend, usage, cost, wasted });
    }
}

impl Log {
    fn last(&self) -> Told {
        self.0.lock().unwrap().last().unwrap().clone()
    }
}

fn account(limits: SpendLimits) -> Account {
    let team = Subject::new("team", "t");
    Account::new([Arc::new(Subject::new("user", "alice").with_limits(limits)), Arc::new(team)])
}

fn layer(store: &Memory, limits: SpendLimits, log: &Log) -> SpendLayer {
    let account = account(limits);
    let observer: Arc<dyn SpendObserver> = Arc::new(log.clone());
    SpendLayer::new(Arc::new(store.clone()), move |_| Some(account.clone()))
        .cost(|used: &Used<'_>| {
            let each = if used.backend.is_some_and(|backend| &*backend.model == "dear") { 10 } else { 1 };
            Some(Money::from_nanos(each * (used.usage.input + used.usage.output)))
        })
        .observer(observer)
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

fn request(path: &str, body: &str) -> Request<Buffered> {
    Request::post(path).body(Buffered::from(body.to_owned())).unwrap()
}

async fn error(response: Response<impl http_body::Body<Data = Bytes, Error: std::fmt::Debug>>) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice::<Value>(&body).unwrap()["error"].take())
}

/// A service that answers with this usage.
fn answering(
    usage: Usage,
) -> impl Service<Request<Buffered>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    service_fn(move |_: Request<Buffered>| async move {
        let mut response = Response::new(Full::new(Bytes::from("{}")));
        response.extensions_mut().insert(usage);
        Ok::<_, Infallible>(response)
    })
}

#[tokio::test(start_paused = true)]
async fn settles_to_what_was_used() {
    let (store, log) = (Memory::new(), Log::default());
    let layer = layer(&store, SpendLimits::new().tokens_per_minute(1_000), &log);
    let mut service = ServiceBuilder::new().layer(InspectLayer::new()).layer(layer).service(answering(usage(20, 30)));
    let body = r#"{"model":"m","max_tokens":600}"#;
    for left in [950, 900, 850] {
        let response = service.ready().await.unwrap().call(request(CHAT, body)).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
        let charge = crate::store::Charge::new(
            "user:alice:tokens:minute",
            crate::store::Rule::Rolling { period: Duration::from_secs(60), limit: 1_000 },
            0,
        );
        assert_eq!(store.take("team:t", &[charge]).await.unwrap().usages()[0].remaining(), left);
    }
    let told = log.last();
    assert_eq!(
        (told.outcome, told.usage, told.cost),
        (SpendOutcome::Complete, Some(usage(20, 30)), Some(Money::from_nanos(50)))
    );
}

#[tokio::test(start_paused = true)]
async fn reports_tokens_beyond_the_reservation() {
    let (store, log) = (Memory::new(), Log::default());
    let beyond = Arc::new(Mutex::new(Vec::new()));
    let reported = beyond.clone();
    for limits in [SpendLimits::new().tokens_per_minute(10_000), SpendLimits::new().requests_per_minute(10)] {
        let reported = reported.clone();
        let layer = layer(&store, limits, &log).on_overshoot(move |tokens| reported.lock().unwrap().push(tokens));
        let service = InspectLayer::new().layer(layer.layer(answering(usage(10, 490))));
        for most in [490, 100] {
            let body = format!(r#"{{"model":"m","max_tokens":{most}}}"#);
            let response = service.clone().oneshot(request(CHAT, &body)).await.unwrap();
            response.into_body().collect().await.unwrap();
        }
    }
    // A third of the 30 bytes of the body, and the output that the caller allows, are reserved.
    assert_eq!(*beyond.lock().unwrap(), [500 - 110], "the output was as the caller allowed, or no tokens are limited");
}

#[tokio::test(start_paused = true)]
async fn refuses_until_the_request_fits() {
    let (store, log) = (Memory::new(), Log::default());
    let limits = SpendLimits::new().tokens_per_minute(600).requests_per_minute(10);
    let layer = layer(&store, limits, &log);
    let mut service = ServiceBuilder::new().layer(InspectLayer::new()).layer(layer).service(answering(usage(10, 490)));
    let body = r#"{"model":"m","max_tokens":490}"#;
    let response = service.ready().await.unwrap().call(request(CHAT, body)).await.unwrap();
    assert_eq!(response.headers()["x-ratelimit-limit-tokens"], "600");
    assert_eq!(response.headers()["x-ratelimit-remaining-requests"], "9");
    response.into_body().collect().await.unwrap();

    let refused = service.ready().await.unwrap().call(request(CHAT, body)).await.unwrap();
    // A third of 30 bytes and 490 are 500 tokens; 100 are left, and 10 refill in a second.
    assert_eq!(refused.headers()["retry-after"], "40");
    assert_eq!(refused.extensions().get::<LimitReached>().unwrap().window(), "minute");
    let (status, told) = error(refused).await;
    assert_eq!((status, &told["type"], &told["code"]), (429, &"tokens".into(), &"rate_limit_exceeded".into()));
    assert_eq!(log.last().outcome, SpendOutcome::Refused);

    tokio::time::advance(Duration::from_secs(40)).await;
    let passed = service.ready().await.unwrap().call(request(CHAT, body)).await.unwrap();
    assert_eq!(passed.status(), 200);
    assert_eq!(passed.headers()["x-ratelimit-remaining-requests"], "9", "the refused request used none");
}

#[tokio::test(start_paused = true)]
async fn answers_400_to_what_can_never_fit() {
    let (store, log) = (Memory::new(), Log::default());
    let service =
        layer(&store, SpendLimits::new().cost_per_day(Money::from_nanos(4_000)), &log).layer(answering(usage(1, 1)));
    let service = InspectLayer::new().layer(service);
    let (status, told) = error(service.clone().oneshot(request(CHAT, r#"{"model":"m"}"#)).await.unwrap()).await;
    assert_eq!((status, &told["code"]), (400, &"request_exceeds_limit".into()));
    let short = r#"{"model":"m","max_tokens":10}"#;
    assert_eq!(service.oneshot(request(CHAT, short)).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_used_up_is_no_quota() {
    let (store, log) = (Memory::new(), Log::default());
    let service =
        layer(&store, SpendLimits::new().cost_per_day(Money::from_nanos(100)), &log).layer(answering(usage(0, 90)));
    let service = InspectLayer::new().layer(service);
    let body = r#"{"model":"m","max_tokens":60}"#;
    let passed = service.clone().oneshot(request("/v1/messages", body)).await.unwrap();
    assert!(passed.headers().iter().all(|(name, _)| !name.as_str().contains("ratelimit")), "cost has no header");
    passed.into_body().collect().await.unwrap();
    let refused = service.oneshot(request(CHAT, body)).await.unwrap();
    let (status, told) = error(refused).await;
    assert_eq!((status, &told["code"]), (429, &"insufficient_quota".into()));
}

#[tokio::test(start_paused = true)]
async fn a_failed_request_uses_no_tokens() {
    let (store, log) = (Memory::new(), Log::default());
    let failing = service_fn(async |_: Request<Buffered>| Err::<Response<Full<Bytes>>, BoxError>("broken".into()));
    let limits = SpendLimits::new().tokens_per_minute(600).max_concurrent_requests(1);
    let service = InspectLayer::new().layer(layer(&store, limits, &log).layer(failing));
    let body = r#"{"model":"m","max_tokens":500}"#;
    for _ in 0..3 {
        assert!(service.clone().oneshot(request(CHAT, body)).await.is_err());
        assert_eq!(log.last().outcome, SpendOutcome::Failed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_in_flight_is_free_when_the_body_has_ended() {
    let (store, log) = (Memory::new(), Log::default());
    let service = layer(&store, SpendLimits::new().max_concurrent_requests(1), &log).layer(answering(usage(1, 1)));
    let service = InspectLayer::new().layer(service);
    let ask = || service.clone().oneshot(request(CHAT, r#"{"model":"m"}"#));
    let held = ask().await.unwrap();
    assert_eq!(ask().await.unwrap().status(), 429);
    drop(held);
    assert_eq!(log.last().outcome, SpendOutcome::Cancelled);
    assert_eq!(ask().await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn sends_the_assumed_output_as_the_limit() {
    let (store, log) = (Memory::new(), Log::default());
    let echo = service_fn(async |request: Request<Buffered>| {
        Ok::<_, Infallible>(Response::new(Full::new(request.into_body().into_bytes())))
    });
    let limits = SpendLimits::new().tokens_per_minute(100_000);
    let layer = layer(&store, limits, &log).assume_output_tokens(77).cap_output(true);
    let service = InspectLayer::new().layer(layer.layer(echo));
    for (path, body, sent) in [
        (CHAT, r#"{"model":"m","messages":[]}"#, r#"{"model":"m","max_completion_tokens":77,"messages":[]}"#),
        (CHAT, r#"{"model":"m","max_tokens":5}"#, r#"{"model":"m","max_tokens":5}"#),
        (CHAT, r#"{"max_completion_tokens": null,"model":"m"}"#, r#"{"max_completion_tokens": 77,"model":"m"}"#),
        (CHAT, r#"{"model":"m","max_completion_tokens":"5"}"#, r#"{"model":"m","max_completion_tokens":"5"}"#),
        ("/v1/responses", r#"{"model":"m"}"#, r#"{"model":"m","max_output_tokens":77}"#),
        ("/v1/embeddings", r#"{"model":"m"}"#, r#"{"model":"m"}"#),
    ] {
        let response = service.clone().oneshot(request(path, body)).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), sent);
    }
}

/// Asks a cheap backend that fails, then a dear one, as a retry does.
async fn fail_over(store: &Memory, limit: u64, log: &Log) -> Result<Response<Full<Bytes>>, BoxError> {
    let find = |extensions: &http::Extensions| {
        let model = extensions.get::<&'static str>()?;
        Some(("m".into(), BackendId { provider: "p".into(), model: (*model).into() }))
    };
    let backend = service_fn(async |request: Request<Buffered>| {
        let is_dear = request.extensions().get() == Some(&"dear");
        let progress = Progress::new(CommitPoint::Whole, Grammar::Opaque);
        progress.set_usage(Some(if is_dear { usage(20, 10) } else { usage(5, 0) }));
        let mut response = Response::new(Full::new(Bytes::from("{}")));
        *response.status_mut() = http::StatusCode::from_u16(if is_dear { 200 } else { 500 }).unwrap();
        response.extensions_mut().insert(progress);
        Ok::<_, Infallible>(response)
    });
    let attempt = RepriceLayer::new(find).layer(backend);
    let retry = service_fn(move |mut request: Request<Buffered>| {
        let mut attempt = attempt.clone();
        async move {
            request.extensions_mut().insert("cheap");
            let _ = attempt.ready().await?.call(request.clone()).await?;
            request.extensions_mut().insert("dear");
            attempt.ready().await?.call(request).await
        }
    });
    let layer = layer(store, SpendLimits::new().cost_per_day(Money::from_nanos(limit)), log);
    let service = InspectLayer::new().layer(layer.layer(retry));
    let response = service.oneshot(request(CHAT, r#"{"model":"m","max_tokens":10}"#)).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|_| "the body failed")?.to_bytes();
    Ok(Response::from_parts(head, Full::new(body)))
}

#[tokio::test(start_paused = true)]
async fn a_dearer_attempt_reserves_more_and_failed_ones_are_wasted() {
    let (store, log) = (Memory::new(), Log::default());
    // 29 bytes and 10 tokens: 39 at the cheap backend, 390 at the dear one.
    let response = fail_over(&store, 1_000, &log).await.unwrap();
    assert_eq!(response.status(), 200);
    let told = log.last();
    assert_eq!((told.backend.as_deref(), told.usage), (Some("p:dear"), Some(usage(20, 10))));
    assert_eq!((told.cost, told.wasted), (Some(Money::from_nanos(300)), Money::from_nanos(5)));
    // After three of them 900 of 1000 are used: 39 fit, and 390 do not.
    for _ in 0..2 {
        assert!(fail_over(&store, 1_000, &log).await.is_ok());
    }
    let refused = fail_over(&store, 1_000, &log).await.unwrap_err();
    let exceeded = refused.downcast_ref::<SpendExceeded>().unwrap();
    assert_eq!(exceeded.refusal().code.as_deref(), Some("insufficient_quota"));
    assert_eq!(log.last().outcome, SpendOutcome::Refused);
}

#[tokio::test]
async fn constructors_wrap_a_service_as_the_layers_do() {
    let service = |_: Request<Buffered>| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))) };
    let limits = SpendLimits::new().requests_per_minute(1);
    let spent = account(limits);
    let mut spend = Spend::new(service_fn(service), Arc::new(Memory::new()), move |_| Some(spent.clone()));
    assert_eq!(spend.get_ref() as *const _, spend.get_mut() as *const _);
    for status in [200, 429] {
        let mut request = Request::post(CHAT).body(Buffered::from(r#"{"model":"m"}"#)).unwrap();
        let requested = crate::inspect::Requested::read(request.body().bytes()).unwrap().with_path(CHAT);
        request.extensions_mut().insert(requested);
        assert_eq!(spend.ready().await.unwrap().call(request).await.unwrap().status(), status);
    }
    let mut inner = spend.into_inner();
    assert_eq!(inner.call(Request::default()).await.unwrap().status(), 200);
}

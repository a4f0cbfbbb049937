use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use tokio::time::advance;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::*;
use crate::render::Refusal;

/// `Full` is boxed so that its end is only known once it has been read.
#[derive(Debug)]
struct TestBody(BoxBody<Bytes, Infallible>);

impl Body for TestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }
}

async fn hello(_: Request<()>) -> Result<Response<TestBody>, BoxError> {
    Ok(Response::new(TestBody(Full::new(Bytes::from("hello")).boxed())))
}

fn quota(limits: Limits) -> Arc<Quota> {
    Arc::new(Quota::new(limits))
}

fn request(quota: &Arc<Quota>) -> Request<()> {
    Request::builder().extension(Arc::clone(quota)).body(()).unwrap()
}

fn assigned(head: &Parts) -> Option<Arc<Quota>> {
    head.extensions.get().cloned()
}

fn limited(taken: &Result<Allowance, Exceeded>) -> Option<(LimitKind, Duration)> {
    let exceeded = taken.as_ref().err()?;
    exceeded.kind().zip(exceeded.retry_after())
}

const MINUTE: LimitKind = LimitKind::Window(Window::MINUTE);

#[tokio::test(start_paused = true)]
async fn bucket_holds_n_requests_and_refills_evenly() {
    let quota = quota(Limits::new().per_minute(3));
    for remaining in [2, 1, 0] {
        assert_eq!(quota.acquire().unwrap().usage().unwrap().remaining, remaining);
    }
    assert_eq!(limited(&quota.acquire()), Some((MINUTE, Duration::from_secs(20))));
    advance(Duration::from_secs(19)).await;
    assert_eq!(limited(&quota.acquire()), Some((MINUTE, Duration::from_secs(1))));
    advance(Duration::from_secs(1)).await;
    assert!(quota.acquire().is_ok());
    assert!(quota.acquire().is_err());
}

#[tokio::test(start_paused = true)]
async fn refusal_uses_nothing_of_any_window() {
    let quota = quota(Limits::new().per_minute(5).per_hour(2).per_day(100));
    assert!(quota.acquire().is_ok());
    assert!(quota.acquire().is_ok());
    let before = quota.usage();
    assert_eq!(limited(&quota.acquire()).unwrap().0, LimitKind::Window(Window::HOUR));
    assert_eq!(quota.usage(), before);
    assert_eq!(before.get(Window::MINUTE).unwrap().remaining, 3);
    assert_eq!(before.get(Window::DAY).unwrap().remaining, 98);
    assert_eq!(before.tightest().unwrap().window, Window::HOUR);
}

#[tokio::test(start_paused = true)]
async fn usage_follows_the_clock_and_uses_nothing() {
    let quota = quota(Limits::new().per_minute(4));
    assert!(quota.acquire().is_ok());
    assert!(quota.acquire().is_ok());
    let left = || quota.usage().get(Window::MINUTE).unwrap();
    assert_eq!((left().remaining, left().reset), (2, Duration::from_secs(30)));
    advance(Duration::from_secs(10)).await;
    assert_eq!((left().remaining, left().reset), (2, Duration::from_secs(20)));
    advance(Duration::from_secs(5)).await;
    assert_eq!((left().remaining, left().reset), (3, Duration::from_secs(15)));
    advance(Duration::from_secs(3600)).await;
    assert_eq!((left().remaining, left().reset), (4, Duration::ZERO));
    assert!(quota.is_unused());
}

#[tokio::test(start_paused = true)]
async fn checks_concurrency_before_the_windows() {
    let quota = quota(Limits::new().per_minute(9).concurrent(2));
    let (a, b) = (quota.acquire().unwrap(), quota.acquire().unwrap());
    let refused = quota.acquire();
    assert_eq!(limited(&refused), Some((LimitKind::Concurrency, Duration::from_secs(1))));
    assert_eq!(quota.usage().get(Window::MINUTE).unwrap().remaining, 7);
    drop(a);
    let c = quota.acquire().unwrap();
    assert_eq!(quota.usage().in_flight, 2);
    drop((b, c));
    assert_eq!(quota.usage().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn window_that_refuses_gives_the_slot_back() {
    let quota = quota(Limits::new().per_minute(1).concurrent(2));
    drop(quota.acquire());
    assert_eq!(limited(&quota.acquire()).unwrap().0, MINUTE);
    assert_eq!(quota.usage().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn renewed_quota_keeps_what_is_used_and_in_flight() {
    let old = quota(Limits::new().per_day(100).concurrent(2));
    let held = [old.acquire().unwrap(), old.acquire().unwrap()];
    assert!(old.acquire().is_err());
    let new = Quota::renew(Some(&old), Limits::new().per_day(50).per_minute(9).concurrent(2));
    assert_eq!(limited(&new.acquire()).unwrap().0, LimitKind::Concurrency);
    drop(held);
    assert_eq!(new.usage().get(Window::DAY).unwrap().remaining, 48);
    assert_eq!(new.usage().get(Window::MINUTE).unwrap().remaining, 9);
    assert!(new.acquire().is_ok());
    assert_eq!((old.usage().in_flight, new.usage().in_flight), (0, 0));
    // A limit below what is used leaves an empty bucket, which refills at the new rate.
    let small = Quota::renew(Some(&new), Limits::new().per_day(2));
    assert_eq!(limited(&small.acquire()).unwrap(), (LimitKind::Window(Window::DAY), Duration::from_secs(43_200)));
}

#[test]
fn renewed_quota_with_the_same_limits_is_the_old_one() {
    let limits = Limits::new().per_minute(2);
    let old = quota(limits.clone());
    assert!(Arc::ptr_eq(&old, &Quota::renew(Some(&old), limits.clone())));
    assert!(!Arc::ptr_eq(&old, &Quota::renew(Some(&old), limits.clone().per_hour(9))));
    assert_eq!(Quota::renew(None, limits.clone()).limits(), &limits);
}

#[tokio::test(start_paused = true)]
async fn limit_of_zero_admits_nothing() {
    let none = quota(Limits::new().per_minute(0));
    assert_eq!(limited(&none.acquire()), Some((MINUTE, Duration::from_secs(60))));
    advance(Duration::from_secs(3_600)).await;
    assert!(none.acquire().is_err());
    assert!(quota(Limits::new().concurrent(0)).acquire().is_err());
    assert!(quota(Limits::new()).acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn window_has_any_length_and_burst() {
    let quota = quota(Limits::new().window(WindowLimit::new(10, Duration::from_secs(5)).burst(2)));
    let window = Window::from(Duration::from_secs(5));
    assert!(quota.acquire().is_ok() && quota.acquire().is_ok());
    assert_eq!(limited(&quota.acquire()), Some((LimitKind::Window(window), Duration::from_millis(500))));
    advance(Duration::from_millis(500)).await;
    assert!(quota.acquire().is_ok());
    assert!(quota.acquire().is_err());
}

#[test]
fn extreme_windows_do_not_overflow() {
    for (limit, period, burst) in [
        (1, Duration::MAX, u32::MAX),
        (u32::MAX, Duration::MAX, u32::MAX),
        (u32::MAX, Duration::ZERO, u32::MAX),
        (0, Duration::ZERO, 0),
        (1, Duration::from_nanos(1), 0),
    ] {
        let quota = quota(Limits::new().window(WindowLimit::new(limit, period).burst(burst)));
        assert_eq!(quota.acquire().is_ok(), limit > 0);
        let _ = (quota.acquire().is_ok(), quota.usage());
        let _ = Quota::renew(Some(&quota), Limits::new().window(WindowLimit::new(7, period))).acquire();
    }
}

#[tokio::test(start_paused = true)]
async fn reports_the_tightest_window_in_both_responses() {
    let quota = quota(Limits::new().per_minute(1).per_hour(10));
    let service = RateLimit::new(service_fn(hello), QuotaFromRequest::new(assigned));
    let header = |r: &Response<_>, name: &str| r.headers().get(name).map(|v| v.to_str().unwrap().to_owned());

    let passed = service.clone().oneshot(request(&quota)).await.unwrap();
    assert_eq!(header(&passed, "x-ratelimit-limit-requests").unwrap(), "1");
    assert_eq!(header(&passed, "x-ratelimit-remaining-requests").unwrap(), "0");
    assert_eq!(header(&passed, "x-ratelimit-reset-requests").unwrap(), "1m0s");
    assert_eq!(header(&passed, "retry-after"), None);

    advance(Duration::from_millis(500)).await;
    let refused = service.oneshot(request(&quota)).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(header(&refused, "retry-after").unwrap(), "60");
    assert_eq!(header(&refused, "retry-after-ms").unwrap(), "59500");
    assert_eq!(header(&refused, "x-ratelimit-reset-requests").unwrap(), "59.5s");
    assert_eq!(refused.extensions().get(), Some(&MINUTE));
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let error: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(error["error"]["type"], "requests");
    assert_eq!(error["error"]["code"], "rate_limit_exceeded");
}

#[tokio::test]
async fn holds_a_slot_until_the_body_ends_fails_or_is_dropped() {
    let quota = quota(Limits::new().concurrent(1));
    let in_flight = || quota.usage().in_flight;
    let service = RateLimit::new(service_fn(hello), QuotaFromRequest::new(assigned));

    let response = service.clone().oneshot(request(&quota)).await.unwrap();
    assert_eq!(in_flight(), 1);
    assert_eq!(service.clone().oneshot(request(&quota)).await.unwrap().status(), 429);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(in_flight(), 0);

    drop(service.clone().oneshot(request(&quota)).await.unwrap());
    assert_eq!(in_flight(), 0, "a body that was dropped");

    let failing = service_fn(|_: Request<()>| async { Err::<Response<TestBody>, _>(BoxError::from("no")) });
    assert!(RateLimit::new(failing, QuotaFromRequest::new(assigned)).oneshot(request(&quota)).await.is_err());
    assert_eq!(in_flight(), 0, "a future that failed");

    let hanging = service_fn(|_: Request<()>| std::future::pending::<Result<Response<TestBody>, BoxError>>());
    let mut service = RateLimit::new(hanging, QuotaFromRequest::new(assigned));
    let future = service.ready().await.unwrap().call(request(&quota));
    assert_eq!(in_flight(), 1);
    drop(future);
    assert_eq!(in_flight(), 0, "a future that was dropped");
}

#[tokio::test]
async fn missing_required_key_is_an_internal_error() {
    let service = RateLimit::new(service_fn(hello), QuotaFromRequest::new(assigned));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap().status(), 200);
    let strict = RateLimit::new(service_fn(hello), QuotaFromRequest::new(assigned).require_key());
    let response = strict.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 500);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(std::str::from_utf8(&body).unwrap().contains("internal_error"));
}

fn all_share(limits: Limits) -> PerKey<u8, impl Fn(&Parts) -> Option<u8> + Clone> {
    PerKey::new(limits, |_: &Parts| Some(0))
}

async fn remaining<S, B>(service: &mut S) -> (u16, String)
where
    S: Service<Request<()>, Response = Response<B>, Error = BoxError>,
{
    let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    let remaining = response.headers()["x-ratelimit-remaining-requests"].to_str().unwrap().to_owned();
    (response.status().as_u16(), remaining)
}

#[tokio::test(start_paused = true)]
async fn of_two_stacked_limits_the_tighter_one_is_reported() {
    let (minute, hour) = (Limits::new().per_minute(1), Limits::new().per_hour(1_000));
    for (outer, inner) in [(&hour, &minute), (&minute, &hour)] {
        let inner = RateLimit::new(service_fn(hello), all_share(inner.clone()));
        let mut service = RateLimit::new(inner, all_share(outer.clone()));
        assert_eq!(remaining(&mut service).await, (200, "0".to_owned()));
        assert_eq!(remaining(&mut service).await, (429, "0".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_reports_the_limit_that_refused() {
    // The outer limit has fewer requests left than the inner one, which refuses for concurrency.
    let quota = quota(Limits::new().per_hour(1_000).concurrent(1));
    let held = quota.acquire().unwrap();
    let inner = RateLimit::new(service_fn(hello), QuotaFromRequest::new(assigned));
    let service = RateLimit::new(inner, all_share(Limits::new().per_minute(2)));
    let response = service.oneshot(request(&quota)).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["x-ratelimit-limit-requests"], "1000");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn headers_have_the_names_of_the_application_or_none() {
    let [limit, left, reset] =
        ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"].map(HeaderName::from_static);
    let layer = RateLimitLayer::new(all_share(Limits::new().per_minute(3)));
    let own = layer.clone().headers(RateLimitHeaders::in_seconds(limit, left, reset)).layer(service_fn(hello));
    let headers = own.oneshot(Request::new(())).await.unwrap().into_parts().0.headers;
    let value = |name: &str| headers[name].to_str().unwrap();
    assert_eq!([value("ratelimit-limit"), value("ratelimit-remaining"), value("ratelimit-reset")], ["3", "2", "20"]);
    let none = layer.headers(None).layer(service_fn(hello));
    assert!(none.oneshot(Request::new(())).await.unwrap().headers().is_empty());
}

#[tokio::test]
async fn asynchronous_limit_is_awaited_and_its_guard_kept_with_the_body() {
    let open = Arc::new(());
    let store = Arc::clone(&open);
    let limit = move |head: &Parts| {
        let (allowed, guard) = (head.uri.path() != "/no", Arc::clone(&store));
        async move {
            tokio::task::yield_now().await;
            if allowed {
                Ok(Allowance::default().with_guard(guard))
            } else {
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the store is down").into())
            }
        }
    };
    let service = RateLimitLayer::new(limit).layer(service_fn(hello));
    let response = service.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!(Arc::strong_count(&open), 3, "the test, the closure and the response");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(Arc::strong_count(&open), 2);
    let request = Request::get("/no").body(()).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 503);
}

#[tokio::test]
async fn local_limit_needs_no_clone() {
    let inner = tower::util::BoxService::new(service_fn(hello));
    let mut service = RateLimit::new(inner, all_share(Limits::new().per_minute(1)));
    assert_eq!(remaining(&mut service).await.0, 200);
    assert_eq!(remaining(&mut service).await.0, 429);
}

#[tokio::test]
async fn a_refusal_counts_in_plain_english() {
    for (limit, expected) in [(1, "rate limit of 1 request per minute"), (2, "rate limit of 2 requests per minute")] {
        let service = RateLimitLayer::new(all_share(Limits::new().per_minute(limit))).layer(service_fn(hello));
        for _ in 0..limit {
            assert_eq!(service.clone().oneshot(Request::new(())).await.unwrap().status(), 200);
        }
        let refused = service.oneshot(Request::new(())).await.unwrap();
        let body = refused.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains(expected), "{body:?}");
    }
}

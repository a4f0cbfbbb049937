use std::convert::Infallible;

use http_body_util::{BodyExt, Full, combinators::BoxBody};
use tokio::time::{Instant, advance};
use tower::{BoxError, ServiceExt, service_fn};

use super::*;

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

fn assigned(head: &Parts) -> Option<&Arc<Quota>> {
    head.extensions.get()
}

fn limited(taken: &Result<Allowance, Exceeded>) -> Option<(LimitKind, Duration)> {
    match taken {
        Err(Exceeded::Limit { limited, retry_after, .. }) => Some((*limited, *retry_after)),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_holds_n_and_refills_evenly() {
    let quota = quota(Limits::new().per_minute(3));
    for remaining in [2, 1, 0] {
        assert_eq!(quota.take().unwrap().usage.unwrap().remaining, remaining);
    }
    assert_eq!(limited(&quota.take()), Some((LimitKind::Minute, Duration::from_secs(20))));
    advance(Duration::from_secs(19)).await;
    assert_eq!(limited(&quota.take()), Some((LimitKind::Minute, Duration::from_secs(1))));
    advance(Duration::from_secs(1)).await;
    assert!(quota.take().is_ok());
    assert!(quota.take().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_spends_nothing_in_any_window() {
    let quota = quota(Limits::new().per_minute(5).per_hour(2).per_day(100));
    assert!(quota.take().is_ok());
    assert!(quota.take().is_ok());
    let before = quota.snapshot(Instant::now());
    assert_eq!(limited(&quota.take()).unwrap().0, LimitKind::Hour);
    assert_eq!(quota.snapshot(Instant::now()), before);
    assert_eq!(before.minute.unwrap().remaining, 3);
    assert_eq!(before.day.unwrap().remaining, 98);
    assert_eq!(before.tightest().unwrap().window, Window::Hour);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_moves_with_the_clock_and_spends_nothing() {
    let quota = quota(Limits::new().per_minute(4));
    assert!(quota.take().is_ok());
    assert!(quota.take().is_ok());
    let left = || quota.snapshot(Instant::now()).minute.unwrap();
    assert_eq!((left().remaining, left().reset), (2, Duration::from_secs(30)));
    advance(Duration::from_secs(10)).await;
    assert_eq!((left().remaining, left().reset), (2, Duration::from_secs(20)));
    advance(Duration::from_secs(5)).await;
    assert_eq!((left().remaining, left().reset), (3, Duration::from_secs(15)));
    advance(Duration::from_secs(3600)).await;
    assert_eq!((left().remaining, left().reset), (4, Duration::ZERO));
    assert!(quota.is_unused(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_looked_at_before_the_windows_are_spent() {
    let quota = quota(Limits::new().per_minute(9).concurrent(2));
    let (a, b) = (quota.take().unwrap(), quota.take().unwrap());
    let refused = quota.take();
    assert_eq!(limited(&refused), Some((LimitKind::Concurrency, Duration::from_secs(1))));
    assert_eq!(quota.snapshot(Instant::now()).minute.unwrap().remaining, 7);
    drop(a);
    let c = quota.take().unwrap();
    assert_eq!(quota.snapshot(Instant::now()).in_flight, 2);
    drop((b, c));
    assert_eq!(quota.snapshot(Instant::now()).in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_refuses_gives_the_place_back() {
    let quota = quota(Limits::new().per_minute(1).concurrent(2));
    drop(quota.take());
    assert_eq!(limited(&quota.take()).unwrap().0, LimitKind::Minute);
    assert_eq!(quota.snapshot(Instant::now()).in_flight, 0);
}

#[test]
fn a_reload_keeps_what_is_spent_unless_the_limits_change() {
    let limits = Limits::new().per_minute(2);
    let old = quota(limits);
    assert!(Arc::ptr_eq(&old, &Quota::renew(Some(&old), limits)));
    assert!(!Arc::ptr_eq(&old, &Quota::renew(Some(&old), limits.per_hour(9))));
    assert_eq!(Quota::renew(None, limits).limits(), limits);
}

#[tokio::test(start_paused = true)]
async fn headers_tell_of_the_tightest_window_in_both_answers() {
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
    assert_eq!(refused.extensions().get(), Some(&LimitKind::Minute));
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let error: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(error["error"]["type"], "requests");
    assert_eq!(error["error"]["code"], "rate_limit_exceeded");
}

#[tokio::test]
async fn a_place_is_held_until_the_body_ends_fails_or_is_dropped() {
    let quota = quota(Limits::new().concurrent(1));
    let in_flight = || quota.snapshot(Instant::now()).in_flight;
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
async fn a_required_key_that_is_missing_is_a_fault_of_the_stack() {
    let service = RateLimit::new(service_fn(hello), QuotaFromRequest::new(assigned));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap().status(), 200);
    let strict = RateLimit::new(service_fn(hello), QuotaFromRequest::new(assigned).require_key());
    let response = strict.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 500);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(std::str::from_utf8(&body).unwrap().contains("internal_error"));
}

#[test]
fn durations_are_written_as_go_writes_them() {
    for (millis, text) in [
        (0, "0s"),
        (20, "20ms"),
        (1_000, "1s"),
        (1_500, "1.5s"),
        (1_050, "1.05s"),
        (360_000, "6m0s"),
        (3_600_000, "1h0m0s"),
        (86_399_999, "23h59m59.999s"),
    ] {
        assert_eq!(go_duration(Duration::from_millis(millis)), text);
    }
    assert_eq!(go_duration(Duration::from_nanos(1)), "1ms", "rounded up");
}

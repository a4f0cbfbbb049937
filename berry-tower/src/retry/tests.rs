#![allow(clippy::unwrap_used, reason = "tests may panic, and so may their helpers")]

use std::{
    convert::Infallible,
    io,
    sync::{
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc::{Sender, channel},
    },
};

use bytes::Bytes;
use http::{Method, StatusCode, response::Parts};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep, timeout};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::{
    attempt::{Attempt, BackendId},
    classify::{Class, RequestFacts},
    error::{BreakerOpen, Exhausted, TotalTimeout, Unroutable, find},
};

type FullResponse = Response<Full<Bytes>>;

fn status(status: u16) -> FullResponse {
    Response::builder().status(status).body(Full::from("the body")).unwrap()
}

/// A service that counts its calls and answers with the status that `answer` returns for each.
fn counted(
    answer: impl Fn(u32) -> u16 + Clone + Send + Sync + 'static,
) -> (
    Arc<AtomicU32>,
    impl Service<Request<Buffered>, Response = FullResponse, Error = Infallible, Future: Send> + Clone + Send,
) {
    let calls = Arc::new(AtomicU32::new(0));
    let counter = calls.clone();
    let service = service_fn(move |_: Request<Buffered>| {
        let response = status(answer(counter.fetch_add(1, Relaxed)));
        std::future::ready(Ok(response))
    });
    (calls, service)
}

/// Three attempts, the same time apart.
fn every(wait: Duration) -> impl RetryPolicy + Copy {
    move |failed: &FailedAttempt<'_>| {
        if failed.attempts() < 3 { Decision::RetryAfter(wait) } else { Decision::Stop }
    }
}

fn always(decision: Decision) -> impl RetryPolicy + Copy {
    move |_: &FailedAttempt<'_>| decision
}

#[tokio::test(start_paused = true)]
async fn passes_last_response_on_whatever_its_status() {
    for code in [304, 302, 401, 404, 503] {
        let (_, service) = counted(move |_| code);
        let response = Retry::new(service, BackoffPolicy::new()).oneshot(Request::default()).await.unwrap();
        assert_eq!(response.status(), code);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "the body");
    }
}

#[tokio::test(start_paused = true)]
async fn total_timeout_covers_waits() {
    let (calls, service) = counted(|_| 503);
    let start = Instant::now();
    let layer = RetryLayer::new(every(Duration::from_secs(3600))).total_timeout(Some(Duration::from_secs(1)));
    let response = layer.layer(service).oneshot(Request::default()).await.unwrap();
    assert_eq!((response.status(), calls.load(Relaxed)), (StatusCode::SERVICE_UNAVAILABLE, 1));
    assert_eq!(start.elapsed(), Duration::ZERO, "a wait past the deadline is not started");
}

#[tokio::test(start_paused = true)]
async fn total_timeout_covers_attempts() {
    let hanging = service_fn(async |_: Request<Buffered>| {
        sleep(Duration::from_secs(3600)).await;
        Ok::<_, Infallible>(status(200))
    });
    let start = Instant::now();
    let layer = RetryLayer::new(BackoffPolicy::new()).total_timeout(Some(Duration::from_secs(1)));
    let error = layer.layer(hanging).oneshot(Request::default()).await.unwrap_err();
    assert!(error.is::<TotalTimeout>(), "{error}");
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

#[tokio::test]
async fn total_timeout_ends_attempts_that_are_answered_at_once() {
    let (calls, service) = counted(|_| 503);
    let layer = RetryLayer::new(always(Decision::RetryNow))
        .budget(Arc::new(Budget::new(f64::INFINITY, 0)))
        .total_timeout(Some(Duration::from_millis(20)));
    let response = timeout(Duration::from_secs(10), layer.layer(service).oneshot(Request::default())).await.unwrap();
    assert!(calls.load(Relaxed) > 1);
    assert!(response.is_err() || response.unwrap().status() == 503);
}

#[tokio::test(start_paused = true)]
async fn unlimited_and_huge_total_timeouts_do_not_overflow() {
    for total in [None, Some(Duration::MAX)] {
        let (_, service) = counted(|call| if call == 0 { 503 } else { 200 });
        let layer = RetryLayer::new(BackoffPolicy::new()).total_timeout(total);
        assert_eq!(layer.layer(service).oneshot(Request::default()).await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn budget_bounds_waits_of_own_policies() {
    for decision in [Decision::RetryNow, Decision::RetryAfter(Duration::from_millis(1))] {
        let (calls, service) = counted(|_| 503);
        let layer = RetryLayer::new(always(decision)).budget(Arc::new(Budget::new(0.0, 0)));
        let response = layer.layer(service).oneshot(Request::default()).await.unwrap();
        assert_eq!((response.status().as_u16(), calls.load(Relaxed)), (503, 1), "{decision:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_response_is_dropped_before_wait() {
    #[derive(Debug)]
    struct Held(Sender<Instant>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.send(Instant::now()).unwrap();
        }
    }
    impl Body for Held {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(None)
        }
    }
    let (sender, dropped) = channel();
    let service = service_fn(move |_: Request<Buffered>| {
        let response = Response::builder().status(503).body(Held(sender.clone())).unwrap();
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let start = Instant::now();
    let _last = Retry::new(service, every(Duration::from_secs(5))).oneshot(Request::default()).await.unwrap();
    assert_eq!(dropped.try_iter().next(), Some(start));
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn exhausted_has_error_of_attempt_as_source() {
    let service = service_fn(async |_: Request<Buffered>| Err::<FullResponse, _>(io::Error::other("disk full")));
    let error = Retry::new(service, BackoffPolicy::new()).oneshot(Request::default()).await.unwrap_err();
    assert_eq!(error.source().and_then(|source| source.downcast_ref::<io::Error>()).unwrap().to_string(), "disk full");
    assert!(find::<Exhausted>(&*error).is_some());
}

#[tokio::test(start_paused = true)]
async fn timeout_of_tower_is_a_timeout() {
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(BackoffPolicy::new().with_max_retries(0)))
        .timeout(Duration::from_secs(1))
        .service(service_fn(async |_: Request<Buffered>| {
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(status(200))
        }));
    let error = service.oneshot(Request::default()).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Exhausted>().unwrap().class, Class::Timeout);
}

#[test]
fn works_without_timer_until_a_wait_is_due() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        // Neither a wait nor a total timeout.
        let (_, service) = counted(|call| if call == 0 { 503 } else { 200 });
        let response = Retry::new(service, always(Decision::RetryNow)).oneshot(Request::default()).await;
        assert_eq!(response.unwrap().status(), 200);

        let (_, service) = counted(|_| 503);
        let error = Retry::new(service, every(Duration::from_secs(1))).oneshot(Request::default()).await.unwrap_err();
        assert!(error.is::<MissingTimer>(), "{error}");

        let hanging = service_fn(async |_: Request<Buffered>| {
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(status(200))
        });
        let layer = RetryLayer::new(BackoffPolicy::new()).total_timeout(Some(Duration::from_secs(1)));
        let error = layer.layer(hanging).oneshot(Request::default()).await.unwrap_err();
        assert!(error.is::<MissingTimer>(), "{error}");
    });
}

#[tokio::test(start_paused = true)]
async fn idempotent_policy_leaves_post_alone() {
    for (method, expected) in [(Method::GET, 2), (Method::PUT, 2), (Method::POST, 1), (Method::PATCH, 1)] {
        let (calls, service) = counted(|call| if call == 0 { 503 } else { 200 });
        let request = Request::builder().method(&method).body(Buffered::default()).unwrap();
        Retry::new(service, IdempotentPolicy::new(BackoffPolicy::new())).oneshot(request).await.unwrap();
        assert_eq!(calls.load(Relaxed), expected, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn policy_sees_request_and_outcome() {
    let (sender, seen) = channel();
    let policy = move |failed: &FailedAttempt<'_>| {
        sender
            .send((failed.attempts(), failed.repeats(), failed.class(), failed.status().map(|s| s.as_u16())))
            .unwrap();
        assert_eq!(failed.request().path(), "/orders");
        assert!(failed.only_tried_left() && !failed.has_selection());
        assert!((0.0..1.0).contains(&failed.jitter()));
        assert_eq!(failed.remaining(), Some(Duration::from_secs(9)));
        if failed.attempts() < 2 { Decision::RetryNow } else { Decision::Stop }
    };
    let (_, service) = counted(|_| 503);
    let layer = RetryLayer::new(policy).total_timeout(Some(Duration::from_secs(9)));
    layer.layer(service).oneshot(Request::get("/orders").body(Buffered::default()).unwrap()).await.unwrap();
    assert_eq!(
        seen.try_iter().collect::<Vec<_>>(),
        [(1, 0, Class::Server, Some(503)), (2, 1, Class::Server, Some(503))]
    );
}

#[tokio::test(start_paused = true)]
async fn open_breaker_is_not_retried() {
    let service = service_fn(async |_: Request<Buffered>| {
        Err::<FullResponse, _>(BreakerOpen { retry_after: Duration::from_secs(1) })
    });
    let error = Retry::new(service, BackoffPolicy::new()).oneshot(Request::default()).await.unwrap_err();
    assert!(error.is::<BreakerOpen>());
}

/// A selection among so many backends that never forgets a fallback.
#[derive(Clone, Debug)]
struct Endless {
    refuses: bool,
}

impl Service<Request<Buffered>> for Endless {
    type Response = FullResponse;
    type Error = BoxError;
    type Future = std::future::Ready<Result<FullResponse, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Buffered>) -> Self::Future {
        if self.refuses {
            return std::future::ready(Err(Unroutable::OnlyTriedLeft { soonest: Duration::ZERO }.into()));
        }
        let attempt = request.extensions().get::<Attempt>().unwrap();
        attempt.record_backend(BackendId { provider: "p".into(), model: "m".into() });
        std::future::ready(Ok(status(503)))
    }
}

#[tokio::test(start_paused = true)]
async fn ends_although_every_fallback_is_refused() {
    for decision in [Decision::RetryNow, Decision::Fallback, Decision::RetryAfter(Duration::ZERO)] {
        let layer = RetryLayer::new(always(decision)).budget(Arc::new(Budget::new(f64::INFINITY, 0)));
        let error = layer.layer(Endless { refuses: true }).oneshot(Request::default()).await.unwrap_err();
        assert!(error.is::<Unroutable>(), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn selection_that_repeats_backends_unasked_is_paid_for() {
    let layer = RetryLayer::new(always(Decision::Fallback)).budget(Arc::new(Budget::new(0.0, 0)));
    let error = layer.layer(Endless { refuses: false }).oneshot(Request::default()).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Exhausted>().unwrap().attempts, 2);
}

/// Every response is too long for the model.
#[derive(Clone, Copy, Debug)]
struct TooLong;

impl Classify for TooLong {
    fn response(&self, _: &RequestFacts, _: &Parts, _: Option<&crate::classify::ErrorBody>) -> Class {
        Class::TooLong
    }

    fn error(&self, _: &RequestFacts, _: &(dyn std::error::Error + 'static)) -> Class {
        Class::Network
    }
}

/// A body that never ends, or that ends with trailers after a text.
#[derive(Debug)]
enum TestBody {
    Hangs,
    Frames(Vec<Frame<Bytes>>),
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Hangs => Poll::Pending,
            Self::Frames(frames) => Poll::Ready(frames.pop().map(Ok)),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A selection of one backend without fallbacks, which answers with this body.
fn one_backend(
    body: impl Fn() -> TestBody + Clone,
) -> impl Service<Request<Buffered>, Response = Response<TestBody>, Error = BoxError, Future: Send> + Clone {
    service_fn(move |request: Request<Buffered>| {
        let attempt = request.extensions().get::<Attempt>().unwrap();
        std::future::ready(if attempt.fallback_index() == 0 {
            attempt.record_backend(BackendId { provider: "p".into(), model: "m".into() });
            Ok(Response::builder().status(413).body(body()).unwrap())
        } else {
            Err(Unroutable::NoCandidates { has_fallback: false }.into())
        })
    })
}

#[tokio::test(start_paused = true)]
async fn total_timeout_covers_reading_of_kept_response() {
    let layer = RetryLayer::new(BackoffPolicy::new()).classify(TooLong).total_timeout(Some(Duration::from_secs(1)));
    let start = Instant::now();
    let error = layer.layer(one_backend(|| TestBody::Hangs)).oneshot(Request::default()).await.unwrap_err();
    assert!(error.is::<TotalTimeout>(), "{error}");
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn kept_response_keeps_body_and_trailers() {
    let body = || {
        let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
        TestBody::Frames(vec![Frame::trailers(trailers), Frame::data(Bytes::from("too long"))])
    };
    let layer = RetryLayer::new(BackoffPolicy::new()).classify(TooLong);
    let response = layer.layer(one_backend(body)).oneshot(Request::default()).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(response.extensions().get::<Attempt>().unwrap().number(), 1);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "too long");
}

#[tokio::test(start_paused = true)]
async fn too_long_response_passes_unread_without_selection() {
    let service = service_fn(async |_: Request<Buffered>| {
        Ok::<_, Infallible>(Response::builder().status(413).body(TestBody::Hangs).unwrap())
    });
    let layer = RetryLayer::new(BackoffPolicy::new()).classify(TooLong);
    assert_eq!(layer.layer(service).oneshot(Request::default()).await.unwrap().status(), 413);
}

/// Collects the log lines of this thread as `level message field=value …`.
#[derive(Debug)]
struct Lines(Sender<String>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("berry_tower::retry")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
                use fmt::Write as _;
                match field.name() {
                    "message" => write!(self.0, " {value:?}").unwrap(),
                    name => write!(self.0, " {name}={value:?}").unwrap(),
                }
            }
        }
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.send(line.0).unwrap();
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Sends a request to a selection of one model with a fallback, both of one backend, which answers
/// with these statuses in turn; returns the log lines.
async fn logged(layer: RetryLayer<BackoffPolicy>, statuses: &'static [u16], fallbacks: u32) -> Vec<String> {
    let (sender, lines) = channel();
    let calls = Arc::new(AtomicU32::new(0));
    let service = service_fn(move |request: Request<Buffered>| {
        let attempt = request.extensions().get::<Attempt>().unwrap();
        let index = attempt.fallback_index();
        std::future::ready(if index > fallbacks {
            Err(BoxError::from(Unroutable::NoCandidates { has_fallback: false }))
        } else if attempt.tried().any(|tried| tried.fallback_index == index) && !attempt.allows_repeats() {
            Err(Unroutable::OnlyTriedLeft { soonest: Duration::from_secs(20) }.into())
        } else {
            attempt.record_backend(BackendId { provider: "p".into(), model: format!("m{index}").into() });
            Ok(status(statuses[calls.fetch_add(1, Relaxed) as usize]))
        })
    });
    let request = Request::builder().header("x-request-id", "r-1").body(Buffered::default()).unwrap();
    let guard = tracing::subscriber::set_default(Lines(sender));
    let _ = layer.layer(service).oneshot(request).await;
    drop(guard);
    lines.try_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn logs_why_request_moved_to_fallback_or_ended() {
    let moved = |reason: &str| {
        format!(
            r#"INFO request moved to a fallback request_id="r-1" reason="{reason}" fallback=1 provider="p" backend="m1""#
        )
    };
    let ended = |reason: &str, attempts: u32| {
        format!(r#"WARN no backend left to ask request_id="r-1" reason="{reason}" attempts={attempts}"#)
    };
    let layer = |policy| RetryLayer::new(policy);
    let long = BackoffPolicy::new();
    let none = BackoffPolicy::new().with_max_retries(0);
    let patient = BackoffPolicy::new().with_max_wait(Duration::MAX);

    assert_eq!(logged(layer(long), &[200], 1).await, Vec::<String>::new());
    assert_eq!(logged(layer(none), &[503, 200], 1).await, [moved("attempts spent")]);
    assert_eq!(logged(layer(long), &[503, 200], 1).await, [moved("wait too long")]);
    let expected = [moved("wait too long"), ended("wait too long", 2)];
    assert_eq!(logged(layer(long), &[503, 503], 1).await, expected);
    let layer = layer(patient).budget(Arc::new(Budget::new(0.0, 0)));
    assert_eq!(logged(layer, &[503], 0).await, [ended("no budget", 1)]);
}

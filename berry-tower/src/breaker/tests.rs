//! The layer over services that fail in every way they can.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::time::{Instant, advance};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;

use super::{Breaker, BreakerPolicy, CircuitBreaker, CircuitBreakerLayer, State, SuccessRate};
use crate::{
    caller::CallerId,
    classify::{Class, ModelApiVerdict},
    error::{BoxError, BreakerOpen, Failure, LostTogether, MissingLayer},
    progress::{CommitPoint, Grammar, Progress},
};

const OPEN_FOR: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn policy(failure_threshold: u32) -> BreakerPolicy {
    BreakerPolicy::new().with_failure_threshold(failure_threshold).with_open_for(OPEN_FOR)
}

/// What the service under the layer does.
#[derive(Clone, Debug)]
enum Does {
    Answer(u16),
    /// A head, one frame, and then an error.
    Cut,
    /// A stream whose progress the test holds.
    Stream(Progress),
    Fail,
    Panic,
    PanicInBody,
    Hang,
}

#[derive(Debug)]
struct Frames(Vec<Result<Frame<Bytes>, io::Error>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        match self.0.remove(0) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => panic!("the body has a bug"),
            frame => Poll::Ready(Some(frame)),
        }
    }
}

async fn serve(request: Request<Does>) -> Result<Response<Frames>, BoxError> {
    let frame = || Ok(Frame::data(Bytes::from_static(b"frame")));
    let answer = |status: u16, frames| Ok(Response::builder().status(status).body(Frames(frames)).unwrap());
    match request.into_body() {
        Does::Answer(status) => answer(status, vec![frame(), frame()]),
        Does::Cut => answer(200, vec![frame(), Err(io::Error::other("cut"))]),
        Does::Stream(progress) => {
            let mut response = Response::new(Frames(vec![frame(), frame(), frame()]));
            response.extensions_mut().insert(progress);
            Ok(response)
        }
        Does::Fail => Err("no connection".into()),
        Does::Panic => panic!("the service has a bug"),
        Does::PanicInBody => answer(200, vec![Err(io::ErrorKind::Unsupported.into())]),
        Does::Hang => std::future::pending().await,
    }
}

/// Sends one request and reads its response to the end. Returns whether the service was called.
async fn ask(layer: &CircuitBreakerLayer, does: Does) -> bool {
    ask_as(layer, None, does).await
}

async fn ask_as(layer: &CircuitBreakerLayer, caller: Option<&str>, does: Does) -> bool {
    let mut request = Request::new(does);
    if let Some(caller) = caller {
        request.extensions_mut().insert(CallerId::of(caller));
    }
    match layer.layer(service_fn(serve)).oneshot(request).await {
        Ok(response) => {
            let _ = response.into_body().collect().await;
            true
        }
        Err(error) => !error.is::<BreakerOpen>(),
    }
}

fn state(layer: &CircuitBreakerLayer) -> State {
    layer.breaker().state(Instant::now())
}

async fn half_open() -> CircuitBreakerLayer {
    let layer = CircuitBreakerLayer::new(policy(2));
    assert!(ask(&layer, Does::Fail).await && ask(&layer, Does::Fail).await);
    assert!(!ask(&layer, Does::Answer(200)).await);
    advance(OPEN_FOR).await;
    assert_eq!(state(&layer), State::HalfOpen { trial: false });
    layer
}

#[tokio::test(start_paused = true)]
async fn counts_failures_of_the_service_only() {
    for (does, failures) in [
        (Does::Answer(200), 0),
        (Does::Answer(101), 0),
        (Does::Answer(302), 0),
        (Does::Answer(304), 0),
        (Does::Answer(401), 1),
        (Does::Answer(404), 1),
        (Does::Answer(429), 1),
        (Does::Answer(408), 2),
        (Does::Answer(503), 2),
        (Does::Cut, 2),
        (Does::Fail, 2),
    ] {
        let layer = CircuitBreakerLayer::new(policy(9));
        ask(&layer, Does::Fail).await;
        ask(&layer, does.clone()).await;
        assert_eq!(state(&layer), State::Closed { failures }, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_with_several_requests_counts_once() {
    let lost = |is_first| async move {
        let failure = Failure::ConnectionLost("reset".into());
        let error: BoxError = if is_first { failure.into() } else { LostTogether::new(failure).into() };
        Err::<Response<Frames>, _>(error)
    };
    let layer = CircuitBreakerLayer::new(policy(2));
    for is_first in [true, false, false, false] {
        assert!(layer.layer(service_fn(move |_: Request<()>| lost(is_first))).oneshot(Request::new(())).await.is_err());
        assert_eq!(state(&layer), State::Closed { failures: 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn ordinary_responses_never_open_the_breaker() {
    for status in [101, 204, 302, 304, 400, 401, 403, 404, 410, 451] {
        let layer = CircuitBreakerLayer::new(policy(1));
        for _ in 0..5 {
            assert!(ask(&layer, Does::Answer(status)).await, "{status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn good_trial_closes_and_failed_trial_reopens() {
    for (does, after) in [
        (Does::Answer(200), "closed"),
        (Does::Answer(400), "half_open"),
        (Does::Answer(429), "open"),
        (Does::Answer(500), "open"),
        (Does::Fail, "open"),
    ] {
        let layer = half_open().await;
        assert!(ask(&layer, does.clone()).await);
        assert_eq!(state(&layer).name(), after, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn plain_head_ends_a_trial_and_a_later_body_failure_counts() {
    let layer = half_open().await;
    let mut service = layer.layer(service_fn(serve));
    // Its client reads no further for a day.
    let slow = service.ready().await.unwrap().call(Request::new(Does::Cut)).await.unwrap();
    advance(24 * 3600 * SECOND).await;
    assert!(ask(&layer, Does::Answer(200)).await, "others are served");
    assert_eq!(state(&layer), State::Closed { failures: 0 });
    assert!(slow.into_body().collect().await.is_err());
    assert_eq!(state(&layer), State::Closed { failures: 1 });
}

#[tokio::test(start_paused = true)]
async fn first_output_of_a_stream_ends_a_trial() {
    let layer = half_open().await;
    let mut service = layer.layer(service_fn(serve));
    let progress = Progress::new(CommitPoint::Output, Grammar::Chat);
    let ask_stream = || Request::new(Does::Stream(progress.clone()));
    let mut body = service.ready().await.unwrap().call(ask_stream()).await.unwrap().into_body();
    body.frame().await;
    assert_eq!(state(&layer), State::HalfOpen { trial: true }, "a preamble is no output");
    drop(body);
    assert_eq!(state(&layer), State::HalfOpen { trial: false }, "its client left before the output");

    let mut body = service.ready().await.unwrap().call(ask_stream()).await.unwrap().into_body();
    body.frame().await;
    progress.mark_output_started();
    body.frame().await;
    assert_eq!(state(&layer), State::Closed { failures: 0 });
    drop(body);
    assert_eq!(state(&layer), State::Closed { failures: 0 }, "its client left after the output");
}

#[tokio::test(start_paused = true)]
async fn cancelled_trial_is_given_back() {
    let layer = half_open().await;
    let mut service = layer.layer(service_fn(serve));
    let call = service.ready().await.unwrap().call(Request::new(Does::Hang));
    assert_eq!(state(&layer), State::HalfOpen { trial: true });
    assert!(!ask(&layer, Does::Answer(200)).await, "one at a time");
    drop(call);
    assert_eq!(state(&layer), State::HalfOpen { trial: false });

    drop(service.ready().await.unwrap().call(Request::new(Does::Answer(500))).await.unwrap());
    assert_eq!(state(&layer).name(), "open", "an error response counts though nobody reads it");
}

#[tokio::test(start_paused = true)]
async fn stuck_trial_expires() {
    let layer = half_open().await;
    let mut service = layer.layer(service_fn(serve));
    let stuck = service.ready().await.unwrap().call(Request::new(Does::Hang));
    advance(BreakerPolicy::default().trial_timeout() - SECOND).await;
    assert!(!ask(&layer, Does::Answer(200)).await);
    advance(SECOND).await;
    assert!(ask(&layer, Does::Answer(200)).await, "the next one is the trial now");
    assert_eq!(state(&layer), State::Closed { failures: 0 });
    drop(stuck);
    assert_eq!(state(&layer), State::Closed { failures: 0 });

    let layer = half_open().await;
    layer.breaker().set_policy(policy(2).with_trial_timeout(Duration::MAX));
    let _stuck = layer.layer(service_fn(serve)).call(Request::new(Does::Hang));
    advance(24 * 3600 * SECOND).await;
    assert!(!ask(&layer, Does::Answer(200)).await, "unless trials never expire");
}

#[tokio::test]
async fn panic_of_the_service_is_a_failure() {
    for does in [Does::Panic, Does::PanicInBody] {
        let layer = CircuitBreakerLayer::new(policy(3));
        for _ in 0..3 {
            let (layer, does) = (layer.clone(), does.clone());
            assert!(tokio::spawn(async move { ask(&layer, does).await }).await.is_err());
        }
        assert!(state(&layer).is_open(), "{does:?}");
    }
    let layer = CircuitBreakerLayer::new(policy(1));
    let mut service =
        layer.layer(service_fn(|_: Request<()>| -> std::future::Ready<Result<Response<Frames>, BoxError>> {
            panic!("before there is a future")
        }));
    let call = std::panic::AssertUnwindSafe(|| drop(service.call(Request::new(()))));
    assert!(std::panic::catch_unwind(call).is_err());
    assert!(state(&layer).is_open());
}

#[tokio::test(start_paused = true)]
async fn open_time_grows_while_trials_fail() {
    let layer = CircuitBreakerLayer::new(policy(1).with_backoff(2.0, 200 * SECOND));
    ask(&layer, Does::Fail).await;
    for open_for in [60, 120, 200, 200] {
        advance((open_for - 1) * SECOND).await;
        assert!(!ask(&layer, Does::Fail).await, "{open_for}");
        advance(SECOND).await;
        assert!(ask(&layer, Does::Fail).await, "{open_for}");
    }
}

#[tokio::test(start_paused = true)]
async fn low_success_rate_opens_without_consecutive_failures() {
    let rate = SuccessRate::new(0.5, 10 * SECOND, 8);
    let layer = CircuitBreakerLayer::new(policy(9).with_success_rate(rate));
    for number in 0..20 {
        assert!(ask(&layer, Does::Answer(if number % 2 == 0 { 200 } else { 500 })).await, "half are good enough");
    }
    assert!(ask(&layer, Does::Fail).await);
    assert!(state(&layer).is_open(), "less than half are not");
    advance(OPEN_FOR).await;
    assert!(ask(&layer, Does::Answer(200)).await);
    assert!(ask(&layer, Does::Fail).await && ask(&layer, Does::Answer(200)).await, "it starts anew when it closes");
}

#[tokio::test(start_paused = true)]
async fn notifies_all_listeners_of_a_change() {
    let layer = CircuitBreakerLayer::new(policy(1));
    let heard = Arc::new(AtomicU32::new(0));
    for weight in [1, 10] {
        let heard = heard.clone();
        layer.breaker().on_change(move |change| {
            assert!(change.from.is_closed() && change.to.is_open());
            heard.fetch_add(weight, Relaxed);
        });
    }
    ask(&layer, Does::Fail).await;
    assert_eq!(heard.load(Relaxed), 11);
}

#[tokio::test(start_paused = true)]
async fn breaker_of_the_request_replaces_that_of_the_layer() {
    let layer = CircuitBreakerLayer::new(policy(2)).find(|e: &http::Extensions| e.get::<Arc<Breaker>>().cloned());
    let found = Arc::new(Breaker::new(policy(1)));
    let mut request = Request::new(Does::Fail);
    request.extensions_mut().insert(found.clone());
    assert!(layer.layer(service_fn(serve)).oneshot(request).await.is_err());
    assert_eq!(found.transitions(), [0, 0, 1]);
    assert_eq!(layer.breaker().state(Instant::now()), State::Closed { failures: 0 });

    let layer = layer.require();
    let error = layer.layer(service_fn(serve)).oneshot(Request::new(Does::Answer(200))).await.unwrap_err();
    assert!(error.is::<MissingLayer>(), "{error}");
}

#[tokio::test]
async fn passes_readiness_through() {
    let layer = CircuitBreakerLayer::new(policy(2));
    let (mock, mut handle) = tower_test::mock::pair::<Request<()>, Response<http_body_util::Empty<Bytes>>>();
    let mut service = tower_test::mock::Spawn::new(layer.layer(mock));
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    handle.send_error("closed");
    assert!(matches!(service.poll_ready(), Poll::Ready(Err(_))));
}

#[tokio::test(start_paused = true)]
async fn extreme_policies_do_not_panic() {
    let endless = policy(1).with_open_for(Duration::MAX).with_backoff(f64::INFINITY, Duration::MAX);
    let mut service = CircuitBreaker::new(service_fn(serve), endless);
    drop(service.ready().await.unwrap().call(Request::new(Does::Fail)).await);
    advance(365 * 24 * 3600 * SECOND).await;
    assert!(service.ready().await.unwrap().call(Request::new(Does::Answer(200))).await.is_err());

    let nothing = BreakerPolicy::new()
        .with_failure_threshold(0)
        .with_open_for(Duration::ZERO)
        .with_trial_timeout(Duration::ZERO)
        .with_backoff(f64::NAN, Duration::ZERO);
    let layer = CircuitBreakerLayer::new(nothing);
    assert!(ask(&layer, Does::Fail).await);
    assert_eq!(state(&layer), State::HalfOpen { trial: false });
    assert!(ask(&layer, Does::Fail).await && ask(&layer, Does::Answer(200)).await);
    assert!(state(&layer).is_closed());

    let never = CircuitBreakerLayer::new(policy(u32::MAX));
    for _ in 0..1000 {
        assert!(ask(&never, Does::Fail).await);
    }
}

#[tokio::test(start_paused = true)]
async fn accepts_the_verdicts_of_model_apis() {
    let layer = CircuitBreakerLayer::new(policy(1)).classify(ModelApiVerdict);
    let response = layer.layer(service_fn(serve)).oneshot(Request::new(Does::Answer(401))).await;
    drop(response.unwrap());
    assert!(layer.breaker().state(Instant::now()).is_open());
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_only_caller_open_the_breaker() {
    let layer = CircuitBreakerLayer::new(policy(5));
    for _ in 0..5 {
        assert!(ask_as(&layer, Some("alice"), Does::Answer(500)).await);
    }
    assert!(state(&layer).is_open());
}

#[tokio::test(start_paused = true)]
async fn failures_of_one_of_several_callers_do_not_open_the_breaker() {
    let layer = CircuitBreakerLayer::new(policy(5));
    assert!(ask_as(&layer, Some("bob"), Does::Answer(200)).await);
    for round in 0..30 {
        for _ in 0..20 {
            assert!(ask_as(&layer, Some("alice"), Does::Answer(500)).await);
        }
        assert_eq!(state(&layer), State::Closed { failures: 1 });
        advance(SECOND).await;
        assert!(ask_as(&layer, Some("bob"), Does::Answer(200)).await, "{round}");
    }
    // Now the service is down for both.
    ask_as(&layer, Some("alice"), Does::Answer(500)).await;
    for _ in 0..4 {
        assert!(ask_as(&layer, Some("bob"), Does::Answer(500)).await);
    }
    assert!(state(&layer).is_open());
}

#[tokio::test(start_paused = true)]
async fn trial_that_is_given_back_goes_to_another_caller() {
    let layer = half_open().await;
    let call = |caller: &str, does| {
        let mut request = Request::new(does);
        request.extensions_mut().insert(CallerId::of(caller));
        layer.layer(service_fn(serve)).call(request)
    };
    layer.breaker().try_acquire_for(CallerId::of("bob"), Instant::now()).map(drop).unwrap();
    advance(2 * SECOND).await;
    drop(call("alice", Does::Hang));
    let refused = call("alice", Does::Hang).await.unwrap_err();
    assert!(refused.downcast_ref::<BreakerOpen>().unwrap().retry_after <= SECOND);
    assert!(call("bob", Does::Answer(200)).await.is_ok());
    assert!(state(&layer).is_closed());

    // A single caller does not have to wait.
    let layer = half_open().await;
    for _ in 0..3 {
        let mut request = Request::new(Does::Hang);
        request.extensions_mut().insert(CallerId::of("alice"));
        drop(layer.layer(service_fn(serve)).call(request));
        assert_eq!(state(&layer), State::HalfOpen { trial: false });
    }
}

#[test]
fn each_class_has_its_outcome() {
    use super::Outcome;
    for (class, outcome) in [
        (Class::Success, Outcome::Success),
        (Class::ClientError, Outcome::Neutral),
        (Class::Cancelled, Outcome::Neutral),
        (Class::LocalResource, Outcome::Neutral),
        (Class::RateLimited { retry_after: None }, Outcome::RateLimited),
        (Class::Auth, Outcome::Failure),
        (Class::Timeout, Outcome::Failure),
    ] {
        assert_eq!(Outcome::from(class), outcome, "{class:?}");
    }
}

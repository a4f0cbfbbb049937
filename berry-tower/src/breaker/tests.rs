//! The layer over services that fail in every way they can.

use std::{
    io,
    pin::Pin,
    sync::Arc,
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

use super::{Breaker, BreakerPolicy, CircuitBreakerLayer, State};
use crate::error::{BoxError, BreakerOpen};

const OPEN_FOR: Duration = Duration::from_secs(60);
const POLICY: BreakerPolicy = BreakerPolicy { failure_threshold: 2, open_for: OPEN_FOR };

/// What the service under the layer does.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answer(u16),
    /// A head, one frame, and then an error.
    Cut,
    Fail,
    Hang,
}

#[derive(Debug)]
struct Frames(Vec<Result<Frame<Bytes>, io::Error>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(if self.0.is_empty() { None } else { Some(self.0.remove(0)) })
    }
}

async fn serve(request: Request<Does>) -> Result<Response<Frames>, BoxError> {
    let frame = || Ok(Frame::data(Bytes::from_static(b"frame")));
    let cut = || Err(io::Error::other("cut"));
    let answer = |status: u16, frames| Ok(Response::builder().status(status).body(Frames(frames)).unwrap());
    match request.into_body() {
        Does::Answer(status) => answer(status, vec![frame(), frame()]),
        Does::Cut => answer(200, vec![frame(), cut()]),
        Does::Fail => Err("no connection".into()),
        Does::Hang => std::future::pending().await,
    }
}

/// Sends one request and reads its answer to the end; whether the service was called.
async fn ask(layer: &CircuitBreakerLayer, does: Does) -> bool {
    match layer.layer(service_fn(serve)).oneshot(Request::new(does)).await {
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
    let layer = CircuitBreakerLayer::new(POLICY);
    assert!(ask(&layer, Does::Fail).await && ask(&layer, Does::Fail).await);
    assert!(!ask(&layer, Does::Answer(200)).await);
    advance(OPEN_FOR).await;
    assert_eq!(state(&layer), State::HalfOpen { trial: false });
    layer
}

#[tokio::test(start_paused = true)]
async fn each_way_to_fail_counts_and_the_others_do_not() {
    for (does, failures) in [
        (Does::Answer(200), 0),
        (Does::Answer(400), 1),
        (Does::Answer(429), 1),
        (Does::Answer(503), 2),
        (Does::Cut, 2),
        (Does::Fail, 2),
    ] {
        let layer = CircuitBreakerLayer::new(BreakerPolicy { failure_threshold: 9, ..POLICY });
        ask(&layer, Does::Fail).await;
        ask(&layer, does).await;
        assert_eq!(state(&layer), State::Closed { failures }, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_goes_well_closes_it_and_one_that_does_not_opens_it_again() {
    for (does, after) in [
        (Does::Answer(200), "closed"),
        (Does::Answer(400), "half_open"),
        (Does::Answer(429), "open"),
        (Does::Cut, "open"),
        (Does::Fail, "open"),
    ] {
        let layer = half_open().await;
        assert!(ask(&layer, does).await);
        assert_eq!(state(&layer).name(), after, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_gives_the_trial_back() {
    let layer = half_open().await;
    let mut service = layer.layer(service_fn(serve));

    let call = service.ready().await.unwrap().call(Request::new(Does::Hang));
    assert_eq!(state(&layer), State::HalfOpen { trial: true });
    assert!(!ask(&layer, Does::Answer(200)).await, "one at a time");
    drop(call);
    assert_eq!(state(&layer), State::HalfOpen { trial: false });

    let response = service.ready().await.unwrap().call(Request::new(Does::Answer(200))).await.unwrap();
    assert_eq!(state(&layer), State::HalfOpen { trial: true }, "a head is no success yet");
    drop(response);
    assert_eq!(state(&layer), State::HalfOpen { trial: false });

    drop(service.ready().await.unwrap().call(Request::new(Does::Answer(500))).await.unwrap());
    assert_eq!(state(&layer).name(), "open", "an error unread is an error");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_found_in_the_request_takes_the_place_of_the_layers_own() {
    let layer = CircuitBreakerLayer::new(POLICY).find(|e: &http::Extensions| e.get::<Arc<Breaker>>().cloned());
    let found = Arc::new(Breaker::new(BreakerPolicy { failure_threshold: 1, ..POLICY }));
    let mut request = Request::new(Does::Fail);
    request.extensions_mut().insert(found.clone());
    assert!(layer.layer(service_fn(serve)).oneshot(request).await.is_err());
    assert_eq!(found.transitions(), [0, 0, 1]);
    assert_eq!(layer.breaker().state(Instant::now()), State::Closed { failures: 0 });
}

#[tokio::test]
async fn readiness_is_the_inner_services_own() {
    let layer = CircuitBreakerLayer::new(POLICY);
    let (mock, mut handle) = tower_test::mock::pair::<Request<()>, Response<http_body_util::Empty<Bytes>>>();
    let mut service = tower_test::mock::Spawn::new(layer.layer(mock));
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    handle.send_error("closed");
    assert!(matches!(service.poll_ready(), Poll::Ready(Err(_))));
}

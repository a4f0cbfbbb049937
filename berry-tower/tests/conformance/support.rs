//! A service that is strict about Tower's contract, and the checks that every layer must pass.

use std::{
    convert::Infallible,
    fmt::Debug,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{BoxError, Layer, Service, ServiceExt};

const PLACES: usize = 8;

/// Panics when it is called without having been made ready, and counts who holds a place in it.
/// A clone has to be made ready itself.
#[derive(Debug)]
pub(crate) struct Strict {
    places: Arc<Semaphore>,
    ready: Option<OwnedSemaphorePermit>,
    behaviour: Behaviour,
}

/// What [`Strict`] does when it is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// It answers at once.
    Answers,
    /// It never answers.
    Hangs,
    /// It fails at once.
    Fails,
}

impl Strict {
    /// A service with so many places, each held from readiness to the end of the response's body.
    pub(crate) fn new(places: usize, behaviour: Behaviour) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), ready: None, behaviour }
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { places: Arc::clone(&self.places), ready: None, behaviour: self.behaviour }
    }
}

impl<B: Send + 'static> Service<Request<B>> for Strict {
    type Response = Response<HeldBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<HeldBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.ready.is_none() {
            self.ready = Arc::clone(&self.places).try_acquire_owned().ok();
        }
        // No waker: the tests look again by themselves.
        if self.ready.is_some() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let place = self.ready.take().expect("called without having been made ready");
        let behaviour = self.behaviour;
        Box::pin(async move {
            drop(request);
            match behaviour {
                Behaviour::Answers => Ok(Response::new(HeldBody { body: "held".into(), _place: Some(place) })),
                Behaviour::Hangs => {
                    std::future::pending::<()>().await;
                    unreachable!("{place:?}")
                }
                Behaviour::Fails => Err("failed".into()),
            }
        })
    }
}

/// A body that holds a place in [`Strict`].
#[derive(Debug)]
pub(crate) struct HeldBody {
    body: Full<Bytes>,
    _place: Option<OwnedSemaphorePermit>,
}

impl From<Bytes> for HeldBody {
    fn from(bytes: Bytes) -> Self {
        Self { body: bytes.into(), _place: None }
    }
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn has_the_auto_traits<T: Clone + Debug + Send + Sync + 'static>(_: &T) {}

/// Whether a service is ready now.
pub(crate) fn is_ready<B>(service: &mut impl Service<Request<B>>) -> bool {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    service.poll_ready(&mut cx).is_ready()
}

/// Polls a future a few times; it must not end.
async fn must_hang<T>(future: Pin<&mut impl Future<Output = T>>) {
    tokio::select! {
        biased;
        _ = future => panic!("it ended"),
        () = async { for _ in 0..4 { tokio::task::yield_now().await } } => {}
    }
}

/// Checks a layer by requests that it lets pass.
pub(crate) async fn check<L, B, R>(layer: L, request: impl Fn() -> Request<B>)
where
    L: Layer<Strict> + Clone + Debug + Send + Sync + 'static,
    L::Service: Service<Request<B>, Response = Response<R>> + Clone + Debug + Send + Sync + 'static,
    <L::Service as Service<Request<B>>>::Error: Debug,
    <L::Service as Service<Request<B>>>::Future: Send,
    R: Body<Data = Bytes> + Send,
    R::Error: Debug,
{
    has_the_auto_traits(&layer);

    // It asks for readiness before each call, in clones too.
    let strict = Strict::new(PLACES, Behaviour::Answers);
    let mut service = layer.layer(strict.clone());
    has_the_auto_traits(&service);
    for _ in 0..3 {
        let mut clone = service.ready().await.unwrap().clone();
        let response = service.call(request()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(!response.body().is_end_stream(), "is_end_stream is forwarded");
        assert_eq!(response.body().size_hint().exact(), Some(4), "size_hint is forwarded");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "held");
        let response = clone.ready().await.unwrap().call(request()).await.unwrap();
        drop(response);
    }
    assert_eq!(strict.places.available_permits(), PLACES, "bodies that ended or were dropped");

    // Readiness passes through and is not held.
    let mut full = layer.layer(Strict::new(0, Behaviour::Answers));
    assert!(!is_ready::<B>(&mut full), "readiness is passed through");
    let strict = Strict::new(1, Behaviour::Answers);
    let service = layer.layer(strict.clone());
    let mut one = service.clone();
    assert!(is_ready::<B>(&mut one));
    assert!(!is_ready::<B>(&mut service.clone()));
    drop(one);
    assert!(is_ready::<B>(&mut service.clone()), "a service that was dropped holds nothing");
    let response = service.clone().oneshot(request()).await.unwrap();
    assert!(!is_ready::<B>(&mut service.clone()));
    drop(response);
    assert!(is_ready::<B>(&mut service.clone()));

    // Whatever is dropped or fails gives back what it held.
    let strict = Strict::new(1, Behaviour::Hangs);
    let mut service = layer.layer(strict.clone());
    let mut future = Box::pin(service.ready().await.unwrap().call(request()));
    must_hang(future.as_mut()).await;
    assert_eq!(strict.places.available_permits(), 0);
    drop(future);
    assert_eq!(strict.places.available_permits(), 1, "a future that was dropped");
    drop(service.ready().await.unwrap().call(request()));
    assert_eq!(strict.places.available_permits(), 1, "a future that was never polled");
    let strict = Strict::new(1, Behaviour::Fails);
    drop(layer.layer(strict.clone()).oneshot(request()).await);
    assert_eq!(strict.places.available_permits(), 1, "a call that failed");
}

/// Checks that a layer refuses a request itself and keeps nothing for it.
pub(crate) async fn refuses<L, B, R>(layer: L, request: Request<B>, status: u16)
where
    L: Layer<Strict>,
    L::Service: Service<Request<B>, Response = Response<R>> + Clone,
    <L::Service as Service<Request<B>>>::Error: Debug,
{
    let strict = Strict::new(1, Behaviour::Hangs);
    let service = layer.layer(strict.clone());
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(strict.places.available_permits(), 1);
}

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

const SLOTS: usize = 8;

/// A service that panics when it is called before it is ready, and that counts its occupied slots.
/// A clone needs its own readiness.
#[derive(Debug)]
pub(crate) struct Strict {
    slots: Arc<Semaphore>,
    ready: Option<OwnedSemaphorePermit>,
    behaviour: Behaviour,
}

/// The behaviour of [`Strict`] when it is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// Responds immediately.
    Responds,
    /// Never responds.
    Hangs,
    /// Fails immediately.
    Fails,
}

impl Strict {
    /// Returns a service with the given number of slots. A slot is held from readiness to the end of
    /// the response body.
    pub(crate) fn new(slots: usize, behaviour: Behaviour) -> Self {
        Self { slots: Arc::new(Semaphore::new(slots)), ready: None, behaviour }
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { slots: Arc::clone(&self.slots), ready: None, behaviour: self.behaviour }
    }
}

impl<B: Send + 'static> Service<Request<B>> for Strict {
    type Response = Response<HeldBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<HeldBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.ready.is_none() {
            self.ready = Arc::clone(&self.slots).try_acquire_owned().ok();
        }
        // No waker is registered because the tests poll again by themselves.
        if self.ready.is_some() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let slot = self.ready.take().expect("called before it was ready");
        let behaviour = self.behaviour;
        Box::pin(async move {
            drop(request);
            match behaviour {
                Behaviour::Responds => Ok(Response::new(HeldBody { body: "held".into(), _slot: Some(slot) })),
                Behaviour::Hangs => {
                    std::future::pending::<()>().await;
                    unreachable!("{slot:?}")
                }
                Behaviour::Fails => Err("failed".into()),
            }
        })
    }
}

/// A body that holds a slot of [`Strict`].
#[derive(Debug)]
pub(crate) struct HeldBody {
    body: Full<Bytes>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl From<Bytes> for HeldBody {
    fn from(bytes: Bytes) -> Self {
        Self { body: bytes.into(), _slot: None }
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

/// Returns whether a service is ready now.
pub(crate) fn is_ready<B>(service: &mut impl Service<Request<B>>) -> bool {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    service.poll_ready(&mut cx).is_ready()
}

/// Polls a future a few times and panics when it completes.
async fn assert_pending<T>(future: Pin<&mut impl Future<Output = T>>) {
    tokio::select! {
        biased;
        _ = future => panic!("the future completed"),
        () = async { for _ in 0..4 { tokio::task::yield_now().await } } => {}
    }
}

/// Checks a layer with requests that it forwards.
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

    // The layer polls readiness before each call, in clones as well.
    let strict = Strict::new(SLOTS, Behaviour::Responds);
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
    assert_eq!(strict.slots.available_permits(), SLOTS, "completed and dropped bodies release their slots");

    // Readiness passes through and is not held.
    let mut full = layer.layer(Strict::new(0, Behaviour::Responds));
    assert!(!is_ready::<B>(&mut full), "readiness passes through");
    let strict = Strict::new(1, Behaviour::Responds);
    let service = layer.layer(strict.clone());
    let mut one = service.clone();
    assert!(is_ready::<B>(&mut one));
    assert!(!is_ready::<B>(&mut service.clone()));
    drop(one);
    assert!(is_ready::<B>(&mut service.clone()), "a dropped service holds no slot");
    let response = service.clone().oneshot(request()).await.unwrap();
    assert!(!is_ready::<B>(&mut service.clone()));
    drop(response);
    assert!(is_ready::<B>(&mut service.clone()));

    // Dropped futures and failed calls release their slots.
    let strict = Strict::new(1, Behaviour::Hangs);
    let mut service = layer.layer(strict.clone());
    let mut future = Box::pin(service.ready().await.unwrap().call(request()));
    assert_pending(future.as_mut()).await;
    assert_eq!(strict.slots.available_permits(), 0);
    drop(future);
    assert_eq!(strict.slots.available_permits(), 1, "a dropped future releases its slot");
    drop(service.ready().await.unwrap().call(request()));
    assert_eq!(strict.slots.available_permits(), 1, "a future that was never polled releases its slot");
    let strict = Strict::new(1, Behaviour::Fails);
    drop(layer.layer(strict.clone()).oneshot(request()).await);
    assert_eq!(strict.slots.available_permits(), 1, "a failed call releases its slot");
}

/// Checks that a layer rejects a request itself and holds no slot for it.
pub(crate) async fn check_rejection<L, B, R>(layer: L, request: Request<B>, status: u16)
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
    assert_eq!(strict.slots.available_permits(), 1);
}

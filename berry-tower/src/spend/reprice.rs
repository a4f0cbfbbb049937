//! The layer around each attempt.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use http::{Extensions, Request, Response};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Reservation, SpendExceeded, reservation::take_more};
use crate::{attempt::BackendId, body::Buffered, error::BoxError, progress::Progress};

/// Returns the public name of the model and the backend that a request goes to.
type FindBackend = fn(&Extensions) -> Option<(Arc<str>, BackendId)>;

/// [`Layer`] that applies [`Reprice`].
///
/// It stands behind a selection, and within [`Spend`](super::Spend). `find` reads the selection from
/// the request's extensions; `RepriceLayer::default` reads that of `Select`.
#[derive(Clone, Copy, Debug)]
pub struct RepriceLayer {
    find: FindBackend,
}

impl RepriceLayer {
    /// Creates a layer that finds the public name of the model and the backend by `find`.
    #[must_use]
    pub const fn new(find: FindBackend) -> Self {
        Self { find }
    }
}

#[cfg(feature = "select")]
impl Default for RepriceLayer {
    fn default() -> Self {
        use crate::select::{RoutedModel, Selected};
        Self::new(|extensions| {
            let model = extensions.get::<RoutedModel>()?.model().name().clone();
            Some((model, extensions.get::<Selected>()?.backend().id().clone()))
        })
    }
}

impl<S> Layer<S> for RepriceLayer {
    type Service = Reprice<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Reprice { inner, find: self.find }
    }
}

/// Raises a request's [`Reservation`] to the price of the backend that an attempt goes to, and notes
/// what the attempt uses.
///
/// Fails with [`SpendExceeded`] if a limit has too little left. A request without a reservation is
/// passed on.
#[derive(Clone, Debug)]
pub struct Reprice<S> {
    inner: S,
    find: FindBackend,
}

#[cfg(feature = "select")]
impl<S> Reprice<S> {
    /// Wraps `inner`, and finds the backend as `RepriceLayer::default` does.
    #[must_use]
    pub fn new(inner: S) -> Self {
        RepriceLayer::default().layer(inner)
    }
}

impl<S> Reprice<S> {
    /// Returns a reference to the inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B> Service<Request<Buffered>> for Reprice<S>
where
    S: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = RepriceFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Buffered>) -> Self::Future {
        let extensions = request.extensions();
        let found = extensions.get::<Reservation>().cloned().zip((self.find)(extensions));
        let Some((reservation, (model, backend))) = found else {
            return RepriceFuture { state: State::Asking(self.inner.call(request)), noted: None };
        };
        let more = reservation.more_for(&model, &backend);
        let noted = Some((reservation.clone(), reservation.begin_attempt(model, backend)));
        let Some((demand, cost)) = more else {
            return RepriceFuture { state: State::Asking(self.inner.call(request)), noted };
        };
        let mut taking: Taking = Box::pin(take_more(reservation, demand, cost));
        // A store of this process is ready at once.
        let state = match taking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => State::Asking(self.inner.call(request)),
            Poll::Ready(Err(exceeded)) => State::Refused(Some(Box::new(exceeded))),
            Poll::Pending => {
                let mut inner = self.inner.clone();
                // The service that was made ready is dropped: it may hold a permit.
                self.inner = inner.clone();
                State::Taking(Box::pin(async move {
                    taking.await?;
                    poll_fn(|cx| inner.poll_ready(cx)).await.map_err(Into::into)?;
                    Ok(inner.call(request))
                }))
            }
        };
        RepriceFuture { state, noted }
    }
}

type Taking = Pin<Box<dyn Future<Output = Result<(), SpendExceeded>> + Send>>;

/// Response future of [`Reprice`].
#[pin_project]
#[derive(Debug)]
pub struct RepriceFuture<F> {
    #[pin]
    state: State<F>,
    /// The attempt in the reservation.
    noted: Option<(Reservation, usize)>,
}

#[pin_project(project = StateProj)]
enum State<F> {
    /// The inner service has the request.
    Asking(#[pin] F),
    /// The store is asked for more.
    Taking(Pin<Box<dyn Future<Output = Result<F, BoxError>> + Send>>),
    /// A limit has too little left.
    Refused(Option<Box<SpendExceeded>>),
}

impl<F> fmt::Debug for State<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asking(_) => "Asking",
            Self::Taking(_) => "Taking",
            Self::Refused(_) => "Refused",
        })
    }
}

impl<F, B, E> Future for RepriceFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<B>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let future = match this.state.as_mut().project() {
                StateProj::Asking(future) => {
                    let result = ready!(future.poll(cx)).map_err(Into::into);
                    if let (Ok(response), Some((reservation, attempt))) = (&result, &this.noted) {
                        reservation.answered(*attempt, response.extensions().get::<Progress>());
                    }
                    return Poll::Ready(result);
                }
                StateProj::Refused(exceeded) => {
                    return exceeded.take().map_or(Poll::Pending, |exceeded| Poll::Ready(Err(exceeded as BoxError)));
                }
                StateProj::Taking(taking) => ready!(taking.as_mut().poll(cx))?,
            };
            this.state.set(State::Asking(future));
        }
    }
}

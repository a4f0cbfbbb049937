//! Turns errors of a service into responses.
//!
//! The service becomes `Infallible`, as axum requires. Errors of [`error`](crate::error) are
//! recognised by type, anywhere in the chain of sources; [`refusal_for`] is the table. Any other
//! error is logged and answered with a 500 that shows nothing of it.
//!
//! * Needs: nothing.
//! * Adds: the error itself, as [`Cause`], to the extensions of the response that stands for it.
//! * Rejects: with the response for the error of a call or of readiness. It does not catch panics.
//!
//! ```
//! use berry_tower::{error::Unroutable, error_response::ErrorResponseLayer};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(ErrorResponseLayer::new())
//!     .service(service_fn(|request: Request<()>| async move {
//!         match request.uri().path() {
//!             "/known" => Ok(Response::new(Full::<Bytes>::default())),
//!             _ => Err(Unroutable::UnknownModel),
//!         }
//!     }));
//!
//! let known = Request::get("/known").body(()).unwrap();
//! assert_eq!(service.clone().oneshot(known).await.unwrap().status(), 200);
//! assert_eq!(service.oneshot(Request::new(())).await.unwrap().status(), 404);
//! # }
//! ```

mod refusal;

use std::{
    convert::Infallible,
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

pub use self::refusal::refusal_for;
use crate::{
    body::ResponseBody,
    error::BoxError,
    render::{ApiErrors, Render, RequestSummary},
};

/// The error that a response stands for, in the response's extensions.
#[derive(Clone, Debug)]
pub struct Cause(pub Arc<dyn Error + Send + Sync>);

/// [`Layer`] that applies [`ErrorResponse`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorResponseLayer<R = ApiErrors> {
    render: R,
}

impl ErrorResponseLayer {
    /// Creates responses in the shape of the API that the client calls.
    #[must_use]
    pub const fn new() -> Self {
        Self { render: ApiErrors }
    }
}

impl<R> ErrorResponseLayer<R> {
    /// Sets the shape of the responses.
    pub fn render<T>(self, render: T) -> ErrorResponseLayer<T> {
        ErrorResponseLayer { render }
    }
}

impl<S, R: Clone> Layer<S> for ErrorResponseLayer<R> {
    type Service = ErrorResponse<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        ErrorResponse { inner, render: self.render.clone(), unready: None }
    }
}

/// Turns errors of a service into responses; see the [module](self).
#[derive(Debug)]
pub struct ErrorResponse<S, R = ApiErrors> {
    inner: S,
    render: R,
    /// The error of the inner service's readiness, which answers the next call.
    unready: Option<BoxError>,
}

impl<S> ErrorResponse<S> {
    /// Creates responses in the shape of the API that the client calls.
    pub const fn new(inner: S) -> Self {
        Self { inner, render: ApiErrors, unready: None }
    }
}

impl<S, R> ErrorResponse<S, R> {
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

impl<S: Clone, R: Clone> Clone for ErrorResponse<S, R> {
    fn clone(&self) -> Self {
        // A clone must be made ready by itself, so it has no error yet.
        Self { inner: self.inner.clone(), render: self.render.clone(), unready: None }
    }
}

impl<S, R, B, ResBody> Service<Request<B>> for ErrorResponse<S, R>
where
    S: Service<Request<B>, Response = Response<ResBody>, Error: Into<BoxError>>,
    R: Render + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.unready.is_none()
            && let Err(e) = ready!(self.inner.poll_ready(cx))
        {
            self.unready = Some(e.into());
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let summary = RequestSummary::from(&request);
        let state = match self.unready.take() {
            Some(e) => State::Failed(Some(e)),
            None => State::Called(self.inner.call(request)),
        };
        ResponseFuture { state, render: self.render.clone(), summary }
    }
}

/// Response future of [`ErrorResponse`].
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F, R> {
    #[pin]
    state: State<F>,
    render: R,
    summary: RequestSummary,
}

#[pin_project(project = StateProj)]
#[derive(Debug)]
enum State<F> {
    Called(#[pin] F),
    Failed(Option<BoxError>),
}

impl<F, R, B, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    R: Render,
{
    type Output = Result<Response<ResponseBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let error = match this.state.project() {
            StateProj::Called(future) => match ready!(future.poll(cx)) {
                Ok(response) => return Poll::Ready(Ok(response.map(ResponseBody::new))),
                Err(e) => e.into(),
            },
            StateProj::Failed(error) => match error.take() {
                Some(error) => error,
                // Polled again after it was ready, which no executor does.
                None => return Poll::Pending,
            },
        };
        Poll::Ready(Ok(respond(error, this.render, this.summary).map(ResponseBody::from)))
    }
}

fn respond<R: Render>(error: BoxError, render: &R, request: &RequestSummary) -> Response<Bytes> {
    let refusal = refusal::known(&*error).unwrap_or_else(|| {
        let request_id = request.request_id().and_then(|id| id.to_str().ok());
        tracing::error!(request_id, error = &*error as &(dyn Error + 'static), "unexpected error");
        refusal::internal()
    });
    let mut response = render.render(refusal, request);
    response.extensions_mut().insert(Cause(error.into()));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use tower::{ServiceExt, service_fn};
    use tower_test::mock;

    use super::*;
    use crate::{error::BreakerOpen, render::AnthropicErrors};

    type Reply = Response<Full<Bytes>>;

    #[tokio::test]
    async fn error_becomes_a_response_with_its_cause() {
        let service = service_fn(|_: Request<()>| async { Err::<Reply, BoxError>("secret".into()) });
        let response = ErrorResponse::new(service).oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.extensions().get::<Cause>().unwrap().0.to_string(), "secret");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.contains("internal_error") && !body.contains("secret"), "{body}");
    }

    #[tokio::test]
    async fn error_of_readiness_answers_the_next_call() {
        let (mut service, mut handle) = mock::spawn_layer::<Request<()>, Reply, _>(ErrorResponseLayer::new());
        handle.allow(0);
        assert!(service.poll_ready().is_pending(), "readiness passes through");
        handle.send_error(BreakerOpen { retry_after: std::time::Duration::from_secs(7) });
        assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
        let response = service.call(Request::new(())).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "7");
    }

    #[tokio::test]
    async fn renderer_decides_the_shape() {
        let service = service_fn(|_: Request<()>| async { Err::<Reply, _>(crate::error::TotalTimeout) });
        let service = ErrorResponseLayer::new().render(AnthropicErrors).layer(service);
        let request = Request::builder().header("x-request-id", "r1").body(()).unwrap();
        let body = service.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.starts_with(r#"{"type":"error","error":{"type":"timeout_error""#), "{body}");
        assert!(body.ends_with(r#""request_id":"r1"}"#), "{body}");
    }
}

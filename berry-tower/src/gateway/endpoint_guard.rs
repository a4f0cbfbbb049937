//! A check of a request's path and method.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, header::ALLOW};
use pin_project::pin_project;
use tower_service::Service;

use crate::{
    body::ResponseBody,
    endpoint::Endpoint,
    gate::Gate,
    render::{Refusal, Render},
};

/// Refuses requests that are not for an [`Endpoint`].
#[derive(Clone, Debug)]
pub(super) struct EndpointGuard<S, R> {
    pub(super) inner: S,
    pub(super) render: R,
}

impl<S, R, B, U> Service<Request<B>> for EndpointGuard<S, R>
where
    S: Service<Request<B>, Response = Response<U>>,
    R: Render,
{
    type Response = Response<ResponseBody<U>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let refusal = if Endpoint::from_path(request.uri().path()).is_none() {
            let message = "unknown path; the paths of this API end in, for example, /v1/chat/completions";
            Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("unsupported_endpoint")
        } else if request.method() != Method::POST {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "this path takes POST only")
                .code("method_not_allowed")
                .header(ALLOW, HeaderValue::from_static("POST"))
        } else {
            return ResponseFuture(Gate::Pass(self.inner.call(request)));
        };
        ResponseFuture(Gate::refuse(&self.render, refusal, &request.into_parts().0))
    }
}

/// Response future of [`EndpointGuard`].
#[pin_project]
#[derive(Debug)]
pub(super) struct ResponseFuture<F, E>(#[pin] Gate<F, E>);

impl<F, B, E> Future for ResponseFuture<F, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

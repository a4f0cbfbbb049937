//! A box around the body of a response.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project::pin_project;
use tower_service::Service;

/// Boxes the bodies of responses: the layers outside of it move a response several times each, and the layers inside of it
/// make its body large.
#[derive(Clone, Debug)]
pub(super) struct BoxedBody<S>(pub(super) S);

impl<S, R, B> Service<Request<R>> for BoxedBody<S>
where
    S: Service<Request<R>, Response = Response<B>>,
{
    type Response = Response<Pin<Box<B>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        ResponseFuture(self.0.call(request))
    }
}

/// Response future of [`BoxedBody`].
#[pin_project]
#[derive(Debug)]
pub(super) struct ResponseFuture<F>(#[pin] F);

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Pin<Box<B>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.project().0.poll(cx)).map(|response| response.map(Box::pin)))
    }
}

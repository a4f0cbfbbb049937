//! The response future.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::{
    headers::RateLimitHeaders,
    limit::{Allowance, LimitKind, Permit},
};
use crate::{
    body::{GuardedBody, ResponseBody},
    gate::Gate,
};

/// Response future of [`RateLimit`](super::RateLimit).
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F, E>(#[pin] pub(super) Gate<Counted<F>, E>);

impl<F, B, E> Future for ResponseFuture<F, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<GuardedBody<B, Permit>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

/// The inner service's future and what the limit granted.
#[pin_project]
#[derive(Debug)]
pub(super) struct Counted<F> {
    #[pin]
    pub(super) future: F,
    pub(super) allowance: Allowance,
    pub(super) headers: Option<Arc<RateLimitHeaders>>,
}

impl<F, B, E> Future for Counted<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<GuardedBody<B, Permit>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        // Taken now, so that a failed request gives its place back before the caller sees the error.
        let Allowance { usage, permit } = std::mem::take(this.allowance);
        Poll::Ready(result.map(|mut response| {
            // The refusal of a limit behind this one keeps that limit's headers.
            if let Some(headers) = this.headers
                && response.extensions().get::<LimitKind>().is_none()
            {
                headers.write(usage, response.headers_mut());
            }
            response.map(|body| GuardedBody::new(body, permit))
        }))
    }
}

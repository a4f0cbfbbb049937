//! The future of a request whose use is counted.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::{Measure, SpendGuard, SpendOutcome, bill::RequestEnd, guard::Pending, refusal};
use crate::{
    attempt::Attempt,
    body::{GuardedBody, ResponseBody},
    error::BoxError,
    gate::Gate,
    progress::{Progress, Usage},
    store::CounterUsage,
};

/// The inner service's future, with what the request has reserved.
#[pin_project]
#[derive(Debug)]
pub(super) struct Tracked<F> {
    #[pin]
    pub(super) future: F,
    pub(super) pending: Pending,
    pub(super) usages: Vec<(Measure, CounterUsage)>,
}

impl<F, B, E> Future for Tracked<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body<Error: Into<BoxError>>,
{
    type Output = Result<Response<GuardedBody<B, SpendGuard>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(match ready!(this.future.poll(cx)) {
            Ok(response) => {
                let Some(reservation) = this.pending.0.take() else {
                    return Poll::Ready(Ok(response.map(|body| GuardedBody::new(body, SpendGuard(None)))));
                };
                let (mut head, body) = response.into_parts();
                let now = reservation.spender().unix_seconds();
                refusal::write_headers(&mut head.headers, reservation.endpoint(), this.usages, now);
                let end = RequestEnd {
                    outcome: SpendOutcome::Failed,
                    status: Some(head.status),
                    attempts: head.extensions.get::<Attempt>().map(Attempt::number),
                    progress: head.extensions.get::<Progress>().cloned(),
                    usage: head.extensions.get::<Usage>().copied(),
                };
                Ok(Response::from_parts(head, GuardedBody::new(body, SpendGuard(Some((reservation, end))))))
            }
            Err(error) => {
                let error = error.into();
                this.pending.fail(&*error);
                Err(error)
            }
        })
    }
}

/// Response future of [`Spend`](super::Spend).
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F>(#[pin] pub(super) Gate<Tracked<F>, BoxError>);

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body<Error: Into<BoxError>>,
{
    type Output = Result<Response<ResponseBody<GuardedBody<B, SpendGuard>>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

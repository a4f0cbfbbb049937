//! The future of the layer.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::{Lease, RoutedModel, ServedBy};
use crate::{body::GuardedBody, classify::Classify, error::BoxError};

/// The future of [`Select`](super::Select).
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F, C: Classify> {
    #[pin]
    pub(super) state: State<F, C>,
}

#[pin_project(project = StateProj)]
#[derive(Debug)]
pub(super) enum State<F, C: Classify> {
    /// The inner service has the request.
    Sent {
        #[pin]
        future: F,
        /// The slot on the backend; moved to the response's body.
        lease: Option<Box<Lease<C>>>,
    },
    /// No backend is available.
    Refused(Option<BoxError>),
}

impl<F, C, B, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Response<B>, E>>,
    C: Classify,
    E: Into<BoxError>,
    B: Body,
{
    type Output = Result<Response<GuardedBody<B, Box<Lease<C>>>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, lease) = match self.project().state.project() {
            StateProj::Sent { future, lease } => (future, lease),
            StateProj::Refused(error) => {
                return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
            }
        };
        let result = ready!(future.poll(cx));
        let Some(mut lease) = lease.take() else { return Poll::Pending };
        Poll::Ready(match result {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                lease.answered(&head);
                head.extensions.insert(ServedBy(lease.backend().id().clone()));
                head.extensions.insert(RoutedModel::new(lease.model().clone()));
                Ok(Response::from_parts(head, GuardedBody::new(body, lease)))
            }
            Err(error) => {
                let error = error.into();
                lease.failed(&*error);
                Err(error)
            }
        })
    }
}

//! The body of a response that passed through Retry.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::read_ahead::ReadAhead;

/// The response body of [`Retry`](super::Retry): the inner body, of which a part may have been read
/// while another attempt was made.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B: Body>(#[pin] Kind<B>);

#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B: Body> {
    Inner(#[pin] B),
    ReadAhead(ReadAhead<B>),
}

impl<B: Body> ResponseBody<B> {
    pub(super) const fn inner(body: B) -> Self {
        Self(Kind::Inner(body))
    }

    pub(super) const fn read_ahead(body: ReadAhead<B>) -> Self {
        Self(Kind::ReadAhead(body))
    }
}

/// An empty body, as tower-http's `Cors` and `Timeout` need for their own responses.
impl<B: Body + Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::inner(B::default())
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().0.project() {
            KindProj::Inner(body) => body.poll_frame(cx),
            KindProj::ReadAhead(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Inner(body) => body.is_end_stream(),
            Kind::ReadAhead(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Inner(body) => body.size_hint(),
            Kind::ReadAhead(body) => body.size_hint(),
        }
    }
}

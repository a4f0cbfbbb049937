//! The body of a response that was held back until its commit point.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};

use crate::{body::ByteLease, read_ahead::ReadAhead};

/// The response body of [`Commit`](super::Commit): the frames that were held back, then the rest.
#[derive(Debug)]
pub struct CommittedBody<B: Body>(ReadAhead<B>);

impl<B: Body> CommittedBody<B> {
    pub(super) fn new(body: B, lease: Option<ByteLease>) -> Self {
        Self(ReadAhead::new(body, lease))
    }

    /// Whether no more may be held back.
    pub(super) const fn is_over_budget(&self) -> bool {
        self.0.is_over_budget()
    }

    /// The number of bytes that are held back.
    pub(super) const fn held(&self) -> usize {
        self.0.bytes()
    }

    /// Holds back one more frame; returns `false` at the end of the body.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, B::Error>> {
        self.0.poll_read(cx)
    }
}

/// An empty body, as tower-http's `Cors` and `Timeout` need for their own responses.
impl<B: Body + Default> Default for CommittedBody<B> {
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

impl<B: Body> Body for CommittedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

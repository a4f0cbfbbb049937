//! A request body that has been read whole.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body read whole, so that a request can be sent again; a clone costs a reference count.
///
/// [`Inspect`](https://docs.rs/berry-tower) makes it, and the type is the proof: services that
/// replay a request take `Request<Buffered>` and nothing else.
///
/// ```
/// use berry_tower::body::Buffered;
///
/// let body = Buffered::from("{}");
/// assert_eq!(body.clone().into_bytes(), "{}");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffered(Bytes);

impl Buffered {
    /// The whole body.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The whole body, given away.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl<T: Into<Bytes>> From<T> for Buffered {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl Body for Buffered {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

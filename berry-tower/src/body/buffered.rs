//! A request body that is completely in memory.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::ByteLease;

/// A complete body, so that the request can be sent again. A clone shares the bytes.
///
/// [`Collect`](https://docs.rs/berry-tower) makes it. Services that send a request more than once
/// take `Request<Buffered>`, so that a stack without that layer does not compile.
///
/// ```
/// use berry_tower::body::Buffered;
///
/// let body = Buffered::from("{}");
/// assert_eq!(body.clone().into_bytes(), "{}");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Buffered {
    bytes: Bytes,
    lease: Option<Arc<ByteLease>>,
}

impl Buffered {
    /// Returns a reference to the whole body.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the whole body. Its lease ends, if it has one.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Attaches the lease on the budget that the bytes count against. It ends when the last clone is
    /// dropped.
    #[must_use]
    pub fn with_lease(mut self, lease: ByteLease) -> Self {
        self.lease = Some(Arc::new(lease));
        self
    }

    /// Returns an empty lease on the budget that the bytes count against, for more memory that the
    /// request needs.
    #[must_use]
    pub fn new_lease(&self) -> Option<ByteLease> {
        self.lease.as_deref().map(ByteLease::sibling)
    }

    /// Returns a body of other bytes, such as an edited copy, that count against the same budget.
    #[must_use]
    pub fn replaced_by(&self, bytes: Bytes) -> Self {
        let lease = match &self.lease {
            Some(lease) if !std::ptr::eq::<[u8]>(&*bytes, &*self.bytes) => {
                let mut copy = lease.sibling();
                copy.grow(bytes.len());
                Some(Arc::new(copy))
            }
            same => same.clone(),
        };
        Self { bytes, lease }
    }
}

impl PartialEq for Buffered {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Buffered {}

impl<T: Into<Bytes>> From<T> for Buffered {
    fn from(bytes: T) -> Self {
        Self { bytes: bytes.into(), lease: None }
    }
}

impl Body for Buffered {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::ByteBudget;

    #[test]
    fn the_lease_ends_with_the_last_clone() {
        let budget = ByteBudget::new(100);
        let mut lease = budget.lease();
        assert!(lease.try_grow(2));
        let body = Buffered::from("{}").with_lease(lease);
        let clone = body.clone();
        drop(body);
        assert_eq!(budget.used(), 2);
        let same = clone.replaced_by(clone.bytes().clone());
        assert_eq!(budget.used(), 2, "the same bytes count once");
        let edited = clone.replaced_by(Bytes::from_static(b"edited"));
        assert_eq!(budget.used(), 8);
        drop((clone, same));
        assert_eq!(budget.used(), 6);
        drop(edited);
        assert_eq!(budget.used(), 0);
    }
}

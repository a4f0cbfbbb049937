//! A response body that tells a guard how it ended, exactly once.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

use crate::error::BoxError;

/// How a body ended.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// All of it was read.
    Complete,
    /// It failed.
    Failed(&'a (dyn Error + 'static)),
    /// It was dropped before its end.
    Dropped,
}

/// Told when a body has ended, once.
pub trait Guard {
    /// The body has ended. A guard that is never told was never given a body.
    fn ended(&mut self, end: End<'_>);
}

impl<G: Guard + ?Sized> Guard for Box<G> {
    fn ended(&mut self, end: End<'_>) {
        (**self).ended(end);
    }
}

/// A body that tells its guard of its end.
///
/// A body ends in four ways: with `None`, with an error, with `is_end_stream` right after a frame
/// (a server need not poll it again), or by being dropped. A body made [`From<Bytes>`] has no
/// guard: it is a refusal, and nobody waits for its end.
///
/// ```
/// use berry_tower::body::{End, Guard, GuardedBody};
/// use http_body_util::{BodyExt, Full};
/// use std::sync::mpsc::{Sender, channel};
///
/// struct Tell(Sender<&'static str>);
/// impl Guard for Tell {
///     fn ended(&mut self, end: End<'_>) {
///         let _ = self.0.send(match end { End::Complete => "complete", _ => "cut" });
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let (tell, told) = channel();
/// let body = GuardedBody::new(Full::new(bytes::Bytes::from("hi")), Tell(tell));
/// assert_eq!(body.collect().await.unwrap().to_bytes(), "hi");
/// assert_eq!(told.iter().collect::<Vec<_>>(), ["complete"]);
/// # }
/// ```
#[pin_project(PinnedDrop)]
#[derive(Debug)]
pub struct GuardedBody<B, G: Guard> {
    #[pin]
    inner: B,
    guard: Option<G>,
}

impl<B, G: Guard> GuardedBody<B, G> {
    /// Lets `guard` know how `inner` ends. One that is at its end already tells so now.
    pub fn new(inner: B, mut guard: G) -> Self
    where
        B: Body,
    {
        if inner.is_end_stream() {
            guard.ended(End::Complete);
            return Self { inner, guard: None };
        }
        Self { inner, guard: Some(guard) }
    }

    /// The body within.
    pub const fn get_ref(&self) -> &B {
        &self.inner
    }
}

impl<B: From<Bytes>, G: Guard> From<Bytes> for GuardedBody<B, G> {
    fn from(bytes: Bytes) -> Self {
        Self { inner: B::from(bytes), guard: None }
    }
}

impl<B, G> Body for GuardedBody<B, G>
where
    B: Body,
    B::Error: Into<BoxError>,
    G: Guard,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx)).map(|frame| frame.map_err(Into::into));
        let end = match &frame {
            None => Some(End::Complete),
            Some(Err(e)) => Some(End::Failed(&**e)),
            Some(Ok(_)) => this.inner.is_end_stream().then_some(End::Complete),
        };
        if let Some(end) = end
            && let Some(mut guard) = this.guard.take()
        {
            guard.ended(end);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[pinned_drop]
impl<B, G: Guard> PinnedDrop for GuardedBody<B, G> {
    fn drop(self: Pin<&mut Self>) {
        if let Some(mut guard) = self.project().guard.take() {
            guard.ended(End::Dropped);
        }
    }
}

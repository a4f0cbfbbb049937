//! A response body that reports to a guard how it ended, exactly once.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

use crate::error::{BoxError, Panicked};

/// How a body ended.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// All of it was read.
    Complete,
    /// It failed, or it panicked: then the error is [`Panicked`].
    Failed(&'a (dyn Error + 'static)),
    /// It was dropped before its end.
    Dropped,
}

/// Told how a body ended, once.
pub trait Guard {
    /// A frame has been read and will be handed on. The default does nothing.
    fn frame(&mut self) {}

    /// Called once when the body has ended.
    fn ended(&mut self, end: End<'_>);
}

impl<G: Guard + ?Sized> Guard for Box<G> {
    fn frame(&mut self) {
        (**self).frame();
    }

    fn ended(&mut self, end: End<'_>) {
        (**self).ended(end);
    }
}

/// A body that reports to its guard how it ended.
///
/// A body is complete when it returns `None`, or as soon as it says after a frame that nothing
/// follows: by `is_end_stream`, or by a size hint of exactly 0. A server that knows the length of a
/// body does not poll it again after its last byte. A body made [`From<Bytes>`] has no guard.
///
/// ```
/// use berry_tower::body::{End, Guard, GuardedBody};
/// use http_body_util::{BodyExt, Full};
/// use std::sync::mpsc::{Sender, channel};
///
/// struct Report(Sender<&'static str>);
/// impl Guard for Report {
///     fn ended(&mut self, end: End<'_>) {
///         let _ = self.0.send(match end { End::Complete => "complete", _ => "cut" });
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let (sender, receiver) = channel();
/// let body = GuardedBody::new(Full::new(bytes::Bytes::from("hi")), Report(sender));
/// assert_eq!(body.collect().await.unwrap().to_bytes(), "hi");
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), ["complete"]);
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
    /// Wraps `inner`. If the body is already at its end, the guard is called at once.
    pub fn new(inner: B, mut guard: G) -> Self
    where
        B: Body,
    {
        if is_at_end(&inner) {
            guard.ended(End::Complete);
            return Self { inner, guard: None };
        }
        Self { inner, guard: Some(guard) }
    }

    /// The wrapped body.
    pub const fn get_ref(&self) -> &B {
        &self.inner
    }
}

impl<B: From<Bytes>, G: Guard> From<Bytes> for GuardedBody<B, G> {
    fn from(bytes: Bytes) -> Self {
        Self { inner: B::from(bytes), guard: None }
    }
}

/// An empty body without a guard, as tower-http's `Cors` and `Timeout` need for their own responses.
impl<B: Default, G: Guard> Default for GuardedBody<B, G> {
    fn default() -> Self {
        Self { inner: B::default(), guard: None }
    }
}

/// Over HTTP/2 the end of a stream may come in a frame of its own after the last byte; only the
/// announced length shows that nothing follows.
pub(crate) fn is_at_end(body: &impl Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

/// Tells the guard of a panic of the body, unless it is disarmed.
struct OnPanic<'a, G: Guard>(Option<&'a mut Option<G>>);

impl<G: Guard> Drop for OnPanic<'_, G> {
    fn drop(&mut self) {
        if let Some(mut guard) = self.0.take().and_then(Option::take) {
            guard.ended(End::Failed(&Panicked));
        }
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
        let mut on_panic = OnPanic(Some(this.guard));
        let polled = this.inner.as_mut().poll_frame(cx);
        let guard = on_panic.0.take();
        drop(on_panic);
        let frame = ready!(polled).map(|frame| frame.map_err(Into::into));
        let Some(guard) = guard else { return Poll::Ready(frame) };
        let end = match &frame {
            None => Some(End::Complete),
            Some(Err(e)) => Some(End::Failed(&**e)),
            Some(Ok(_)) => {
                if let Some(guard) = guard {
                    guard.frame();
                }
                is_at_end(&*this.inner).then_some(End::Complete)
            }
        };
        if let Some(end) = end
            && let Some(mut guard) = guard.take()
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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use http_body_util::BodyExt;

    use super::*;

    /// A body of announced length that learns of its end only by another poll.
    struct Announced {
        frames: Vec<&'static str>,
        left: Option<u64>,
    }

    impl Body for Announced {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            if self.frames.is_empty() {
                return Poll::Ready(None);
            }
            let frame = self.frames.remove(0);
            assert_ne!(frame, "panic");
            self.left = self.left.map(|left| left - frame.len() as u64);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(frame.as_bytes())))))
        }

        fn size_hint(&self) -> SizeHint {
            self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    #[derive(Clone, Default)]
    struct Log(Rc<RefCell<Vec<String>>>);

    impl Guard for Log {
        fn frame(&mut self) {
            self.0.borrow_mut().push("frame".into());
        }

        fn ended(&mut self, end: End<'_>) {
            self.0.borrow_mut().push(match end {
                End::Failed(e) => e.to_string(),
                end => format!("{end:?}"),
            });
        }
    }

    fn guarded(frames: &[&'static str], left: Option<u64>) -> (GuardedBody<Announced, Log>, Log) {
        let log = Log::default();
        (GuardedBody::new(Announced { frames: frames.to_vec(), left }, log.clone()), log)
    }

    #[tokio::test]
    async fn a_body_that_was_read_to_its_last_byte_and_dropped_is_complete() {
        let (mut body, log) = guarded(&["ab", "c"], Some(3));
        body.frame().await;
        assert_eq!(*log.0.borrow(), ["frame"]);
        body.frame().await;
        drop(body);
        assert_eq!(*log.0.borrow(), ["frame", "frame", "Complete"]);

        let (mut body, log) = guarded(&["ab", "c"], None);
        body.frame().await;
        drop(body);
        assert_eq!(*log.0.borrow(), ["frame", "Dropped"]);

        let (body, log) = guarded(&[], Some(0));
        drop(body);
        assert_eq!(*log.0.borrow(), ["Complete"], "there is nothing to read");
    }

    #[tokio::test]
    async fn a_body_that_panics_has_failed() {
        let (mut body, log) = guarded(&["a", "panic"], None);
        body.frame().await;
        let poll = std::panic::AssertUnwindSafe(|| {
            let _ = Pin::new(&mut body).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
        });
        assert!(std::panic::catch_unwind(poll).is_err());
        drop(body);
        assert_eq!(*log.0.borrow(), ["frame", &Panicked.to_string()]);
    }
}

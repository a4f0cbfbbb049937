//! A response body in the client's format, where the upstream's is another one.
//!
//! Each event of a stream is translated into one frame, which is scanned like those of any other
//! stream: the commit point, the checks at the end and the deadlines do not depend on a translation.
//! A plain response is translated when it is complete.

mod events;
mod frames;
mod plain;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use self::{events::Events, plain::Plain};
use crate::{
    backend::Provider,
    body::ByteLease,
    dialect::ResponseTranslator,
    error::{BoxError, Failure},
    progress::Usage,
};

/// The most JSON values of a plain response or of an event.
const MAX_VALUES: usize = 500_000;
/// The bytes of one response that are held without counting against the budget.
const UNCOUNTED: usize = 16 << 10;

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

/// A body as it came, or translated.
#[pin_project(project = Proj)]
pub(super) enum Translated<B> {
    /// Both ends speak the same format.
    Untouched(#[pin] B),
    Plain(Pin<Box<Plain<B>>>),
    Stream(Pin<Box<Events<B>>>),
}

impl<B> fmt::Debug for Translated<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untouched(_) => "Untouched",
            Self::Plain(_) => "Plain",
            Self::Stream(_) => "Stream",
        })
    }
}

impl<B> Translated<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Translates a plain response of `provider`. What is held of it counts against `lease`.
    pub(super) fn plain(
        body: B,
        translator: ResponseTranslator,
        provider: Arc<Provider>,
        lease: Option<ByteLease>,
    ) -> Self {
        Self::Plain(Box::pin(Plain::new(body, translator, provider, lease)))
    }

    /// Translates a stream. What is held of it counts against `lease`.
    pub(super) fn stream(body: B, translator: ResponseTranslator, lease: Option<ByteLease>) -> Self {
        Self::Stream(Box::pin(Events::new(body, translator, lease)))
    }

    /// Whether the upstream has sent a byte, though nothing may have been translated yet.
    pub(super) fn any_byte_received(&self) -> bool {
        match self {
            Self::Untouched(_) => false,
            Self::Plain(plain) => plain.has_read(),
            Self::Stream(events) => events.has_read(),
        }
    }

    /// Returns the tokens that the upstream has reported so far; the translated stream may report them
    /// only at its end.
    pub(super) fn usage(&self) -> Option<Usage> {
        match self {
            Self::Stream(events) => events.usage(),
            Self::Untouched(_) | Self::Plain(_) => None,
        }
    }

    /// Returns the frames that complete the response, if the upstream has sent all of it.
    pub(super) fn final_frames(self: Pin<&mut Self>) -> Bytes {
        match self.project() {
            Proj::Stream(events) => events.as_mut().finish(false),
            Proj::Untouched(_) | Proj::Plain(_) => Bytes::new(),
        }
    }
}

impl<B> Body for Translated<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match self.project() {
            Proj::Untouched(body) => body.poll_frame(cx).map_err(Into::into),
            Proj::Plain(plain) => plain.as_mut().poll(cx),
            Proj::Stream(events) => events.as_mut().poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Untouched(body) => body.is_end_stream(),
            Self::Plain(plain) => plain.is_over(),
            Self::Stream(events) => events.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Untouched(body) => body.size_hint(),
            Self::Plain(_) | Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// The time in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn over_budget() -> Failure {
    Failure::LocalResource("the bytes that are held of requests and responses reach their limit".into())
}

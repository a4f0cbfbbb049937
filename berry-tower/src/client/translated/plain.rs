//! A plain response, translated when it is complete.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use pin_project::pin_project;

use super::{MAX_VALUES, Polled, UNCOUNTED, over_budget};
use crate::{
    backend::Provider,
    body::ByteLease,
    client::upstream_error,
    dialect::ResponseTranslator,
    endpoint::Endpoint,
    error::{BoxError, Failure},
    json::count_values,
    offload::{Offloaded, is_large, offload},
};

/// The longest plain response that is read, in bytes.
const MAX_PLAIN: usize = 64 << 20;
/// The memory that a tree takes for each JSON value, in bytes, apart from the texts in it.
const VALUE_BYTES: usize = 100;

/// A plain response that is read to its end.
#[pin_project]
pub(in crate::client) struct Plain<B> {
    #[pin]
    body: B,
    read: BytesMut,
    /// `None` once the response is being translated.
    work: Option<Work>,
    /// The translation of a large response, on another thread.
    translating: Option<Offloaded<Result<Bytes, Failure>>>,
    over: bool,
}

/// What the translation of a plain response needs.
struct Work {
    translator: ResponseTranslator,
    provider: Arc<Provider>,
    lease: Option<ByteLease>,
}

impl Work {
    /// Counts the bytes that were read, and those of a tree of so many values.
    fn hold(&mut self, read: usize, values: usize) -> Result<(), Failure> {
        let bytes = read.saturating_add(values.saturating_mul(VALUE_BYTES));
        let has_room = bytes <= UNCOUNTED || self.lease.as_mut().is_none_or(|lease| lease.try_resize(bytes));
        if has_room { Ok(()) } else { Err(over_budget()) }
    }

    fn translate(mut self, read: &[u8]) -> Result<Bytes, Failure> {
        let values = count_values(read);
        if values > MAX_VALUES {
            return Err(Failure::InvalidResponse("a response of too many values"));
        }
        self.hold(read.len(), values)?;
        self.translator.set_time(super::now());
        let invalid = |read, what| invalid_response(read, what, &self.provider);
        match self.translator.translate_response(read) {
            Ok(response) => Ok(response.into()),
            Err(malformed) => Err(invalid(read, malformed.description())),
        }
    }
}

impl<B> Plain<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(
        body: B,
        translator: ResponseTranslator,
        provider: Arc<Provider>,
        lease: Option<ByteLease>,
    ) -> Self {
        let (work, translating) = (Some(Work { translator, provider, lease }), None);
        Self { body, read: BytesMut::new(), work, translating, over: false }
    }

    /// Whether a byte has been read.
    pub(super) fn has_read(&self) -> bool {
        !self.read.is_empty()
    }

    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Until the response is complete each frame becomes an empty one, which shows that the upstream
    /// is alive.
    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        if let Some(translating) = this.translating {
            let translated = ready!(translating.as_mut().poll(cx));
            *this.over = true;
            return Poll::Ready(Some(translated.map(Frame::data).map_err(Into::into)));
        }
        let result = match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) => {
                let bytes = frame.into_data().unwrap_or_default();
                let length = this.read.len() + bytes.len();
                let held = match this.work {
                    _ if length > MAX_PLAIN => Err(Failure::InvalidResponse("a response of over 64 MiB")),
                    Some(work) => work.hold(length, 0),
                    None => Ok(()),
                };
                *this.over = held.is_err();
                this.read.extend_from_slice(if *this.over { &[] } else { &bytes });
                held.map(|()| Bytes::new()).map_err(Into::into)
            }
            Some(Err(error)) => Err(error.into()),
            None => {
                let (read, Some(work)) = (this.read.split().freeze(), this.work.take()) else {
                    return Poll::Ready(None);
                };
                if is_large(read.len()) {
                    *this.translating = Some(offload(move || work.translate(&read)));
                    Ok(Bytes::new())
                } else {
                    *this.over = true;
                    work.translate(&read).map_err(Into::into)
                }
            }
        };
        Poll::Ready(Some(result.map(Frame::data)))
    }
}

/// The failure of a body that is no response: an error that came with a 2xx, or anything else.
fn invalid_response(read: &[u8], what: &'static str, provider: &Provider) -> Failure {
    let error = upstream_error::parse(read, Endpoint::ChatCompletions, provider);
    let is_error = error.message.is_some() && serde_json::from_slice::<serde_json::Value>(read).is_ok();
    if is_error { Failure::ErrorEvent(Box::new(error)) } else { Failure::InvalidResponse(what) }
}

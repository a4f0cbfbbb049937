//! A body whose first frames were held back.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::error::BoxError;

/// The frames that were held back, then the rest of the body.
#[pin_project]
#[derive(Debug)]
pub struct CommittedBody<B> {
    held: VecDeque<Bytes>,
    length: usize,
    /// Boxed, so that it can be read while it is held back and moved afterwards; `None` at its end.
    rest: Option<Pin<Box<B>>>,
}

impl<B> CommittedBody<B> {
    pub(super) fn new(body: B) -> Self {
        Self { held: VecDeque::new(), length: 0, rest: Some(Box::pin(body)) }
    }

    /// How many bytes are held back.
    pub(super) const fn held(&self) -> usize {
        self.length
    }
}

impl<B> CommittedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Holds one more frame back; `false` at the end.
    pub(super) fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BoxError>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(Ok(false)) };
        let frame = if rest.is_end_stream() { None } else { ready!(rest.as_mut().poll_frame(cx)) };
        match frame {
            None => self.rest = None,
            Some(frame) => {
                if let Ok(bytes) = frame.map_err(Into::into)?.into_data() {
                    self.length += bytes.len();
                    self.held.push_back(bytes);
                }
            }
        }
        Poll::Ready(Ok(self.rest.is_some()))
    }
}

impl<B: From<Bytes>> From<Bytes> for CommittedBody<B> {
    fn from(bytes: Bytes) -> Self {
        let length = bytes.len();
        Self { held: if length == 0 { VecDeque::new() } else { [bytes].into() }, length, rest: None }
    }
}

impl<B> Body for CommittedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if let Some(bytes) = this.held.pop_front() {
            *this.length -= bytes.len();
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(rest) = this.rest else { return Poll::Ready(None) };
        let frame = ready!(rest.as_mut().poll_frame(cx)).map(|frame| frame.map_err(Into::into));
        if matches!(frame, None | Some(Err(_))) {
            *this.rest = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let held = self.length as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(held)) {
            hint.set_upper(upper);
        }
        hint
    }
}

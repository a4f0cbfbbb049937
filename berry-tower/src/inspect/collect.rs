//! A request's body, read whole, within its bounds.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Bounds, bad_request, too_large, too_slow};
use crate::{
    render::Refusal,
    upstream_time::{UpstreamTime, Waiting},
};

/// A body on its way in. One that comes in one piece, as most do, is not copied.
#[pin_project]
pub(super) struct Collect<B> {
    #[pin]
    body: B,
    bounds: Bounds,
    /// How long it is at least.
    least: u64,
    whole: Bytes,
    pieces: BytesMut,
    silence: Option<Silence>,
    /// Left to run out rather than set anew for each piece.
    #[pin]
    timer: Option<Sleep>,
}

/// The wait for the next piece.
struct Silence {
    until: Instant,
    /// How fast the caller sends is its own affair.
    _paused: Option<Waiting>,
}

impl<B: Body> Collect<B> {
    pub(super) fn new(headers: &HeaderMap, body: B, bounds: Bounds) -> Result<Self, Box<Refusal>> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let least = announced.unwrap_or_default().max(body.size_hint().lower());
        if least > bounds.max_body as u64 {
            return Err(too_large(bounds.max_body));
        }
        Ok(Self { body, bounds, least, whole: Bytes::new(), pieces: BytesMut::new(), silence: None, timer: None })
    }

    pub(super) fn poll(
        self: Pin<&mut Self>,
        time: Option<&UpstreamTime>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, Box<Refusal>>> {
        let mut this = self.project();
        let Bounds { max_body, max_silence } = *this.bounds;
        loop {
            let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) else {
                let until = |at: Instant| Silence { until: at + max_silence, _paused: time.map(UpstreamTime::pause) };
                let silence = this.silence.get_or_insert_with(|| until(Instant::now()));
                if this.timer.is_none() {
                    this.timer.set(Some(sleep_until(silence.until)));
                }
                let Some(mut timer) = this.timer.as_mut().as_pin_mut() else { return Poll::Pending };
                while timer.as_mut().poll(cx).is_ready() {
                    if timer.deadline() >= silence.until {
                        return Poll::Ready(Err(too_slow(max_silence)));
                    }
                    timer.as_mut().reset(silence.until);
                }
                return Poll::Pending;
            };
            let Some(frame) = frame else { break };
            let Ok(frame) = frame else {
                return Poll::Ready(Err(bad_request("the request's body broke off before its end")));
            };
            let Ok(mut data) = frame.into_data() else { continue };
            let more = data.remaining();
            if more == 0 {
                continue;
            }
            *this.silence = None;
            if this.whole.len() + this.pieces.len() + more > max_body {
                return Poll::Ready(Err(too_large(max_body)));
            }
            if this.whole.is_empty() && this.pieces.is_empty() {
                *this.whole = data.copy_to_bytes(more);
            } else {
                if this.pieces.is_empty() {
                    // The announced length is believed only so far: no bytes have come for it yet.
                    let believed = usize::try_from(*this.least).unwrap_or(0).min(1 << 20);
                    this.pieces.reserve(believed.max(this.whole.len() + more));
                    this.pieces.extend_from_slice(this.whole);
                    *this.whole = Bytes::new();
                }
                this.pieces.put(data);
            }
        }
        *this.silence = None;
        let (whole, pieces) = (std::mem::take(this.whole), std::mem::take(this.pieces));
        Poll::Ready(Ok(if pieces.is_empty() { whole } else { pieces.freeze() }))
    }
}

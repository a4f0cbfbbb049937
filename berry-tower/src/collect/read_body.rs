//! Reads a body to its end, within limits.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{header::CONTENT_LENGTH, request::Parts};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Budget, Limits, error::CollectError, lease::Lease, pace::Pace};
use crate::error::BoxError;
use crate::upstream_time::{UpstreamTime, Waiting};

/// How much of an announced length is allocated before the bytes have arrived.
const MAX_PREALLOCATED: usize = 1 << 20;
/// The longest body that takes no share of the budget; most bodies are shorter.
const MAX_UNSHARED: u64 = 64 << 10;

/// A body while it is read. A body that arrives in one frame, as most do, is not copied.
#[pin_project]
pub(super) struct ReadBody<B> {
    #[pin]
    body: B,
    limits: Limits,
    /// The lower bound of the size, from `Content-Length` and the size hint.
    announced: u64,
    /// The only frame so far; empty if there are none or several.
    first: Bytes,
    /// All frames so far; empty if there are fewer than two.
    joined: BytesMut,
    lease: Option<Lease>,
    /// `None` as long as the body was never waited for.
    pace: Option<Pace>,
    /// The time in which the client sends is not the gateway's own.
    paused: Option<Waiting>,
    /// A timer that fires too early is cheaper than one that is reset for each frame.
    #[pin]
    timer: Option<Sleep>,
}

impl<B> ReadBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(head: &Parts, body: B, limits: Limits, budget: &Budget) -> Result<Self, CollectError> {
        let length = head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let size = body.size_hint();
        let announced = length.unwrap_or_default().max(size.lower());
        if announced > limits.max_body as u64 {
            return Err(CollectError::TooLarge(limits.max_body));
        }
        let is_short = length.or(size.upper()).is_some_and(|length| length.max(announced) <= MAX_UNSHARED);
        let lease = Some(Lease::new(budget, (!is_short).then_some(&head.extensions)));
        let (first, joined) = (Bytes::new(), BytesMut::new());
        Ok(Self { body, limits, announced, first, joined, lease, pace: None, paused: None, timer: None })
    }

    pub(super) fn poll(
        mut self: Pin<&mut Self>,
        time: Option<&UpstreamTime>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Bytes, Lease), CollectError>> {
        loop {
            let mut this = self.as_mut().project();
            let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) else {
                ready!(self.poll_deadline(time, cx))?;
                return Poll::Pending;
            };
            let Some(frame) = frame else { break };
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => return Poll::Ready(Err(CollectError::of_body(&*error.into()))),
            };
            let Ok(data) = frame.into_data() else { continue };
            if data.has_remaining() {
                self.as_mut().add(data)?;
            }
        }
        let this = self.project();
        *this.paused = None;
        let (first, joined) = (std::mem::take(this.first), std::mem::take(this.joined));
        let Some(lease) = this.lease.take() else { return Poll::Pending };
        Poll::Ready(Ok((if joined.is_empty() { first } else { joined.freeze() }, lease)))
    }

    fn add(self: Pin<&mut Self>, mut data: B::Data) -> Result<(), CollectError> {
        let this = self.project();
        let added = data.remaining();
        if let Some(pace) = this.pace {
            pace.record_bytes(added);
        }
        *this.paused = None;
        let max_body = this.limits.max_body;
        if max_body.checked_sub(this.first.len() + this.joined.len()).is_none_or(|left| added > left) {
            return Err(CollectError::TooLarge(max_body));
        }
        if let Some(lease) = this.lease {
            lease.try_grow(added)?;
        }
        if this.first.is_empty() && this.joined.is_empty() {
            *this.first = data.copy_to_bytes(added);
            return Ok(());
        }
        if this.joined.is_empty() {
            let announced = usize::try_from(*this.announced).unwrap_or(0).min(MAX_PREALLOCATED);
            this.joined.reserve(announced.max(this.first.len() + added));
            this.joined.extend_from_slice(&std::mem::take(this.first));
        }
        this.joined.put(data);
        Ok(())
    }

    /// Waits until a limit is exceeded.
    fn poll_deadline(
        self: Pin<&mut Self>,
        time: Option<&UpstreamTime>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CollectError>> {
        let mut this = self.project();
        let pace = this.pace.get_or_insert_with(|| Pace::new(Instant::now()));
        pace.record_wait();
        if this.paused.is_none() {
            *this.paused = time.map(UpstreamTime::pause);
        }
        loop {
            let Some(deadline) = pace.deadline(this.limits) else { return Poll::Pending };
            match this.timer.as_mut().as_pin_mut() {
                None => this.timer.set(Some(sleep_until(deadline))),
                Some(mut timer) => {
                    ready!(timer.as_mut().poll(cx));
                    pace.check(Instant::now(), this.limits).map_err(CollectError::TooSlow)?;
                    if let Some(deadline) = pace.deadline(this.limits) {
                        timer.reset(deadline);
                    }
                }
            }
        }
    }
}

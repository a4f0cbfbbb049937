//! The byte stream below a connection, and what must be known of it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{settings::SettingsReader, slots::StreamSlots};

/// What a connection's byte stream reports to the pool.
#[derive(Debug, Default)]
pub(super) struct Received(AtomicBool);

impl Received {
    /// Forgets earlier bytes, which belong to earlier responses; called before a request is written.
    pub(super) fn reset(&self) {
        self.0.store(false, Relaxed);
    }

    /// Whether a byte has come since [`reset`](Self::reset).
    pub(super) fn any(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// A byte stream that notes whether bytes arrive.
///
/// Under HTTP/1 it hides write errors: an upstream that answers before it has read the whole
/// request, and then closes, leaves its response in the receive buffer. A write error reported to
/// hyper would discard that response; without it, hyper reads the response, or the end of the stream.
///
/// Under HTTP/2 it reads the peer's first SETTINGS frame, since hyper does not report when it arrives.
#[pin_project]
pub(super) struct Monitored<S> {
    #[pin]
    stream: S,
    received: Arc<Received>,
    /// Present until the first SETTINGS frame of HTTP/2 has been read.
    settings: Option<(SettingsReader, Arc<StreamSlots>)>,
    hides_write_errors: bool,
    write_failed: bool,
}

impl<S> Monitored<S> {
    pub(super) fn http1(stream: S) -> (Self, Arc<Received>) {
        let received = Arc::<Received>::default();
        let monitored =
            Self { stream, received: received.clone(), settings: None, hides_write_errors: true, write_failed: false };
        (monitored, received)
    }

    pub(super) fn http2(stream: S, slots: Arc<StreamSlots>) -> Self {
        let settings = Some((SettingsReader::default(), slots));
        Self { stream, received: Arc::default(), settings, hides_write_errors: false, write_failed: false }
    }
}

impl<S: AsyncRead> AsyncRead for Monitored<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buf.filled().len();
        let result = this.stream.poll_read(cx, buf);
        let new = &buf.filled()[before..];
        if !new.is_empty() {
            this.received.0.store(true, Relaxed);
            if let Some((reader, slots)) = this.settings
                && let Some(limit) = reader.push(new)
            {
                slots.set_peer_limit(limit);
                *this.settings = None;
            }
        }
        result
    }
}

impl<S: AsyncWrite> AsyncWrite for Monitored<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        if *this.write_failed {
            return Poll::Ready(Ok(buf.len()));
        }
        match this.stream.poll_write(cx, buf) {
            Poll::Ready(Err(_)) if *this.hides_write_errors => {
                *this.write_failed = true;
                Poll::Ready(Ok(buf.len()))
            }
            result => result,
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let all = || bufs.iter().map(|buf| buf.len()).sum();
        if *this.write_failed {
            return Poll::Ready(Ok(all()));
        }
        match this.stream.poll_write_vectored(cx, bufs) {
            Poll::Ready(Err(_)) if *this.hides_write_errors => {
                *this.write_failed = true;
                Poll::Ready(Ok(all()))
            }
            result => result,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        if *this.write_failed {
            return Poll::Ready(Ok(()));
        }
        match this.stream.poll_flush(cx) {
            Poll::Ready(Err(_)) if *this.hides_write_errors => {
                *this.write_failed = true;
                Poll::Ready(Ok(()))
            }
            result => result,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        if *this.write_failed {
            return Poll::Ready(Ok(()));
        }
        this.stream.poll_shutdown(cx)
    }
}

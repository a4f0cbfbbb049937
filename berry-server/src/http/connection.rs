//! One client's connection, cut off where it makes no progress: a head that comes slowly, an answer
//! that is not taken, no request at all.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

/// A request's head must come within this time of its first byte; the first one within this time
/// of the connection.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may be idle between two requests: longer than the pools of the usual
/// clients and proxies keep one, so that it is they who close it.
const IDLE: Duration = Duration::from_secs(75);
/// How long a client may take none of what it is sent.
const WRITE: Duration = Duration::from_secs(60);

/// Whether the connection is serving a request, rather than waiting for the head of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Serving(Arc<AtomicBool>);

impl Serving {
    /// The head of a request is complete.
    pub(crate) fn begin(&self) {
        self.0.store(true, Relaxed);
    }

    /// Its answer has ended; the next bytes are a new head.
    pub(crate) fn end(&self) {
        self.0.store(false, Relaxed);
    }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    serving: Serving,
    head: Deadline,
    idle: Deadline,
    write: Deadline,
}

/// A timer that is set when something is waited for, and forgotten when it has come. One that was
/// set is left to run out rather than set anew each time, which is dearer.
#[derive(Debug, Default)]
struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn start(&mut self, after: Duration) {
        self.at.get_or_insert_with(|| Instant::now() + after);
    }

    fn passed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.at else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= at {
                return true;
            }
            timer.as_mut().reset(at);
        }
        false
    }
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, serving: Serving) -> Self {
        let mut head = Deadline::default();
        head.start(HEAD);
        Self { stream, serving, head, idle: Deadline::default(), write: Deadline::default() }
    }

    /// Whether neither a head nor its first byte is waited for.
    fn is_serving(&mut self) -> bool {
        let serving = self.serving.0.load(Relaxed);
        if serving {
            (self.head.at, self.idle.at) = (None, None);
        }
        serving
    }

    /// What a write came to, or that the client has taken nothing for too long.
    fn written<T>(&mut self, result: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write.at = None;
            return result;
        }
        self.write.start(WRITE);
        if self.write.passed(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")));
        }
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.is_serving() {
            return result;
        }
        if result.is_ready() {
            if buf.filled().len() > before {
                this.head.start(HEAD);
            }
            return result;
        }
        if this.head.at.is_none() {
            this.idle.start(IDLE);
            if this.idle.passed(cx) {
                // As if the client had closed it.
                return Poll::Ready(Ok(()));
            }
        } else if this.head.passed(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request's head came too slowly")));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(result, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // The next request may have been asked for while this one's answer was still going out, and
        // is not asked for again: so it is here that the connection begins to be idle.
        if !this.is_serving() && this.head.at.is_none() && this.idle.at.is_none() {
            this.idle.start(IDLE);
            if this.idle.passed(cx) {
                cx.waker().wake_by_ref();
            }
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

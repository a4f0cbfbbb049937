//! One client's connection, with limits on what a client can hold without a request: slow heads, large heads, responses
//! that it does not read, and idle time.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use super::malformed;

/// The time from the first byte of a request's head to its last. The first head must be complete this long after the
/// connection was accepted.
const HEAD: Duration = Duration::from_secs(10);
/// The time that a connection may be idle between two requests. It is longer than the pools of the usual clients and
/// proxies keep a connection, so that they close it first.
const IDLE: Duration = Duration::from_secs(75);
/// The time in which a client must read some of its response.
const WRITE: Duration = Duration::from_secs(60);
/// The time in which a client that was refused below HTTP may read the response before the connection is closed.
const LINGER: Duration = Duration::from_secs(2);
/// The same for a client whose connection another one is waiting for.
const SHORT_LINGER: Duration = Duration::from_millis(200);
/// The most bytes that are read before a request's head is complete. It does not hold for a connection that has carried
/// an authenticated request: there a long conversation is read in one piece.
const MAX_HEAD: usize = 64 * 1024;

/// How a client begins that takes HTTP/2 for granted.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";

/// What a connection is doing, shared by its socket, its requests and the listener.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionState(Arc<State>);

struct State {
    created: Instant,
    is_serving: AtomicBool,
    is_trusted: AtomicBool,
    is_displaced: AtomicBool,
    /// Milliseconds from `created` to the end of the last response.
    idle_since: AtomicU64,
    /// Wakes the task that reads the connection.
    reader: AtomicWaker,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("is_serving", &self.is_serving).finish_non_exhaustive()
    }
}

impl ConnectionState {
    pub(crate) fn new() -> Self {
        Self(Arc::new(State {
            created: Instant::now(),
            is_serving: AtomicBool::new(false),
            is_trusted: AtomicBool::new(false),
            is_displaced: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            reader: AtomicWaker::new(),
        }))
    }

    /// Records that the head of a request is complete.
    pub(crate) fn begin(&self) {
        self.0.is_serving.store(true, Relaxed);
    }

    /// Records that the response has ended; the next bytes belong to a new head.
    pub(crate) fn end(&self) {
        let idle_since = u64::try_from(self.0.created.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.idle_since.store(idle_since, Relaxed);
        self.0.is_serving.store(false, Relaxed);
    }

    /// Records that the client has sent a valid token on this connection.
    pub(crate) fn trust(&self) {
        self.0.is_trusted.store(true, Relaxed);
    }

    /// Returns since when the connection has had no complete request; `None` while it is serving one, or if it is being
    /// closed.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let State { created, is_serving, is_displaced, idle_since, .. } = &*self.0;
        let is_idle = !is_serving.load(Relaxed) && !is_displaced.load(Relaxed);
        is_idle.then(|| *created + Duration::from_millis(idle_since.load(Relaxed)))
    }

    /// Closes the connection as soon as it is not serving a request.
    pub(super) fn displace(&self) {
        self.0.is_displaced.store(true, Relaxed);
        self.0.reader.wake();
    }

    /// Whether the connection has ended: nothing but the listener knows of it.
    pub(super) fn is_closed(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn is_serving(&self) -> bool {
        self.0.is_serving.load(Relaxed)
    }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    state: ConnectionState,
    head: Deadline,
    idle: Deadline,
    write: Deadline,
    /// The bytes read since the last request.
    head_bytes: usize,
    refusal: Option<Refusing>,
}

/// A response to a request that is no valid HTTP. Everything else that the client sends is discarded.
#[derive(Debug)]
struct Refusing {
    unsent: Bytes,
    linger: Deadline,
}

/// A deadline whose timer is left to run out rather than reset for each wait, which is cheaper.
#[derive(Debug, Default)]
struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn start(&mut self, after: Duration) {
        self.at.get_or_insert_with(|| Instant::now() + after);
    }

    fn has_passed(&mut self, cx: &mut Context<'_>) -> bool {
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
    pub(crate) fn new(stream: TcpStream, state: ConnectionState) -> Self {
        let mut head = Deadline::default();
        head.start(HEAD);
        let (idle, write) = (Deadline::default(), Deadline::default());
        Self { stream, state, head, idle, write, head_bytes: 0, refusal: None }
    }

    /// Whether a request is being served. If so, no head is waited for.
    fn is_serving(&mut self) -> bool {
        let is_serving = self.state.is_serving();
        if is_serving {
            (self.head.at, self.idle.at, self.head_bytes) = (None, None, 0);
        }
        is_serving
    }

    /// Checks that the client reads its response.
    fn check_write<T>(&mut self, result: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write.at = None;
            return result;
        }
        self.write.start(WRITE);
        if self.write.has_passed(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its response")));
        }
        Poll::Pending
    }

    /// Refuses the request with `response`, and ignores the rest of what the client sends.
    fn refuse(&mut self, response: Bytes, linger_for: Duration) -> &mut Refusing {
        let mut linger = Deadline::default();
        linger.start(linger_for);
        self.refusal.insert(Refusing { unsent: response, linger })
    }

    /// Sends a refusal as far as the socket takes it.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(refusal) = &mut self.refusal else { return Poll::Ready(Ok(())) };
        while refusal.unsent.has_remaining() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &refusal.unsent))?;
            refusal.unsent.advance(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and discards until the client has closed the connection or had enough time to read the refusal. Closed
    /// earlier, with bytes unread, the connection would be reset and the response lost.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_refusal(cx)?.is_ready() {
            let _ = Pin::new(&mut self.stream).poll_shutdown(cx)?;
        }
        let mut discarded = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut discarded);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if buf.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        if self.refusal.as_mut().is_some_and(|refusal| refusal.linger.has_passed(cx)) {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refusal.is_some() {
            // An end of the stream, once the client has the refusal.
            return this.poll_linger(cx);
        }
        let (is_serving, before) = (this.is_serving(), buf.filled().len());
        let result = if is_serving || this.state.0.is_trusted.load(Relaxed) {
            Pin::new(&mut this.stream).poll_read(cx, buf)
        } else {
            let left = MAX_HEAD.saturating_sub(this.head_bytes);
            if left == 0 {
                this.refuse(malformed::head_too_large(), LINGER);
                return this.poll_linger(cx);
            }
            let mut limited = ReadBuf::new(buf.initialize_unfilled_to(left.min(buf.remaining())));
            let result = Pin::new(&mut this.stream).poll_read(cx, &mut limited);
            let read = limited.filled().len();
            buf.advance(read);
            this.head_bytes += read;
            // hyper closes such a connection without a response.
            if this.head_bytes == read && buf.filled()[before..].starts_with(HTTP2) {
                this.refuse(malformed::not_http1(), LINGER);
                return this.poll_linger(cx);
            }
            result
        };
        if !is_serving && buf.filled().len() > before {
            this.head.start(HEAD);
        }
        if result.is_pending() {
            this.state.0.reader.register(cx.waker());
        }
        if is_serving || result.is_ready() {
            return result;
        }
        if this.state.0.is_displaced.load(Relaxed) {
            if this.head_bytes > 0 {
                this.refuse(malformed::displaced(), SHORT_LINGER);
                return this.poll_linger(cx);
            }
            // As if the client had closed it.
            return Poll::Ready(Ok(()));
        }
        if this.head.at.is_none() {
            this.idle.start(IDLE);
            if this.idle.has_passed(cx) {
                return Poll::Ready(Ok(()));
            }
        } else if this.head.has_passed(cx) {
            if this.head_bytes > 0 {
                this.refuse(malformed::head_too_slow(), LINGER);
                return this.poll_linger(cx);
            }
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request's head came too slowly")));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(response) = malformed::with_body(buf) {
            self.refuse(response, LINGER);
            let _ = self.poll_refusal(cx)?;
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.check_write(result, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [head] = bufs
            && malformed::with_body(head).is_some()
        {
            return self.poll_write(cx, head);
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.check_write(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_refusal(cx))?;
        // hyper may have asked for the next request while this response was still being sent, and does not ask again:
        // so the connection begins to be idle here.
        if !this.is_serving() && this.head.at.is_none() && this.idle.at.is_none() {
            this.idle.start(IDLE);
            if this.idle.has_passed(cx) {
                cx.waker().wake_by_ref();
            }
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refusal.is_some() {
            return self.poll_linger(cx);
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

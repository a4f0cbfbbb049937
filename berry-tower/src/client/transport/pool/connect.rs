//! Making connections: what a request waits for when none is free.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    task::Poll,
};

use http::uri::PathAndQuery;
use hyper::client::conn::{http1, http2};
use hyper_util::{
    client::legacy::connect::Connection,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    Pool,
    connection::{self, BoxConnection},
    connector::Stream,
    handover::Handover,
    idle::Shared,
    io::Monitored,
    slots::StreamSlots,
};
use crate::{
    client::{after, transport::failure},
    error::{Deadline, Failure},
};

/// Makes a connection; `None` where another one was made meanwhile, and none has room.
type Making = Pin<Box<dyn Future<Output = Result<Option<BoxConnection>, Failure>> + Send>>;

impl Pool {
    /// Returns the first connection that is made or becomes free, and whether it has carried
    /// requests before. A `fresh` one is made for this request.
    ///
    /// Under HTTP/1 each waiter makes one; if another becomes free before, the one made is kept for
    /// the next request. Where the upstream may speak HTTP/2, one is made for all waiters, and
    /// another when no stream is free, up to `max`.
    pub(super) async fn connect(self: &Arc<Self>, max: usize, fresh: bool) -> Result<(BoxConnection, bool), Failure> {
        self.watch();
        let deadline = after(Instant::now(), self.timeout);
        if fresh && let Some(made) = self.make(deadline, max, true).await? {
            return Ok((made, false));
        }
        let _waiting = self.waiters.enter();
        let failures = self.failures.load(Acquire);
        let mut making: Option<Making> = None;
        let mut freed = pin!(self.waiters.freed().notified());
        let mut expiry = pin!(sleep_until(deadline));
        let (connection, reused) = poll_fn(|cx| {
            loop {
                // Both are read before the look at what is free, so that no change is missed.
                while freed.as_mut().poll(cx).is_ready() {
                    freed.set(self.waiters.freed().notified());
                }
                let is_connecting = self.is_connecting.load(Acquire);
                if let Some(free) = self.idle.poll_take(cx) {
                    return Poll::Ready(Ok((free, true)));
                }
                if making.is_none() {
                    making = if !self.is_sharing() {
                        Some(self.make(deadline, max, false))
                    } else if is_connecting {
                        None
                    } else if self.failures.load(Acquire) != failures {
                        // The one that was made for all has failed: each waiter learns for itself.
                        Some(self.make(deadline, max, false))
                    } else if self.idle.may_grow(max) {
                        self.connect_shared(deadline, max)
                    } else {
                        None
                    };
                }
                match making.as_mut().map(|making| making.as_mut().poll(cx)) {
                    Some(Poll::Ready(Ok(Some(made)))) => return Poll::Ready(Ok((made, false))),
                    Some(Poll::Ready(Ok(None))) => making = None,
                    Some(Poll::Ready(Err(failure))) => return Poll::Ready(Err(failure)),
                    Some(Poll::Pending) | None => break,
                }
            }
            if expiry.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            Poll::Ready(Err(if self.idle.is_full(max) {
                Failure::LocalResource("all connections to the provider carry as many requests as they can".into())
            } else {
                Failure::Timeout(Deadline::Connect)
            }))
        })
        .await?;
        if let Some(making) = making.filter(|_| reused) {
            tokio::spawn(self.clone().keep(making));
        }
        Ok((connection, reused))
    }

    /// Whether one connection may serve several requests at once.
    fn is_sharing(&self) -> bool {
        self.destination.is_secure() && !self.is_exclusive.load(Relaxed)
    }

    /// Makes a connection for all waiters, even if none is left; `None` if one is being made.
    fn connect_shared(self: &Arc<Self>, deadline: Instant, max: usize) -> Option<Making> {
        if self.is_connecting.swap(true, AcqRel) {
            return None;
        }
        let (give, given) = oneshot::channel();
        let (making, connecting) = (self.make(deadline, max, false), Connecting(self.clone()));
        tokio::spawn(async move {
            let made = making.await;
            if made.is_err() {
                connecting.0.failures.fetch_add(1, AcqRel);
            }
            if let Err(Ok(Some(unclaimed))) = give.send(made) {
                connecting.0.put(unclaimed);
            }
        });
        Some(Box::pin(async { given.await.unwrap_or_else(|gone| Err(Failure::Connect(gone.into()))) }))
    }

    fn make(self: &Arc<Self>, deadline: Instant, max: usize, is_fresh: bool) -> Making {
        let pool = self.clone();
        Box::pin(async move {
            let to = pool.destination.uri(PathAndQuery::from_static("/"));
            let stream = pool.connector.connect(to, deadline).await?;
            let is_exclusive = !stream.connected().is_negotiated_h2();
            pool.is_exclusive.store(is_exclusive, Relaxed);
            let made =
                if is_exclusive { exclusive(stream).await.map(Some) } else { pool.shared(stream, max, is_fresh).await };
            made.map_err(|error| failure::lost(error.into()))
        })
    }

    /// Makes an HTTP/2 connection, which serves other waiters as well.
    async fn shared(&self, stream: Stream, max: usize, is_fresh: bool) -> hyper::Result<Option<BoxConnection>> {
        let slots = Arc::new(StreamSlots::new(self.config.max_streams, self.waiters.clone()));
        let stream = TokioIo::new(Monitored::http2(TokioIo::new(stream), slots.clone()));
        let config = &self.config;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(config.stream_window)
            .initial_connection_window_size(config.connection_window())
            .keep_alive_interval(config.keep_alive)
            .keep_alive_timeout(config.keep_alive_timeout);
        let (mut sender, connection) = builder.handshake(stream).await?;
        let handover = Handover::default();
        let driven = tokio::spawn(handover.clone().drive(connection));
        if let Err(closed) = sender.ready().await {
            return Err(reason(driven).await.unwrap_or(closed));
        }
        let stream = self.idle.share(Shared { sender, handover, slots }, max, is_fresh);
        self.waiters.notify_all();
        Ok(stream)
    }

    async fn keep(self: Arc<Self>, making: Making) {
        if let Ok(Some(made)) = making.await {
            self.put(made);
        }
    }
}

/// Makes an HTTP/1 connection.
async fn exclusive(stream: Stream) -> hyper::Result<BoxConnection> {
    let (stream, received) = Monitored::http1(TokioIo::new(stream));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let handover = Handover::default();
    let driven = tokio::spawn(handover.clone().drive(connection.with_upgrades()));
    if let Err(closed) = sender.ready().await {
        return Err(reason(driven).await.unwrap_or(closed));
    }
    Ok(connection::http1(sender, handover, received))
}

/// Why a connection ended, which says more than that it is closed.
async fn reason(driven: JoinHandle<hyper::Result<()>>) -> Option<hyper::Error> {
    driven.await.ok()?.err()
}

/// Marks that a connection is being made for all waiters.
struct Connecting(Arc<Pool>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.is_connecting.store(false, Release);
        self.0.waiters.notify_all();
    }
}

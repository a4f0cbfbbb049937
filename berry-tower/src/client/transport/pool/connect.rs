//! How connections are made: what a request waits for when none is free.

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
use hyper_util::{client::legacy::connect::Connection, rt::TokioExecutor};
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};

use super::{
    Pool,
    connection::{self, Boxed},
    connector::Stream,
};
use crate::error::Failure;

type Making = Pin<Box<dyn Future<Output = Result<Boxed, Failure>> + Send>>;

impl Pool {
    /// The first connection to be made or to become free, and whether it has had requests before.
    ///
    /// Each that waits has one made; when another becomes free before, what was made is kept for
    /// the next request. Where the upstream may speak HTTP/2, one is made for all at first.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<(Boxed, bool), Failure> {
        self.watch();
        let deadline = Instant::now() + self.timeout;
        let _waiting = Waiting::new(self);
        let mut making = if self.is_sharing() { self.make_for_all(deadline) } else { Some(self.make(deadline)) };
        let mut freed = pin!(self.freed.notified());
        let (connection, reused) = poll_fn(|cx| {
            // These two before the look at what is free, so that nothing is missed in between.
            while freed.as_mut().poll(cx).is_ready() {
                freed.set(self.freed.notified());
            }
            let is_connecting = self.is_connecting.load(Acquire);
            if let Some(free) = self.idle.poll_take(cx) {
                return Poll::Ready(Ok((free, true)));
            }
            if making.is_none() && !is_connecting {
                // The one that was made for all has failed, or has room for one only.
                making = Some(self.make(deadline));
            }
            match &mut making {
                Some(making) => making.as_mut().poll(cx).map_ok(|made| (made, false)),
                None => Poll::Pending,
            }
        })
        .await?;
        if let Some(making) = making.filter(|_| reused) {
            tokio::spawn(self.clone().keep(making));
        }
        Ok((connection, reused))
    }

    /// Whether one connection may do for all.
    fn is_sharing(&self) -> bool {
        self.destination.is_secure() && !self.is_exclusive.load(Relaxed)
    }

    /// A connection for whoever waits, which is made even if nobody does any more; nothing if one is
    /// being made already.
    fn make_for_all(self: &Arc<Self>, deadline: Instant) -> Option<Making> {
        if self.is_connecting.swap(true, AcqRel) {
            return None;
        }
        let (give, given) = oneshot::channel();
        let (making, connecting) = (self.make(deadline), Connecting(self.clone()));
        tokio::spawn(async move {
            if let Err(Ok(unclaimed)) = give.send(making.await) {
                connecting.0.put(unclaimed);
            }
        });
        Some(Box::pin(async { given.await.unwrap_or_else(|gone| Err(Failure::Connect(gone.into()))) }))
    }

    fn make(self: &Arc<Self>, deadline: Instant) -> Making {
        let pool = self.clone();
        Box::pin(async move {
            let to = pool.destination.uri(PathAndQuery::from_static("/"));
            let stream = pool.connector.connect(to, deadline).await?;
            let is_exclusive = !stream.connected().is_negotiated_h2();
            pool.is_exclusive.store(is_exclusive, Relaxed);
            let made = if is_exclusive { exclusive(stream).await } else { pool.shared(stream).await };
            made.map_err(|error| Failure::ConnectionLost(error.into()))
        })
    }

    /// A connection of HTTP/2, which serves those who wait as well.
    async fn shared(&self, stream: Stream) -> hyper::Result<Boxed> {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        let driven = tokio::spawn(connection);
        if let Err(closed) = sender.ready().await {
            return Err(reason(driven).await.unwrap_or(closed));
        }
        let shared = self.idle.share(sender);
        self.freed.notify_waiters();
        Ok(shared)
    }

    async fn keep(self: Arc<Self>, making: Making) {
        if let Ok(made) = making.await {
            self.put(made);
        }
    }
}

/// A connection of HTTP/1.
async fn exclusive(stream: Stream) -> hyper::Result<Boxed> {
    let (mut sender, connection) = http1::handshake(stream).await?;
    let driven = tokio::spawn(connection.with_upgrades());
    if let Err(closed) = sender.ready().await {
        return Err(reason(driven).await.unwrap_or(closed));
    }
    Ok(connection::http1(sender))
}

/// What ended a connection, which says more than that it is closed.
async fn reason(driven: JoinHandle<hyper::Result<()>>) -> Option<hyper::Error> {
    driven.await.ok()?.err()
}

/// One that waits for a connection.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn new(pool: &'a Pool) -> Self {
        pool.waiting.fetch_add(1, Relaxed);
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// That a connection is being made for all.
struct Connecting(Arc<Pool>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.is_connecting.store(false, Release);
        self.0.freed.notify_waiters();
    }
}

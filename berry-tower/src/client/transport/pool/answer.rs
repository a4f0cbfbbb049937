//! A request on its way, and the body of its answer.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{Pool, connection::Boxed};
use crate::{body::Buffered, error::Failure};

/// What comes of a request. It is small: all that is large is in the connection.
pub(in super::super) enum Answer {
    /// There is no connection yet.
    Waiting(Pin<Box<dyn Future<Output = Result<Sent, Failure>> + Send>>),
    Sent(Sent),
    Over,
}

/// A request on its connection.
pub(in super::super) struct Sent {
    connection: Boxed,
    /// Whether it has had others before, so that the upstream may have closed it meanwhile.
    reused: bool,
    pool: Arc<Pool>,
}

impl Answer {
    /// Sends a request on a connection that is free, or as soon as there is one.
    pub(in super::super) fn new(pool: Arc<Pool>, request: Request<Buffered>) -> Self {
        match pool.idle.take() {
            Some(connection) => Self::Sent(Sent::new(pool, connection, true, request)),
            None => Self::Waiting(Box::pin(async move {
                let (connection, reused) = pool.connect().await?;
                Ok(Sent::new(pool, connection, reused, request))
            })),
        }
    }
}

impl Future for Answer {
    type Output = Result<Response<Pooled>, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let answer = match &mut *self {
                Self::Waiting(sent) => {
                    *self = match ready!(sent.as_mut().poll(cx)) {
                        Ok(sent) => Self::Sent(sent),
                        Err(failure) => {
                            *self = Self::Over;
                            return Poll::Ready(Err(failure));
                        }
                    };
                    continue;
                }
                Self::Sent(sent) => ready!(sent.connection.as_mut().poll_answer(cx)),
                Self::Over => return Poll::Pending,
            };
            let Self::Sent(sent) = mem::replace(&mut *self, Self::Over) else { return Poll::Pending };
            match answer {
                Ok(answer) => return Poll::Ready(Ok(sent.answered(answer))),
                Err(mut error) => match error.take_message() {
                    // Nothing of it was written, so that it is no attempt.
                    Some(request) if sent.reused => *self = Self::new(sent.pool, request),
                    _ => return Poll::Ready(Err(Failure::ConnectionLost(error.into_error().into()))),
                },
            }
        }
    }
}

impl Sent {
    fn new(pool: Arc<Pool>, mut connection: Boxed, reused: bool, mut request: Request<Buffered>) -> Self {
        if connection.is_shared() {
            pool.destination.address_http2(&mut request);
        } else {
            pool.destination.address_http1(&mut request);
        }
        connection.as_mut().send(request);
        Self { connection, reused, pool }
    }

    fn answered(self, answer: Response<Incoming>) -> Response<Pooled> {
        let (head, incoming) = answer.into_parts();
        let is_free = self.connection.is_shared() || self.connection.is_ready() || incoming.is_end_stream();
        let lease = Lease { connection: Some(self.connection), pool: self.pool };
        Response::from_parts(head, Pooled { incoming, lease: (!is_free).then_some(lease) })
    }
}

/// A connection that goes back when this is dropped. If its answer has not been read to the end by
/// then, hyper closes it, and the pool passes it over.
struct Lease {
    connection: Option<Boxed>,
    pool: Arc<Pool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.put(connection);
        }
    }
}

/// An answer's body, and the connection that it comes by.
pub(in super::super) struct Pooled {
    incoming: Incoming,
    /// Not there when the connection has nothing more to give.
    lease: Option<Lease>,
}

impl Body for Pooled {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if self.lease.is_some() && (frame.is_none() || self.incoming.is_end_stream()) {
            self.lease = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for Pooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.incoming.fmt(f)
    }
}

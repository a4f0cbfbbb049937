//! A request on its way, and the body of its response.

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

use super::{super::failure, Pool, connection::BoxConnection};
use crate::{
    body::Buffered,
    client::transport::{Unprocessed, Upstream},
    error::{BoxError, Failure, LostTogether},
};

/// The future of a response. It is small: what is large is in the connection.
pub(in super::super) enum Exchange {
    /// There is no connection yet.
    Waiting(Pin<Box<dyn Future<Output = Result<Sent, Failure>> + Send>>),
    Sent(Sent),
    Done,
}

/// A request on its connection.
pub(in super::super) struct Sent {
    connection: BoxConnection,
    /// Whether the connection has carried earlier requests, so that the upstream may have closed it.
    reused: bool,
    pool: Arc<Pool>,
}

impl Exchange {
    /// Sends a request on a free connection, or as soon as there is one.
    pub(in super::super) fn new(pool: Arc<Pool>, request: Request<Buffered>) -> Self {
        let upstream = request.extensions().get::<Upstream>();
        let (fresh, max) = upstream.map_or((false, None), |it| (it.is_fresh(), it.max_connections()));
        if !fresh && let Some(connection) = pool.idle.take() {
            return Self::Sent(Sent::new(pool, connection, true, request));
        }
        let max = max.map_or(pool.config.max_connections, |max| max.get() as usize);
        Self::Waiting(Box::pin(async move {
            let (connection, reused) = pool.connect(max, fresh).await?;
            Ok(Sent::new(pool, connection, reused, request))
        }))
    }
}

impl Future for Exchange {
    type Output = Result<Response<Pooled>, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let answer = match &mut *self {
                Self::Waiting(sent) => {
                    *self = match ready!(sent.as_mut().poll(cx)) {
                        Ok(sent) => Self::Sent(sent),
                        Err(failure) => {
                            *self = Self::Done;
                            return Poll::Ready(Err(failure));
                        }
                    };
                    continue;
                }
                Self::Sent(sent) => match sent.connection.as_mut().poll_answer(cx) {
                    Poll::Ready(answer) => answer,
                    Poll::Pending if sent.connection.as_mut().is_known_deaf() => {
                        *self = Self::Done;
                        return Poll::Ready(Err(failure::deaf()));
                    }
                    Poll::Pending => return Poll::Pending,
                },
                Self::Done => return Poll::Pending,
            };
            let Self::Sent(sent) = mem::replace(&mut *self, Self::Done) else { return Poll::Pending };
            match answer {
                Ok(answer) => return Poll::Ready(Ok(sent.answered(answer))),
                Err(mut error) => match error.take_message() {
                    // Nothing of it was written.
                    Some(request) if sent.reused => *self = Self::new(sent.pool, request),
                    _ => return Poll::Ready(Err(sent.failed(error.into_error()))),
                },
            }
        }
    }
}

impl Sent {
    fn new(pool: Arc<Pool>, mut connection: BoxConnection, reused: bool, mut request: Request<Buffered>) -> Self {
        if connection.is_shared() {
            pool.destination.address_http2(&mut request);
        } else {
            pool.destination.address_http1(&mut request);
        }
        let head_due = request.extensions().get().and_then(Upstream::head_due);
        connection.as_mut().send(request, head_due);
        Self { connection, reused, pool }
    }

    fn answered(self, answer: Response<Incoming>) -> Response<Pooled> {
        let (head, incoming) = answer.into_parts();
        let is_done = incoming.is_end_stream() || !self.connection.is_shared() && self.connection.is_ready();
        let lease = Lease { connection: Some(self.connection), pool: self.pool };
        Response::from_parts(head, Pooled { incoming, lease: (!is_done).then_some(lease) })
    }

    /// Converts the error of a request without a response.
    fn failed(self, error: hyper::Error) -> Failure {
        let unprocessed = if self.connection.is_shared() {
            failure::is_unprocessed(&error)
        } else {
            // The upstream closed an idle connection while the request was on its way.
            self.reused && !self.connection.any_byte_received()
        };
        if unprocessed {
            Failure::ConnectionLost(Unprocessed::boxed(error))
        } else {
            failure::lost(mark(error, &self.connection))
        }
    }
}

/// Marks the error of a connection that was lost with several requests, unless it is the first.
fn mark(error: hyper::Error, connection: &BoxConnection) -> BoxError {
    if failure::ends_connection(&error) && connection.is_known_lost() {
        LostTogether::new(error).into()
    } else {
        error.into()
    }
}

/// A connection that returns to the pool when this is dropped. If its response has not been read to
/// the end by then, hyper closes it, and the pool skips it.
struct Lease {
    connection: Option<BoxConnection>,
    pool: Arc<Pool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.put(connection);
        }
    }
}

/// A response body, and the connection that carries it.
pub(in super::super) struct Pooled {
    incoming: Incoming,
    /// `None` when the connection has delivered the whole response.
    lease: Option<Lease>,
}

impl Body for Pooled {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx)).map(|frame| {
            let connection = self.lease.as_ref().and_then(|lease| lease.connection.as_ref());
            frame.map_err(|error| match connection {
                Some(connection) => mark(error, connection),
                None => error.into(),
            })
        });
        if self.lease.is_some() && (!matches!(frame, Some(Ok(_))) || self.incoming.is_end_stream()) {
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

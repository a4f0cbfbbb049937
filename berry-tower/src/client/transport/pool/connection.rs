//! A connection, and the request that is on it.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use pin_project::pin_project;
use tokio::time::Instant;

use super::{handover::Handover, io::Received, slots::StreamSlot};
use crate::body::Buffered;

/// The outcome of a request; one that was not written is given back.
pub(super) type Outcome = Result<Response<Incoming>, TrySendError<Request<Buffered>>>;

/// A connection that has room for one request. Under HTTP/2 it is one stream of a socket.
pub(super) type BoxConnection = Pin<Box<dyn Connection>>;

/// What the pool does with a connection. hyper's response future has no name, so it lives behind
/// this trait, in the allocation of the connection.
pub(super) trait Connection: Send + Sync {
    /// Sends a request. The response head is due by `head_due`.
    fn send(self: Pin<&mut Self>, request: Request<Buffered>, head_due: Option<Instant>);

    /// Polls for the response to the request that was sent.
    fn poll_answer(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome>;

    /// Whether the connection has gone deaf, which another of its requests has found before: the
    /// response head is overdue.
    fn is_known_deaf(self: Pin<&mut Self>) -> bool;

    /// Whether the connection ended with several requests, and another one of them has failed before.
    fn is_known_lost(&self) -> bool;

    /// Whether a byte has come since the request was sent; unknown counts as yes.
    fn any_byte_received(&self) -> bool;

    /// Whether the previous response has been read to its end, so that the next request can go.
    fn is_ready(&self) -> bool;

    /// Waits for [`is_ready`](Self::is_ready).
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<hyper::Result<()>>;

    /// Whether it is known to be closed.
    fn is_closed(&self) -> bool;

    /// Whether other requests share its socket, so that it need not be returned to the pool.
    fn is_shared(&self) -> bool;
}

/// An HTTP/1 connection.
pub(super) fn http1(
    sender: http1::SendRequest<Buffered>,
    handover: Handover,
    received: Arc<Received>,
) -> BoxConnection {
    let role = Role::Http1(received);
    Box::pin(ConnectionSlot { sender, answer: None, send: http1::SendRequest::try_send_request, handover, role })
}

/// A stream of an HTTP/2 connection.
pub(super) fn http2(sender: http2::SendRequest<Buffered>, handover: Handover, slot: StreamSlot) -> BoxConnection {
    let role = Role::Http2(slot);
    Box::pin(ConnectionSlot { sender, answer: None, send: http2::SendRequest::try_send_request, handover, role })
}

#[pin_project]
struct ConnectionSlot<S, F, Send> {
    sender: S,
    #[pin]
    answer: Option<F>,
    send: Send,
    handover: Handover,
    role: Role,
}

enum Role {
    Http1(Arc<Received>),
    Http2(StreamSlot),
}

impl<S, F, Sending> Connection for ConnectionSlot<S, F, Sending>
where
    S: Sender,
    F: Future<Output = Outcome> + Send + Sync,
    Sending: Fn(&mut S, Request<Buffered>) -> F + Send + Sync,
{
    fn send(self: Pin<&mut Self>, request: Request<Buffered>, head_due: Option<Instant>) {
        let mut this = self.project();
        match this.role {
            Role::Http1(received) => received.reset(),
            Role::Http2(slot) => slot.sent(head_due),
        }
        this.answer.set(Some(this.handover.send(|| (this.send)(this.sender, request))));
    }

    fn poll_answer(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        let Some(answer) = this.answer.as_mut().as_pin_mut() else { return Poll::Pending };
        let answer = ready!(answer.poll(cx));
        this.answer.set(None);
        if let (Ok(_), Role::Http2(slot)) = (&answer, this.role) {
            slot.answered();
        }
        Poll::Ready(answer)
    }

    fn is_known_deaf(self: Pin<&mut Self>) -> bool {
        match self.project().role {
            Role::Http1(_) => false,
            Role::Http2(slot) => slot.is_known_deaf(),
        }
    }

    fn is_known_lost(&self) -> bool {
        match &self.role {
            Role::Http1(_) => false,
            Role::Http2(slot) => slot.is_known_lost(),
        }
    }

    fn any_byte_received(&self) -> bool {
        match &self.role {
            Role::Http1(received) => received.any(),
            Role::Http2(_) => true,
        }
    }

    fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.project().sender.poll_ready(cx)
    }

    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn is_shared(&self) -> bool {
        matches!(self.role, Role::Http2(_))
    }
}

/// What hyper's two senders have in common.
trait Sender: Send + Sync {
    fn is_ready(&self) -> bool;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>>;

    fn is_closed(&self) -> bool;
}

impl Sender for http1::SendRequest<Buffered> {
    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.poll_ready(cx)
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }
}

impl Sender for http2::SendRequest<Buffered> {
    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.poll_ready(cx)
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }
}

//! A connection, and the request that is on it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use pin_project::pin_project;

use crate::body::Buffered;

/// What comes of a request: one that was not written is given back.
pub(super) type Outcome = Result<Response<Incoming>, TrySendError<Request<Buffered>>>;

/// A connection that has room for one request. HTTP/2's is one of many that share a socket.
pub(super) type Boxed = Pin<Box<dyn Connection>>;

/// What a pool does with a connection. hyper's future of an answer has no name, so that it lives
/// behind this; and it lives in the connection, so that no request has to allocate it.
pub(super) trait Connection: Send + Sync {
    /// Puts a request on it.
    fn send(self: Pin<&mut Self>, request: Request<Buffered>);

    /// The answer to the request that is on it.
    fn poll_answer(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome>;

    /// Whether the last answer has been read to its end, and the next request can come.
    fn is_ready(&self) -> bool;

    /// The same, for one who waits for it.
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<hyper::Result<()>>;

    /// Whether it is known to be over.
    fn is_closed(&self) -> bool;

    /// Whether others have its socket too, so that it need not be kept.
    fn is_shared(&self) -> bool;
}

/// For one request after another.
pub(super) fn http1(sender: http1::SendRequest<Buffered>) -> Boxed {
    Box::pin(Line { sender, answer: None, send: http1::SendRequest::try_send_request })
}

/// For one request beside others.
pub(super) fn http2(sender: http2::SendRequest<Buffered>) -> Boxed {
    Box::pin(Line { sender, answer: None, send: http2::SendRequest::try_send_request })
}

#[pin_project]
struct Line<S, F, Sending> {
    sender: S,
    #[pin]
    answer: Option<F>,
    send: Sending,
}

impl<S, F, Sending> Connection for Line<S, F, Sending>
where
    S: Sender,
    F: Future<Output = Outcome> + Send + Sync,
    Sending: Fn(&mut S, Request<Buffered>) -> F + Send + Sync,
{
    fn send(self: Pin<&mut Self>, request: Request<Buffered>) {
        let mut this = self.project();
        this.answer.set(Some((this.send)(this.sender, request)));
    }

    fn poll_answer(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        let Some(answer) = this.answer.as_mut().as_pin_mut() else { return Poll::Pending };
        let answer = ready!(answer.poll(cx));
        this.answer.set(None);
        Poll::Ready(answer)
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
        S::IS_SHARED
    }
}

/// What hyper's two senders have in common.
trait Sender: Send + Sync {
    const IS_SHARED: bool;

    fn is_ready(&self) -> bool;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>>;

    fn is_closed(&self) -> bool;
}

impl Sender for http1::SendRequest<Buffered> {
    const IS_SHARED: bool = false;

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
    const IS_SHARED: bool = true;

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

//! A transport over reqwest's clients.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use tower_service::Service;

use super::{KEEP_ALIVE, Unprocessed, connect_timeout, failure, is_loopback, resolver::Resolver};
use crate::{
    body::Buffered,
    error::{BoxError, Deadline, Failure},
};

/// The bytes that one HTTP/2 response may hold unread.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The window of an HTTP/2 connection, which a hundred unread responses do not fill.
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;

/// A transport over reqwest, with TLS by rustls, the roots of the system and of Mozilla,
/// `TCP_NODELAY`, no redirects (they would carry the key elsewhere), and the proxy that the
/// environment names, but for addresses on this machine. Clones share the pools.
///
/// [`From`] a client of your own takes all of that from the client, the connect timeout included.
///
/// # What it does not do
///
/// reqwest makes one HTTP/2 connection to a destination, so requests beyond the peer's limit on
/// streams wait until their head is due, which counts as the provider's timeout; `Hyper` opens
/// further connections. A connection without an answer is replaced when it answers no ping, not
/// when a head is overdue. Whether a connection was reused is not visible, so a request on a pooled
/// HTTP/1 connection that closes before the answer is not sent again, unless reqwest itself knows
/// that it was not written; refused streams and GOAWAY are handled.
#[derive(Clone)]
pub struct Reqwest(Source);

#[derive(Clone)]
enum Source {
    // A client has one connect timeout, and uses a proxy or not. Few differ, so that a search beats
    // a map.
    Own(Arc<ArcSwap<Vec<(Needs, reqwest::Client)>>>, Resolver),
    Given(reqwest::Client),
}

/// The settings by which clients differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needs {
    connect: Duration,
    /// The destination is on this machine, where no proxy can reach it.
    loopback: bool,
}

impl Reqwest {
    /// Returns a transport without connections.
    #[must_use]
    pub fn new() -> Self {
        Self(Source::Own(Arc::default(), Resolver::default()))
    }

    fn client(&self, needs: Needs) -> Result<reqwest::Client, Failure> {
        let (clients, resolver) = match &self.0 {
            Source::Own(clients, resolver) => (clients, resolver),
            Source::Given(client) => return Ok(client.clone()),
        };
        let find =
            |clients: &[(Needs, reqwest::Client)]| clients.iter().find(|it| it.0 == needs).map(|it| it.1.clone());
        if let Some(found) = find(&clients.load()) {
            return Ok(found);
        }
        let builder = reqwest::Client::builder();
        let client = if needs.loopback { builder.no_proxy() } else { builder }
            .connect_timeout(needs.connect)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .tcp_keepalive(KEEP_ALIVE)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(15))
            .dns_resolver(Arc::new(resolver.clone()))
            .build()
            .map_err(|error| Failure::Connect(error.into()))?;
        clients.rcu(|clients| match find(clients) {
            Some(_) => clients.clone(),
            None => Arc::new(clients.iter().cloned().chain([(needs, client.clone())]).collect()),
        });
        Ok(find(&clients.load()).unwrap_or(client))
    }
}

impl Default for Reqwest {
    fn default() -> Self {
        Self::new()
    }
}

impl From<reqwest::Client> for Reqwest {
    fn from(client: reqwest::Client) -> Self {
        Self(Source::Given(client))
    }
}

impl fmt::Debug for Reqwest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reqwest").finish_non_exhaustive()
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = Self::resolve(&resolver, name.as_str()).await?;
            Ok(Box::new((0..addresses.len()).map(move |index| addresses[index])) as Addrs)
        })
    }
}

impl Service<Request<Buffered>> for Reqwest {
    type Response = Response<ReqwestBody>;
    type Error = Failure;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Buffered>) -> ReqwestFuture {
        let connect = connect_timeout(request.extensions());
        let needs = Needs { connect, loopback: request.uri().host().is_some_and(is_loopback) };
        let resolver = match &self.0 {
            Source::Own(_, resolver) => request.uri().host().map(|host| (resolver.clone(), host.to_owned())),
            Source::Given(_) => None,
        };
        let execute = self.client(needs).and_then(|client| Ok(client.execute(into_reqwest(request)?)));
        ReqwestFuture(Box::pin(async move {
            let response: Response<reqwest::Body> = match execute?.await {
                Ok(response) => response.into(),
                Err(error) => {
                    let is_late = error.is_connect() && error.is_timeout();
                    let is_starved = resolver.is_some_and(|(resolver, host)| resolver.is_starved(&host));
                    return Err(if is_late && is_starved { failure::no_resolver_thread() } else { failed(error) });
                }
            };
            Ok(response.map(ReqwestBody))
        }))
    }
}

/// The future of [`Reqwest`].
pub struct ReqwestFuture(Pin<Box<dyn Future<Output = Result<Response<ReqwestBody>, Failure>> + Send>>);

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").finish_non_exhaustive()
    }
}

impl Future for ReqwestFuture {
    type Output = Result<Response<ReqwestBody>, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// A response body from [`Reqwest`].
#[pin_project]
#[derive(Debug)]
pub struct ReqwestBody(#[pin] reqwest::Body);

impl Body for ReqwestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.project().0.poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Converts a request. reqwest has a type of its own for addresses.
fn into_reqwest(request: Request<Buffered>) -> Result<reqwest::Request, Failure> {
    let (head, body) = request.into_parts();
    let url = Url::parse(&head.uri.to_string()).map_err(|error| Failure::Connect(error.into()))?;
    let mut request = reqwest::Request::new(head.method, url);
    *request.headers_mut() = head.headers;
    *request.body_mut() = Some(body.into_bytes().into());
    Ok(request)
}

/// Converts an error, without the address, which callers are not to see.
fn failed(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => Failure::Timeout(Deadline::Connect),
        (true, false) => failure::connect(error.into()),
        _ if failure::is_unprocessed(&error) => Failure::ConnectionLost(Unprocessed::boxed(error)),
        _ => failure::lost(error.into()),
    }
}

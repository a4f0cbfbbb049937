//! A transport over hyper's own connections.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header::ACCEPT};
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use super::{
    connect_timeout,
    pool::{Config, Exchange, Pooled, Pools},
    tls::{self, InvalidCertificate, Trust},
};
use crate::{
    body::Buffered,
    error::{BoxError, Failure},
};

/// A transport over hyper's connections: TLS by rustls with the roots of the system and of Mozilla,
/// HTTP/2 where the upstream offers it, `TCP_NODELAY`, no redirects, no proxies (see `EnvProxy`).
/// Clones share the connections, which are closed with the last clone.
///
/// Over HTTP/2 a destination has as many connections as its streams need, up to
/// [`http2_max_connections`](HyperBuilder::http2_max_connections). All streams of a connection
/// together cannot fill its window, so responses that are not read delay no others. Where every
/// stream is taken, a request waits for as long as connecting may take, and then fails with
/// [`Failure::LocalResource`]. A connection whose peer answers no ping, or no request before the
/// head is due, gets no further requests.
///
/// Names are looked up by the system's resolver, once at a time for each name.
///
/// ```no_run
/// use berry_tower::client::{BackendClient, Hyper};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let simple = BackendClient::new(Hyper::new());
///
/// let root = std::fs::read("ca.pem")?;
/// let hyper = Hyper::builder()
///     .add_root_certificates(&root)?
///     .client_certificate(&std::fs::read("client.pem")?, &std::fs::read("client.key")?)?
///     .http2_max_connections(4)
///     .idle_timeout(Duration::from_secs(30))
///     .build();
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Hyper(Arc<Pools>);

impl Hyper {
    /// Returns a transport with the default settings and no connections. The system's roots are
    /// read when they are first needed.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Returns a builder with the default settings.
    #[must_use]
    pub fn builder() -> HyperBuilder {
        HyperBuilder::default()
    }

    fn send(&self, request: Request<Buffered>) -> Result<Exchange, Failure> {
        if !matches!(request.version(), Version::HTTP_10 | Version::HTTP_11 | Version::HTTP_2) {
            return Err(Failure::ConnectionLost("an unsupported version of HTTP".into()));
        }
        let pool = self.0.find(request.uri(), connect_timeout(request.extensions()))?;
        Ok(Exchange::new(pool, request))
    }
}

impl Default for Hyper {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Hyper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hyper").finish_non_exhaustive()
    }
}

/// Settings of [`Hyper`].
#[derive(Debug, Default)]
pub struct HyperBuilder {
    config: Config,
    trust: Trust,
}

impl HyperBuilder {
    /// Trusts the certificates of this PEM text, beside the default roots.
    ///
    /// # Errors
    ///
    /// The text holds no certificate, or an invalid one.
    pub fn add_root_certificates(mut self, pem: &[u8]) -> Result<Self, InvalidCertificate> {
        let certificates = tls::certificates(pem)?;
        let mut store = rustls::RootCertStore::empty();
        for certificate in &certificates {
            store.add(certificate.clone()).map_err(|error| InvalidCertificate(error.to_string()))?;
        }
        self.trust.roots.extend(certificates);
        Ok(self)
    }

    /// Trusts only the certificates that were added, not the roots of the system and of Mozilla.
    #[must_use]
    pub const fn own_roots_only(mut self) -> Self {
        self.trust.own_roots_only = true;
        self
    }

    /// Shows this certificate, with its chain, to servers that ask for one. Both texts are PEM.
    ///
    /// # Errors
    ///
    /// The certificate or the key is invalid.
    pub fn client_certificate(mut self, chain: &[u8], key: &[u8]) -> Result<Self, InvalidCertificate> {
        self.trust.identity = Some((tls::certificates(chain)?, tls::private_key(key)?));
        let alone = Trust { own_roots_only: true, ..self.trust };
        tls::config(&alone, false).map_err(|error| InvalidCertificate(error.to_string()))?;
        self.trust = Trust { own_roots_only: self.trust.own_roots_only, ..alone };
        Ok(self)
    }

    /// Sets the most free HTTP/1 connections that are kept for one destination. Default: no bound.
    #[must_use]
    pub const fn max_idle_per_host(mut self, max: usize) -> Self {
        self.config.max_idle = max;
        self
    }

    /// Sets how long an unused connection is kept, in steps of 15 seconds. Default: 90 seconds.
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// Offers only HTTP/1.1.
    #[must_use]
    pub const fn http1_only(mut self) -> Self {
        self.config.http2 = false;
        self
    }

    /// Sets the most HTTP/2 connections to one destination, at least 1. Default: 16.
    #[must_use]
    pub fn http2_max_connections(mut self, max: usize) -> Self {
        self.config.max_connections = max.max(1);
        self
    }

    /// Sets the most streams that are opened on one HTTP/2 connection, at least 1; the peer may
    /// allow fewer. Default: 100.
    #[must_use]
    pub fn http2_max_streams(mut self, max: usize) -> Self {
        self.config.max_streams = max.max(1);
        self
    }

    /// Sets how many bytes of one HTTP/2 response may wait to be read. The window of a connection
    /// is this for each of its streams. Default: 128 KiB.
    #[must_use]
    pub const fn http2_stream_window(mut self, bytes: u32) -> Self {
        self.config.stream_window = bytes;
        self
    }

    /// Sets after how much silence an HTTP/2 connection with open streams is pinged, and how long
    /// the answer may take before the connection is closed. Default: 30 and 15 seconds; `None`
    /// sends no pings.
    #[must_use]
    pub const fn http2_keep_alive(mut self, interval: Option<Duration>, timeout: Duration) -> Self {
        self.config.keep_alive = interval;
        self.config.keep_alive_timeout = timeout;
        self
    }

    /// Returns the transport.
    #[must_use]
    pub fn build(self) -> Hyper {
        Hyper(Arc::new(Pools::new(self.config, self.trust)))
    }
}

impl Service<Request<Buffered>> for Hyper {
    type Response = Response<HyperBody>;
    type Error = Failure;
    type Future = HyperFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Buffered>) -> HyperFuture {
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        HyperFuture(self.send(request).map_or_else(|failure| Sent::Failed(Some(failure)), Sent::Exchange))
    }
}

/// The future of [`Hyper`].
pub struct HyperFuture(Sent);

enum Sent {
    Exchange(Exchange),
    Failed(Option<Failure>),
}

impl fmt::Debug for HyperFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperFuture").finish_non_exhaustive()
    }
}

impl Future for HyperFuture {
    type Output = Result<Response<HyperBody>, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Sent::Exchange(sent) => Pin::new(sent).poll(cx).map_ok(|response| response.map(HyperBody)),
            Sent::Failed(failure) => failure.take().map_or(Poll::Pending, |failure| Poll::Ready(Err(failure))),
        }
    }
}

/// A response body from [`Hyper`].
#[derive(Debug)]
pub struct HyperBody(Pooled);

impl Body for HyperBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;
    use hyper::{body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{client::Upstream, error::Deadline};

    /// An upstream that answers with the path, `Accept` and `Host` of the request.
    async fn upstream() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            let echo = service_fn(async |request: Request<Incoming>| {
                let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
                Ok::<_, hyper::Error>(Response::new(format!(
                    "{} {} {}",
                    request.uri(),
                    header("accept"),
                    header("host")
                )))
            });
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), echo));
            }
        });
        address
    }

    fn ask(uri: &str, connect: Duration) -> Request<Buffered> {
        Request::post(uri).extension(Upstream::new(connect)).body(Buffered::from("{}")).unwrap()
    }

    #[tokio::test]
    async fn sends_a_request_to_its_address() {
        let (address, mut transport) = (upstream().await, Hyper::new());
        for timeout in [1, 2, 1] {
            let answer = transport.call(ask(&format!("http://{address}/v1?x=1"), Duration::from_secs(timeout))).await;
            let text = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
            assert_eq!(text, format!("/v1?x=1 */* {address}"));
        }
    }

    #[test]
    fn its_future_is_small() {
        assert!(size_of::<HyperFuture>() <= 64, "the futures that hold it are moved");
    }

    #[tokio::test]
    async fn distinguishes_unreachable_from_slow_upstreams() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let refused = Hyper::new().call(ask(&format!("http://{gone}/"), Duration::from_secs(5))).await;
        assert!(matches!(refused, Err(Failure::Connect(_))), "{refused:?}");

        // It accepts the connection, and never starts TLS.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("https://{}/", silent.local_addr().unwrap());
        let late = Hyper::new().call(ask(&uri, Duration::from_millis(20))).await;
        assert!(matches!(late, Err(Failure::Timeout(Deadline::Connect))), "{late:?}");
    }
}

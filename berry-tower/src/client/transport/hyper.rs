//! Pooled clients of hyper's own, one for each connect timeout in use.

use std::{
    env, fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header::ACCEPT};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::{self, connect::HttpConnector},
        proxy::matcher::Matcher,
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use pin_project::pin_project;
use rustls::{ClientConfig, RootCertStore};
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use super::{KEEP_ALIVE, Reqwest, connect_timeout, is_loopback};
use crate::{
    body::Buffered,
    error::{BoxError, Deadline, Failure},
};

/// The variables that name proxies, as curl knows them.
const PROXIES: [&str; 6] = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// A transport at half of [`Reqwest`]'s price, which answers and fails as that one does: TLS by
/// rustls with the roots of the system and of Mozilla, HTTP/2 where the upstream offers it,
/// `TCP_NODELAY`, no redirects. Where the environment names a proxy for an address, the request
/// goes through [`Reqwest`], which knows how to ask one. Clones share the pools.
///
/// ```no_run
/// use berry_tower::{client::{BackendClient, Hyper}, backend::Catalog, gateway::Settings};
///
/// let settings = Settings::new(Catalog::default()).transport(Hyper::new());
/// let alone = BackendClient::new(Hyper::new());
/// ```
#[derive(Clone)]
pub struct Hyper(Arc<Shared>);

struct Shared {
    // A pool has one connect timeout. Few differ, so that a search beats a map.
    pools: ArcSwap<Vec<(Duration, Pool)>>,
    tls: OnceLock<Arc<ClientConfig>>,
    /// `None`: there is no proxy at all.
    proxies: Option<Matcher>,
    proxied: Reqwest,
}

type Pool = legacy::Client<Connect, Buffered>;

impl Hyper {
    /// No connections yet. The environment's proxies are read now, the roots when they are needed.
    #[must_use]
    pub fn new() -> Self {
        let named = PROXIES.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
        Self::with(named.then(Matcher::from_env))
    }

    fn with(proxies: Option<Matcher>) -> Self {
        let (pools, tls) = (ArcSwap::default(), OnceLock::new());
        Self(Arc::new(Shared { pools, tls, proxies, proxied: Reqwest::new() }))
    }
}

impl Shared {
    /// Whether the way to this address leads through a proxy.
    fn is_proxied(&self, to: &Uri) -> bool {
        let Some(proxies) = &self.proxies else { return false };
        !to.host().is_some_and(is_loopback) && proxies.intercept(to).is_some()
    }

    fn send(&self, request: Request<Buffered>) -> Result<legacy::ResponseFuture, Failure> {
        let connect = connect_timeout(request.extensions());
        let find = |pools: &[(Duration, Pool)]| pools.iter().position(|pool| pool.0 == connect);
        let pools = self.pools.load();
        if let Some(at) = find(&pools) {
            return Ok(pools[at].1.request(request));
        }
        let pool = self.pool(connect)?;
        self.pools.rcu(|pools| match find(pools) {
            Some(_) => pools.clone(),
            None => Arc::new(pools.iter().cloned().chain([(connect, pool.clone())]).collect()),
        });
        let pools = self.pools.load();
        Ok(find(&pools).map_or(&pool, |at| &pools[at].1).request(request))
    }

    fn pool(&self, connect: Duration) -> Result<Pool, Failure> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        tcp.set_keepalive_interval(Some(Duration::from_secs(15)));
        tcp.set_keepalive_retries(Some(3));
        // Of which each of a host's addresses has its share.
        tcp.set_connect_timeout(Some(connect));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(Duration::from_secs(30)));
        let tls = match self.tls.get() {
            Some(tls) => tls.clone(),
            None => {
                let made = tls().map_err(|e| Failure::Connect(e.into()))?;
                self.tls.get_or_init(|| made).clone()
            }
        };
        let connector = Connect { inner: HttpsConnector::from((tcp, tls)), timeout: connect };
        Ok(legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector))
    }
}

impl Default for Hyper {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Hyper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's address may have a password in it.
        f.debug_struct("Hyper").field("proxies", &self.0.proxies.is_some()).finish_non_exhaustive()
    }
}

/// How TLS is spoken: the roots of Mozilla, and those of the system as far as they can be read.
fn tls() -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Makes a connection, TLS included, in time.
#[derive(Clone)]
struct Connect {
    inner: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

impl Service<Uri> for Connect {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let made = timeout(self.timeout, self.inner.call(to));
        Box::pin(async move { made.await.unwrap_or_else(|_| Err(Failure::Timeout(Deadline::Connect).into())) })
    }
}

impl Service<Request<Buffered>> for Hyper {
    type Response = Response<HyperBody>;
    type Error = Failure;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Buffered>) -> ResponseFuture {
        ResponseFuture(if self.0.is_proxied(request.uri()) {
            Sent::Proxied(self.0.proxied.clone().call(request))
        } else {
            request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
            self.0.send(request).map_or_else(|failure| Sent::Failed(Some(failure)), Sent::Direct)
        })
    }
}

/// The future of [`Hyper`].
#[pin_project]
pub struct ResponseFuture(#[pin] Sent);

#[pin_project(project = SentProj)]
enum Sent {
    Direct(#[pin] legacy::ResponseFuture),
    Proxied(#[pin] <Reqwest as Service<Request<Buffered>>>::Future),
    Failed(Option<Failure>),
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<HyperBody>, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            SentProj::Direct(sent) => {
                sent.poll(cx).map(|answer| answer.map(|answer| answer.map(HyperBody::Direct)).map_err(failure))
            }
            SentProj::Proxied(sent) => sent.poll(cx).map_ok(|answer| answer.map(HyperBody::Proxied)),
            SentProj::Failed(failure) => failure.take().map_or(Poll::Pending, |failure| Poll::Ready(Err(failure))),
        }
    }
}

/// What went wrong, in the same words as [`Reqwest`]'s.
fn failure(error: legacy::Error) -> Failure {
    match Failure::find(&error) {
        Some(Failure::Timeout(Deadline::Connect)) => Failure::Timeout(Deadline::Connect),
        _ if error.is_connect() && timed_out(&error) => Failure::Timeout(Deadline::Connect),
        _ if error.is_connect() => Failure::Connect(error.into()),
        _ => Failure::Broken(error.into()),
    }
}

/// Whether the time of a connector within has run out.
fn timed_out(error: &legacy::Error) -> bool {
    crate::error::find::<std::io::Error>(error).is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
}

/// An answer's body from [`Hyper`].
#[pin_project(project = BodyProj)]
#[derive(Debug)]
pub enum HyperBody {
    /// From the upstream itself.
    Direct(#[pin] Incoming),
    /// By way of a proxy.
    Proxied(#[pin] reqwest::Body),
}

impl Body for HyperBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project() {
            BodyProj::Direct(body) => body.poll_frame(cx).map_err(Into::into),
            BodyProj::Proxied(body) => body.poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Direct(body) => body.is_end_stream(),
            Self::Proxied(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Direct(body) => body.size_hint(),
            Self::Proxied(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper::{server::conn::http1, service::service_fn};
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::Upstream;

    /// An upstream that tells which `Accept` and `Host` it was asked with.
    async fn upstream() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            let tell = service_fn(async |request: Request<Incoming>| {
                let told = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
                Ok::<_, hyper::Error>(Response::new(format!("{} {} {}", request.uri(), told("accept"), told("host"))))
            });
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), tell));
            }
        });
        address
    }

    fn ask(uri: &str, connect: Duration) -> Request<Buffered> {
        Request::post(uri).extension(Upstream::new(connect)).body(Buffered::from("{}")).unwrap()
    }

    #[tokio::test]
    async fn a_request_goes_to_its_address() {
        let (address, mut transport) = (upstream().await, Hyper::new());
        for timeout in [1, 2, 1] {
            let answer = transport.call(ask(&format!("http://{address}/v1?x=1"), Duration::from_secs(timeout))).await;
            let told = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
            assert_eq!(told, format!("/v1?x=1 */* {address}"));
        }
        assert_eq!(transport.0.pools.load().len(), 2, "one for each connect timeout");
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_told_from_what_is_slow() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let refused = Hyper::new().call(ask(&format!("http://{gone}/"), Duration::from_secs(5))).await;
        assert!(matches!(refused, Err(Failure::Connect(_))), "{refused:?}");

        // It takes the connection, and never speaks TLS.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("https://{}/", silent.local_addr().unwrap());
        let late = Hyper::new().call(ask(&uri, Duration::from_millis(20))).await;
        assert!(matches!(late, Err(Failure::Timeout(Deadline::Connect))), "{late:?}");
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_what_is_not_on_this_machine() {
        let proxies = Matcher::builder().http("http://127.0.0.1:9").no("here.example").build();
        let transport = Hyper::with(Some(proxies));
        let proxied = |uri: &'static str| transport.0.is_proxied(&Uri::from_static(uri));
        assert!(proxied("http://there.example/v1"));
        for uri in ["http://here.example/", "https://there.example/", "http://127.0.0.1:9/", "http://[::1]/"] {
            assert!(!proxied(uri), "{uri}");
        }
    }
}

//! A transport over hyper's own connections.

use std::{
    env, fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, Version, header::ACCEPT};
use http_body::{Body, Frame, SizeHint};
use hyper_util::client::proxy::matcher::Matcher;
use tower_service::Service;

use super::{
    Reqwest, connect_timeout, is_loopback,
    pool::{Answer, Pooled, Pools},
};
use crate::{
    body::Buffered,
    error::{BoxError, Failure},
};

/// The variables that name proxies, as curl knows them.
const PROXIES: [&str; 6] = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// A transport at a third of [`Reqwest`]'s price, which answers and fails as that one does: TLS by
/// rustls with the roots of the system and of Mozilla, HTTP/2 where the upstream offers it,
/// `TCP_NODELAY`, no redirects. Where the environment names a proxy for an address, the request
/// goes through [`Reqwest`], which knows how to ask one. Clones share the connections, which are
/// kept for some 90 seconds, and for no longer than the last clone.
///
/// ```no_run
/// use berry_tower::{client::{BackendClient, Hyper}, backend::Catalog, gateway::Settings};
///
/// let settings = Settings::with_transport(Catalog::default(), Hyper::new());
/// let alone = BackendClient::new(Hyper::new());
/// ```
#[derive(Clone)]
pub struct Hyper(Arc<Shared>);

struct Shared {
    pools: Arc<Pools>,
    /// `None`: there is no proxy at all.
    proxies: Option<Matcher>,
    proxied: Reqwest,
}

impl Hyper {
    /// No connections yet. The environment's proxies are read now, the roots when they are needed.
    #[must_use]
    pub fn new() -> Self {
        let named = PROXIES.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
        Self::with(named.then(Matcher::from_env))
    }

    fn with(proxies: Option<Matcher>) -> Self {
        Self(Arc::new(Shared { pools: Arc::default(), proxies, proxied: Reqwest::new() }))
    }
}

impl Shared {
    /// Whether the way to this address leads through a proxy.
    fn is_proxied(&self, to: &Uri) -> bool {
        let Some(proxies) = &self.proxies else { return false };
        !to.host().is_some_and(is_loopback) && proxies.intercept(to).is_some()
    }

    fn send(&self, request: Request<Buffered>) -> Result<Answer, Failure> {
        if !matches!(request.version(), Version::HTTP_10 | Version::HTTP_11 | Version::HTTP_2) {
            return Err(Failure::ConnectionLost("a version of HTTP that is not spoken".into()));
        }
        let pool = self.pools.find(request.uri(), connect_timeout(request.extensions()))?;
        Ok(Answer::new(pool, request))
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
pub struct ResponseFuture(Sent);

enum Sent {
    Direct(Answer),
    Proxied(<Reqwest as Service<Request<Buffered>>>::Future),
    Failed(Option<Failure>),
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<HyperBody>, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Sent::Direct(sent) => {
                Pin::new(sent).poll(cx).map_ok(|answer| answer.map(|body| HyperBody(Source::Direct(body))))
            }
            Sent::Proxied(sent) => {
                sent.as_mut().poll(cx).map_ok(|answer| answer.map(|body| HyperBody(Source::Proxied(body))))
            }
            Sent::Failed(failure) => failure.take().map_or(Poll::Pending, |failure| Poll::Ready(Err(failure))),
        }
    }
}

/// An answer's body from [`Hyper`].
#[derive(Debug)]
pub struct HyperBody(Source);

#[derive(Debug)]
enum Source {
    Direct(Pooled),
    Proxied(reqwest::Body),
}

impl Body for HyperBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Source::Direct(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Source::Proxied(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Direct(body) => body.is_end_stream(),
            Source::Proxied(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Direct(body) => body.size_hint(),
            Source::Proxied(body) => body.size_hint(),
        }
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
    }

    #[test]
    fn its_future_is_small() {
        assert!(size_of::<ResponseFuture>() <= 64, "what holds it is moved, and lies cold in the caches");
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

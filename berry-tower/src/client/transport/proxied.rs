//! A transport that obeys the environment's proxies.

use std::{
    env, fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper_util::client::proxy::matcher::Matcher;
use pin_project::pin_project;
use tower_service::Service;

use super::{Hyper, HyperBody, HyperFuture, Reqwest, ReqwestBody, ReqwestFuture, is_loopback};
use crate::{
    body::Buffered,
    error::{BoxError, Failure},
};

/// The variables that name proxies, as curl reads them.
const VARIABLES: [&str; 6] = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// A transport that sends through [`Hyper`], and through [`Reqwest`] where the environment names a
/// proxy for the address. Addresses on this machine are never proxied. Clones share the connections.
#[derive(Clone)]
pub struct EnvProxy {
    direct: Hyper,
    proxied: Reqwest,
    /// `None`: the environment names no proxy at all.
    proxies: Option<Arc<Matcher>>,
}

impl EnvProxy {
    /// Reads the environment's proxies now.
    #[must_use]
    pub fn new(direct: Hyper, proxied: Reqwest) -> Self {
        let is_named = VARIABLES.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
        Self { direct, proxied, proxies: is_named.then(|| Arc::new(Matcher::from_env())) }
    }

    /// Whether requests to this address go through a proxy.
    fn is_proxied(&self, to: &Uri) -> bool {
        let Some(proxies) = &self.proxies else { return false };
        !to.host().is_some_and(is_loopback) && proxies.intercept(to).is_some()
    }
}

impl Default for EnvProxy {
    fn default() -> Self {
        Self::new(Hyper::new(), Reqwest::new())
    }
}

impl fmt::Debug for EnvProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's address may hold a password.
        f.debug_struct("EnvProxy").field("proxies", &self.proxies.is_some()).finish_non_exhaustive()
    }
}

impl Service<Request<Buffered>> for EnvProxy {
    type Response = Response<EnvProxyBody>;
    type Error = Failure;
    type Future = EnvProxyFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Buffered>) -> EnvProxyFuture {
        EnvProxyFuture(if self.is_proxied(request.uri()) {
            Sent::Proxied(self.proxied.call(request))
        } else {
            Sent::Direct(self.direct.call(request))
        })
    }
}

/// The future of [`EnvProxy`].
#[derive(Debug)]
pub struct EnvProxyFuture(Sent);

#[derive(Debug)]
enum Sent {
    Direct(HyperFuture),
    Proxied(ReqwestFuture),
}

impl Future for EnvProxyFuture {
    type Output = Result<Response<EnvProxyBody>, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let wrap = |source| EnvProxyBody(source);
        match &mut self.0 {
            Sent::Direct(sent) => {
                Pin::new(sent).poll(cx).map_ok(|response| response.map(|body| wrap(Source::Direct(body))))
            }
            Sent::Proxied(sent) => {
                Pin::new(sent).poll(cx).map_ok(|response| response.map(|body| wrap(Source::Proxied(body))))
            }
        }
    }
}

/// A response body from [`EnvProxy`].
#[pin_project]
#[derive(Debug)]
pub struct EnvProxyBody(#[pin] Source);

#[pin_project(project = SourceProj)]
#[derive(Debug)]
enum Source {
    Direct(#[pin] HyperBody),
    Proxied(#[pin] ReqwestBody),
}

impl Body for EnvProxyBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().0.project() {
            SourceProj::Direct(body) => body.poll_frame(cx),
            SourceProj::Proxied(body) => body.poll_frame(cx),
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
    use super::*;

    #[test]
    fn proxies_addresses_that_are_not_on_this_machine() {
        let proxies = Matcher::builder().http("http://127.0.0.1:9").no("here.example").build();
        let transport = EnvProxy { direct: Hyper::new(), proxied: Reqwest::new(), proxies: Some(Arc::new(proxies)) };
        let proxied = |uri: &'static str| transport.is_proxied(&Uri::from_static(uri));
        assert!(proxied("http://there.example/v1"));
        for uri in ["http://here.example/", "https://there.example/", "http://127.0.0.1:9/", "http://[::1]/"] {
            assert!(!proxied(uri), "{uri}");
        }
    }

    #[test]
    fn its_future_is_small() {
        assert!(size_of::<EnvProxyFuture>() <= 64, "the future that holds it is moved, and lies cold in the caches");
    }
}

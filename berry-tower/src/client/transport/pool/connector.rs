//! TCP connections to an upstream, and TLS over them.

use std::{future::poll_fn, io, pin::Pin, sync::Arc, task::Context, task::Poll, vec};

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name},
    rt::TokioIo,
};
use rustls::ClientConfig;
use std::net::SocketAddr;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tower_service::Service;

use super::{super::tls, Pools};
use crate::{
    client::transport::{KEEP_ALIVE, failure, resolver::Resolver},
    error::{BoxError, Deadline, Failure, find},
};

pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

type Tcp = HttpConnector<SystemNames>;

/// Makes connections to one destination.
pub(super) struct Connector {
    scheme: Scheme,
    resolver: Resolver,
}

/// With TLS or without, so that plain destinations need no roots.
enum Scheme {
    Plain(Tcp),
    Secure(HttpsConnector<Tcp>),
}

impl Connector {
    /// Connects by the deadline.
    pub(super) async fn connect(&self, to: Uri, deadline: Instant) -> Result<Stream, Failure> {
        let host = to.host().unwrap_or_default().to_owned();
        let stream = async {
            match &self.scheme {
                Scheme::Plain(tcp) => Ok(MaybeHttpsStream::Http(oneshot(tcp.clone(), to).await?)),
                Scheme::Secure(tls) => oneshot(tls.clone(), to).await,
            }
        };
        match timeout_at(deadline, stream).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if !timed_out(&error) => Err(failure::connect(error)),
            Err(_) if self.resolver.is_starved(&host) => Err(failure::no_resolver_thread()),
            _ => Err(Failure::Timeout(Deadline::Connect)),
        }
    }
}

async fn oneshot<S>(mut service: S, to: Uri) -> Result<S::Response, BoxError>
where
    S: Service<Uri, Error: Into<BoxError>>,
{
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
    service.call(to).await.map_err(Into::into)
}

/// Whether the system's own timeout, or that of one of several addresses, passed.
fn timed_out(error: &BoxError) -> bool {
    find::<io::Error>(&**error).is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// [`Resolver`] as hyper-util calls it.
#[derive(Clone)]
pub(super) struct SystemNames(Resolver);

impl Service<Name> for SystemNames {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.0.clone();
        Box::pin(async move { Ok(resolver.resolve(name.as_str()).await?.to_vec().into_iter()) })
    }
}

impl Pools {
    /// Returns a connector for destinations that are to be reached within this time.
    pub(super) fn connector(&self, secure: bool, timeout: std::time::Duration) -> Result<Connector, Failure> {
        let mut tcp = HttpConnector::new_with_resolver(SystemNames(self.resolver.clone()));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        tcp.set_keepalive_interval(Some(std::time::Duration::from_secs(15)));
        tcp.set_keepalive_retries(Some(3));
        // Each of a host's addresses has its share of it.
        tcp.set_connect_timeout(Some(timeout));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(std::time::Duration::from_secs(30)));
        let scheme = if secure { Scheme::Secure((tcp, self.tls()?).into()) } else { Scheme::Plain(tcp) };
        Ok(Connector { scheme, resolver: self.resolver.clone() })
    }

    /// Returns the TLS settings, made when they are first needed: reading the system's roots takes long.
    fn tls(&self) -> Result<Arc<ClientConfig>, Failure> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let made = tls::config(&self.trust, self.config.http2).map_err(|error| Failure::Connect(error.into()))?;
        Ok(self.tls.get_or_init(|| made).clone())
    }
}

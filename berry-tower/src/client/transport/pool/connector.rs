//! How the upstream's machine is reached: TCP, and TLS over it.

use std::{future::poll_fn, io, sync::Arc, time::Duration};

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::{ClientConfig, RootCertStore};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tower_service::Service;

use super::{super::KEEP_ALIVE, Pools};
use crate::error::{BoxError, Deadline, Failure, find};

pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// With TLS or without, which need not load what TLS does.
pub(super) enum Connector {
    Plain(HttpConnector),
    Secure(HttpsConnector<HttpConnector>),
}

impl Connector {
    /// A connection by then.
    pub(super) async fn connect(&self, to: Uri, deadline: Instant) -> Result<Stream, Failure> {
        let stream = async {
            match self {
                Self::Plain(tcp) => Ok(MaybeHttpsStream::Http(oneshot(tcp.clone(), to).await?)),
                Self::Secure(tls) => oneshot(tls.clone(), to).await,
            }
        };
        match timeout_at(deadline, stream).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if !timed_out(&error) => Err(Failure::Connect(error)),
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

/// Whether it was the system, or the share of one of several addresses, that took too long.
fn timed_out(error: &BoxError) -> bool {
    find::<io::Error>(&**error).is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

impl Pools {
    /// What makes connections within this time.
    pub(super) fn connector(&self, secure: bool, timeout: Duration) -> Result<Connector, Failure> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        tcp.set_keepalive_interval(Some(Duration::from_secs(15)));
        tcp.set_keepalive_retries(Some(3));
        // Of which each of a host's addresses has its share.
        tcp.set_connect_timeout(Some(timeout));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(Duration::from_secs(30)));
        if !secure {
            return Ok(Connector::Plain(tcp));
        }
        let tls = match self.tls.get() {
            Some(tls) => tls.clone(),
            None => {
                let made = tls().map_err(|e| Failure::Connect(e.into()))?;
                self.tls.get_or_init(|| made).clone()
            }
        };
        Ok(Connector::Secure(HttpsConnector::from((tcp, tls))))
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

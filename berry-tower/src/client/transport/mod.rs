//! The connections to upstreams: services that send a request to its address.

#[cfg(any(feature = "client-hyper", feature = "client-reqwest"))]
mod failure;
#[cfg(feature = "client-hyper")]
mod hyper;
#[cfg(feature = "client-hyper")]
mod pool;
#[cfg(all(feature = "client-hyper", feature = "client-reqwest"))]
mod proxied;
#[cfg(feature = "client-reqwest")]
mod reqwest;
#[cfg(any(feature = "client-hyper", feature = "client-reqwest"))]
mod resolver;
#[cfg(feature = "client-hyper")]
mod tls;

use std::{error::Error, fmt, num::NonZeroU32, time::Duration};

use tokio::time::Instant;

#[cfg(all(feature = "client-hyper", feature = "client-reqwest"))]
pub use self::proxied::{EnvProxy, EnvProxyBody, EnvProxyFuture};
#[cfg(feature = "client-reqwest")]
pub use self::reqwest::{Reqwest, ReqwestBody, ReqwestFuture};
#[cfg(feature = "client-hyper")]
pub use self::{
    hyper::{Hyper, HyperBody, HyperBuilder, HyperFuture},
    tls::InvalidCertificate,
};
use crate::error::BoxError;

/// The transport of [`gateway`](crate::gateway) and [`BackendClient`](super::BackendClient) unless
/// another is named: [`EnvProxy`] with both features, else [`Hyper`] or [`Reqwest`].
#[cfg(all(feature = "client-hyper", feature = "client-reqwest"))]
pub type DefaultTransport = EnvProxy;
/// The transport of [`gateway`](crate::gateway) and [`BackendClient`](super::BackendClient) unless
/// another is named.
#[cfg(all(feature = "client-hyper", not(feature = "client-reqwest")))]
pub type DefaultTransport = Hyper;
/// The transport of [`gateway`](crate::gateway) and [`BackendClient`](super::BackendClient) unless
/// another is named.
#[cfg(all(feature = "client-reqwest", not(feature = "client-hyper")))]
pub type DefaultTransport = Reqwest;
/// No transport: enable `client-hyper` or `client-reqwest`, or name one of your own.
#[cfg(not(any(feature = "client-hyper", feature = "client-reqwest")))]
pub type DefaultTransport = ();

/// How a request is to be sent; in its extensions, put there by
/// [`BackendClient`](super::BackendClient) for its transport.
///
/// A transport of your own may ignore all of it. One that reuses connections should obey
/// [`is_fresh`](Self::is_fresh).
#[derive(Clone, Debug)]
pub struct Upstream {
    connect_timeout: Duration,
    head_due: Option<Instant>,
    max_connections: Option<NonZeroU32>,
    fresh: bool,
}

impl Upstream {
    /// Connecting may take this long.
    #[must_use]
    pub const fn new(connect_timeout: Duration) -> Self {
        Self { connect_timeout, head_due: None, max_connections: None, fresh: false }
    }

    /// Sets when the response head is due. A connection of HTTP/2 on which no head has come by
    /// then gets no further request.
    #[must_use]
    pub const fn with_head_due(mut self, due: Instant) -> Self {
        self.head_due = Some(due);
        self
    }

    /// Sets the most HTTP/2 connections to this destination; `None` leaves it to the transport.
    #[must_use]
    pub const fn with_max_connections(mut self, max: Option<NonZeroU32>) -> Self {
        self.max_connections = max;
        self
    }

    /// Asks for a connection that has carried no request before.
    #[must_use]
    pub const fn with_fresh_connection(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// How long connecting may take.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// When the response head is due.
    #[must_use]
    pub const fn head_due(&self) -> Option<Instant> {
        self.head_due
    }

    /// The most HTTP/2 connections to this destination.
    #[must_use]
    pub const fn max_connections(&self) -> Option<NonZeroU32> {
        self.max_connections
    }

    /// Whether the request is to go on a new connection.
    #[must_use]
    pub const fn is_fresh(&self) -> bool {
        self.fresh
    }
}

/// How long connecting may take for a request with these extensions.
#[cfg(any(feature = "client-hyper", feature = "client-reqwest"))]
fn connect_timeout(extensions: &http::Extensions) -> Duration {
    extensions.get().map_or(Duration::from_secs(5), Upstream::connect_timeout)
}

/// The silence after which the system checks whether the peer of a TCP connection still exists.
#[cfg(any(feature = "client-hyper", feature = "client-reqwest"))]
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Whether a host is on this machine, where no proxy can reach it.
#[cfg(feature = "client-reqwest")]
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The upstream has not processed the request: it may be sent again, also if it is not idempotent.
///
/// A transport reports it as the source of
/// [`Failure::ConnectionLost`](crate::error::Failure::ConnectionLost) when a pooled connection
/// closed before one byte of the response on its first use after being idle, when an HTTP/2 peer
/// refused the stream, and when its GOAWAY named a lower one. The client then sends the request
/// once more, with [`Upstream::is_fresh`]; that is no attempt, and says nothing about the backend.
#[derive(Debug)]
pub struct Unprocessed(BoxError);

impl Unprocessed {
    /// Wraps the error of the connection.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }

    #[cfg(any(feature = "client-hyper", feature = "client-reqwest"))]
    fn boxed(error: impl Into<BoxError>) -> BoxError {
        Box::new(Self::new(error))
    }
}

impl fmt::Display for Unprocessed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was not processed")
    }
}

impl Error for Unprocessed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

//! The connections to upstreams: what sends a request to its address.

#[cfg(feature = "client-hyper")]
mod hyper;
#[cfg(feature = "client-hyper")]
mod pool;
mod reqwest;

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::Extensions;

#[cfg(feature = "client-hyper")]
pub use self::hyper::{Hyper, HyperBody, ResponseFuture};
pub use self::reqwest::Reqwest;
use crate::{backend::Backend, endpoint::Endpoint};

/// Where a request goes; in its extensions, put by [`BackendClient`](super::BackendClient) for its
/// transport.
#[derive(Clone, Debug)]
pub struct Upstream {
    connect_timeout: Duration,
    backend: Option<(Arc<Backend>, Endpoint, bool)>,
}

impl Upstream {
    /// The request's own address, to which the connection may take so long.
    #[must_use]
    pub const fn new(connect_timeout: Duration) -> Self {
        Self { connect_timeout, backend: None }
    }

    /// This backend's endpoint, for a stream or a plain answer.
    pub(super) fn backend(backend: Arc<Backend>, endpoint: Endpoint, stream: bool) -> Self {
        Self { connect_timeout: backend.provider().timeouts().connect(), backend: Some((backend, endpoint, stream)) }
    }

    /// How long the connection may take.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// The request's address in reqwest's type, which is not http's, and dear to parse.
    fn url(&self) -> Option<::reqwest::Url> {
        let (backend, endpoint, stream) = self.backend.as_ref()?;
        backend.url(*endpoint, *stream)
    }
}

/// How long the connection of a request with these extensions may take.
fn connect_timeout(extensions: &Extensions) -> Duration {
    extensions.get().map_or(Duration::from_secs(5), Upstream::connect_timeout)
}

/// How long a connection is silent before the system asks whether its other end is there still.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Whether it is on this machine, where no proxy can reach it.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

//! The connections to upstreams: what sends a request to its address.

#[cfg(feature = "client-hyper")]
mod hyper;
mod reqwest;

use std::{net::IpAddr, time::Duration};

#[cfg(feature = "client-hyper")]
pub use self::hyper::{Hyper, HyperBody, ResponseFuture};
pub(super) use self::reqwest::Address;
pub use self::reqwest::Reqwest;

/// How long the connection may take; in a request's extensions, put by
/// [`BackendClient`](super::BackendClient) for its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectTimeout(pub Duration);

impl ConnectTimeout {
    /// What a request says, or the default.
    fn of(extensions: &http::Extensions) -> Duration {
        extensions.get().map_or(Duration::from_secs(5), |Self(timeout)| *timeout)
    }
}

/// How long a connection is silent before the system asks whether its other end is there still.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Whether it is on this machine, where no proxy can reach it.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

//! Pooled reqwest clients, one for each connect timeout in use.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{Request, Response};
use reqwest::Url;
use tower_service::Service;

use super::{KEEP_ALIVE, Upstream, connect_timeout, is_loopback};
use crate::{
    body::Buffered,
    error::{Deadline, Failure},
};

/// The default transport: reqwest, with TLS by rustls, the roots of the system and of Mozilla,
/// `TCP_NODELAY`, no redirects (they would carry the key elsewhere), and the proxy that the
/// environment names, but for addresses on this machine. Clones share the pools.
#[derive(Clone, Debug, Default)]
pub struct Reqwest {
    // A pool has one connect timeout, and goes by a proxy or not. Few differ, so that a search
    // beats a map.
    pools: Arc<ArcSwap<Vec<(Needs, reqwest::Client)>>>,
}

/// What tells pools apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needs {
    connect: Duration,
    /// It is on this machine, where no proxy can reach it.
    loopback: bool,
}

impl Reqwest {
    /// No connections yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn pool(&self, needs: Needs) -> Result<reqwest::Client, Failure> {
        let find = |pools: &[(Needs, reqwest::Client)]| pools.iter().find(|p| p.0 == needs).map(|p| p.1.clone());
        if let Some(found) = find(&self.pools.load()) {
            return Ok(found);
        }
        let builder = reqwest::Client::builder();
        let client = if needs.loopback { builder.no_proxy() } else { builder }
            .connect_timeout(needs.connect)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .tcp_keepalive(KEEP_ALIVE)
            .build()
            .map_err(|e| Failure::Connect(e.into()))?;
        self.pools.rcu(|pools| match find(pools) {
            Some(_) => pools.clone(),
            None => Arc::new(pools.iter().cloned().chain([(needs, client.clone())]).collect()),
        });
        Ok(find(&self.pools.load()).unwrap_or(client))
    }
}

impl Service<Request<Buffered>> for Reqwest {
    type Response = Response<reqwest::Body>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Buffered>) -> Self::Future {
        let connect = connect_timeout(request.extensions());
        let needs = Needs { connect, loopback: request.uri().host().is_some_and(is_loopback) };
        let execute = self.pool(needs).and_then(|pool| Ok(pool.execute(own(request)?)));
        Box::pin(async move { Ok(execute?.await.map_err(failure)?.into()) })
    }
}

/// The request in reqwest's own type.
fn own(request: Request<Buffered>) -> Result<reqwest::Request, Failure> {
    let (head, body) = request.into_parts();
    let url = match head.extensions.get().and_then(Upstream::url) {
        Some(url) => url,
        None => Url::parse(&head.uri.to_string()).map_err(|e| Failure::Connect(e.into()))?,
    };
    let mut request = reqwest::Request::new(head.method, url);
    *request.headers_mut() = head.headers;
    *request.body_mut() = Some(body.into_bytes().into());
    Ok(request)
}

/// What went wrong, without the address, which is nobody's business.
fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => Failure::Timeout(Deadline::Connect),
        (true, false) => Failure::Connect(error.into()),
        _ => Failure::ConnectionLost(error.into()),
    }
}

//! The connections to upstreams: pooled reqwest clients, one for each connect timeout in use.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{Request, Response};
use tower_service::Service;

use crate::{
    body::Buffered,
    error::{Deadline, Failure},
};

/// How long the connection may take; in a request's extensions, put by
/// [`BackendClient`](super::BackendClient) for its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectTimeout(pub Duration);

/// The default transport: reqwest, with TLS by rustls, the roots of the system and of Mozilla,
/// `TCP_NODELAY`, no redirects (they would carry the key elsewhere), and the proxy that the
/// environment names. Clones share the pools.
#[derive(Clone, Debug, Default)]
pub struct Reqwest {
    // A pool has one connect timeout. Few differ, so that a search beats a map.
    pools: Arc<ArcSwap<Vec<(Duration, reqwest::Client)>>>,
}

impl Reqwest {
    /// No connections yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn pool(&self, connect: Duration) -> Result<reqwest::Client, Failure> {
        let find = |pools: &[(Duration, reqwest::Client)]| pools.iter().find(|p| p.0 == connect).map(|p| p.1.clone());
        if let Some(found) = find(&self.pools.load()) {
            return Ok(found);
        }
        let client = reqwest::Client::builder()
            .connect_timeout(connect)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(60))
            .build()
            .map_err(|e| Failure::Connect(e.into()))?;
        self.pools.rcu(|pools| match find(pools) {
            Some(_) => pools.clone(),
            None => Arc::new(pools.iter().cloned().chain([(connect, client.clone())]).collect()),
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
        let connect = request.extensions().get().map_or(Duration::from_secs(5), |ConnectTimeout(d)| *d);
        let pool = self.pool(connect);
        Box::pin(async move {
            let request = request.map(Buffered::into_bytes).try_into().map_err(|e: reqwest::Error| failure(e))?;
            let response = pool?.execute(request).await.map_err(failure)?;
            Ok(response.into())
        })
    }
}

/// What went wrong, without the address, which is nobody's business.
fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => Failure::Timeout(Deadline::Connect),
        (true, false) => Failure::Connect(error.into()),
        _ => Failure::Broken(error.into()),
    }
}

//! A limit of requests per client address in an axum application, with one layer of Berry.
//!
//! `cargo run --bin rate_limit_by_ip`, then
//! `for i in $(seq 6); do curl -i http://127.0.0.1:3002/; done`

use std::net::{IpAddr, SocketAddr};

use axum::{Router, extract::ConnectInfo, routing::get};
use berry_tower::rate_limit::{Limits, PerKey, RateLimitLayer};
use http::request::Parts;

/// Returns the address of the peer. For IPv6 this is the /64 network, which one client controls.
///
/// Behind a proxy, read the header that the proxy sets instead. Without a proxy, clients could forge
/// that header.
fn address(head: &Parts) -> Option<IpAddr> {
    let ConnectInfo(peer) = head.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(match peer.ip().to_canonical() {
        IpAddr::V6(v6) => (v6.to_bits() >> 64 << 64).to_be_bytes().into(),
        v4 @ IpAddr::V4(_) => v4,
    })
}

fn app() -> Router {
    let limits = Limits::new().per_minute(5).per_hour(100).concurrent(2);
    Router::new()
        .route("/", get(|| async { "Hello!\n" }))
        .layer(RateLimitLayer::new(PerKey::new(limits, address).max_keys(10_000).require_key()))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3002").await?;
    axum::serve(listener, app().into_make_service_with_connect_info::<SocketAddr>()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http::{Request, Response};
    use tower::ServiceExt;

    async fn ask(app: &Router, peer: &str) -> Response<Body> {
        let peer: SocketAddr = peer.parse().unwrap();
        let request = Request::builder().extension(ConnectInfo(peer)).body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn limits_each_address() {
        let app = app();
        for remaining in ["4", "3", "2", "1", "0"] {
            let response = ask(&app, "192.0.2.1:1000").await;
            assert_eq!(response.headers()["x-ratelimit-remaining-requests"], remaining);
        }
        let rejected = ask(&app, "192.0.2.1:1001").await;
        assert_eq!(rejected.status(), 429);
        assert_eq!(rejected.headers()["retry-after"], "12");
        assert_eq!(ask(&app, "192.0.2.2:1000").await.status(), 200);
        for host in 1..=5 {
            assert_eq!(ask(&app, &format!("[2001:db8::{host}]:1000")).await.status(), 200);
        }
        assert_eq!(ask(&app, "[2001:db8::6]:1000").await.status(), 429, "the addresses of a /64 share a limit");
    }
}

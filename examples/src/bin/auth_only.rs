//! API keys in an axum application, with one layer of Berry.
//!
//! `cargo run --bin auth_only`, then
//! `curl -H 'authorization: Bearer example-token-of-alice' http://127.0.0.1:3001/`

use axum::{Extension, Router, routing::get};
use berry_tower::auth::{ApiKey, ApiKeys, AuthLayer};

/// The identity of a caller; any type works.
#[derive(Clone)]
struct User {
    name: &'static str,
}

fn app() -> Router {
    let keys = ApiKeys::new([
        ApiKey::from_token("example-token-of-alice", User { name: "Alice" }),
        ApiKey::from_token("example-token-of-bob", User { name: "Bob" }).enabled(false),
    ]);
    Router::new()
        .route("/", get(|Extension(user): Extension<User>| async move { format!("Hello, {}!\n", user.name) }))
        .layer(AuthLayer::new(keys))
        // This route is added after the layer, so it needs no key.
        .route("/health", get(|| async { "ok\n" }))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3001").await?;
    axum::serve(listener, app()).await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::{Request, header::AUTHORIZATION};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn ask(path: &str, token: &str) -> (u16, String) {
        let request = Request::get(path).header(AUTHORIZATION, format!("Bearer {token}")).body(Body::empty()).unwrap();
        let response = super::app().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn accepts_only_enabled_keys() {
        assert_eq!(ask("/", "example-token-of-alice").await, (200, "Hello, Alice!\n".into()));
        assert_eq!(ask("/", "example-token-of-bob").await.0, 401);
        assert_eq!(ask("/", "no-such-token").await.0, 401);
        assert_eq!(ask("/health", "no-such-token").await, (200, "ok\n".into()));
    }
}

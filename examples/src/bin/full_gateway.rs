//! The standard gateway in an axum application, with its own identities and rules.
//!
//! `OPENAI_API_KEY=… cargo run --bin full_gateway`, then use `http://127.0.0.1:3001/v1` with any
//! OpenAI client and the key `example-token-of-alice`.

use std::{env, sync::Arc};

use axum::{Router, routing::post_service};
use berry_tower::{
    auth::{ApiKey, ApiKeys},
    backend::{Backend, Catalog, Model, Provider, strategy::RoundRobin},
    error::BoxError,
    gateway::{Settings, gateway},
    rate_limit::{Limits, PerKey},
};
use http::request::Parts;

#[derive(Clone)]
struct User {
    name: &'static str,
}

fn app(url: &str, key: &str) -> Result<Router, BoxError> {
    let provider = Arc::new(Provider::new("openai", url)?.with_key(key)?);
    let pool = ["gpt-4o-mini", "gpt-4.1-mini"].map(|model| Backend::new(provider.clone(), model));
    let catalog = Catalog::new([Model::new("fast", Arc::new(RoundRobin::default()), pool)])?;

    let keys = ApiKeys::new([ApiKey::from_token("example-token-of-alice", User { name: "Alice" })]);
    let by_user = |head: &Parts| head.extensions.get::<User>().map(|user| user.name);
    let limit = PerKey::new(Limits::new().per_minute(60), by_user).require_key();
    let allow = |user: &User, model: &str| user.name == "Alice" || model != "fast";

    let gateway = gateway(Settings::new(catalog), keys, limit, allow);
    Ok(Router::new().route("/v1/chat/completions", post_service(gateway)))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = app("https://api.openai.com/v1", &env::var("OPENAI_API_KEY")?)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3001").await?;
    Ok(axum::serve(listener, app).await?)
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, body::Body, routing::post};
    use http::{Request, header::AUTHORIZATION};
    use tower::ServiceExt;

    #[tokio::test]
    async fn serves_only_known_users() {
        let message = serde_json::json!({ "role": "assistant", "content": "hello" });
        let choice = serde_json::json!({ "index": 0, "message": message, "finish_reason": "stop" });
        let response = Json(serde_json::json!({ "choices": [choice] }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream = Router::new().route("/v1/chat/completions", post(move || std::future::ready(response)));
        tokio::spawn(async { axum::serve(listener, upstream).await });
        let app = super::app(&url, "sk-test").unwrap();
        for (token, status) in [("example-token-of-alice", 200), ("no-such-token", 401)] {
            let request = Request::post("/v1/chat/completions").header(AUTHORIZATION, format!("Bearer {token}"));
            let request = request.body(Body::from(r#"{"model":"fast","messages":[]}"#)).unwrap();
            assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status);
        }
    }
}

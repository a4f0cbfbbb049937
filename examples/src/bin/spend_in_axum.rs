//! A budget for each caller of an axum application, with a cost function of its own.
//!
//! `cargo run --bin spend_in_axum`, then
//! `curl -H 'x-caller: alice' -d '{"model":"shout","max_tokens":20}' http://127.0.0.1:3001/v1/chat/completions`

use std::sync::Arc;

use axum::{Extension, Json, Router, body::Body, extract::Request, response::IntoResponse, routing::post};
use berry_tower::{
    body::Buffered,
    collect::CollectLayer,
    error_response::ErrorResponseLayer,
    inspect::{InspectLayer, Requested},
    progress::Usage,
    spend::{Account, Money, SpendLayer, SpendLimits, Subject, Used},
    store::Memory,
};
use http::Extensions;
use tower::ServiceBuilder;

/// The caller, put into requests by a middleware that knows it.
#[derive(Clone)]
struct Caller(Arc<str>);

fn account(extensions: &Extensions) -> Option<Account> {
    let limits = SpendLimits::new().cost_per_day("0.01".parse().ok()?).max_concurrent_requests(4);
    let caller = extensions.get::<Caller>()?.0.clone();
    Some(Account::new([Arc::new(Subject::new("user", caller).with_limits(limits))]))
}

/// Each token costs a hundredth of a cent.
fn cost(used: &Used<'_>) -> Option<Money> {
    Some(Money::from_nanos(100_000 * (used.usage.input + used.usage.output)))
}

/// Answers, and tells the layer what that has used.
async fn answer(Extension(requested): Extension<Requested>) -> impl IntoResponse {
    let usage = Usage { input: 10, output: 20, ..Usage::default() };
    (Extension(usage), Json(serde_json::json!({ "model": &*requested.model, "answer": "HELLO" })))
}

async fn identify(mut request: Request, next: axum::middleware::Next) -> impl IntoResponse {
    if let Some(name) = request.headers().get("x-caller").and_then(|name| name.to_str().ok()) {
        let caller = Caller(name.into());
        request.extensions_mut().insert(caller);
    }
    next.run(request).await
}

fn app() -> Router {
    let service = ServiceBuilder::new()
        .layer(ErrorResponseLayer::new())
        .layer(CollectLayer::new())
        .layer(InspectLayer::new())
        .layer(SpendLayer::new(Arc::new(Memory::new()), account).cost(cost))
        .map_request(|request: http::Request<Buffered>| request.map(Body::new))
        .service(post(answer));
    Router::new().route_service("/v1/chat/completions", service).layer(axum::middleware::from_fn(identify))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3001").await?;
    axum::serve(listener, app()).await
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    #[tokio::test]
    async fn allows_what_the_budget_covers() {
        let app = super::app();
        let ask = async |caller: &str| {
            let request = http::Request::post("/v1/chat/completions").header("x-caller", caller);
            let request = request.body(axum::body::Body::from(r#"{"model":"shout","max_tokens":20}"#)).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.into()).unwrap())
        };
        // 33 bytes and 20 tokens may cost 0.0053; 30 tokens cost 0.003.
        for _ in 0..2 {
            assert_eq!(ask("alice").await.0, 200);
        }
        let (status, told) = ask("alice").await;
        assert_eq!(status, 429);
        assert!(told.contains("insufficient_quota") && told.contains("$0.004 is left"), "{told}");
        assert_eq!(ask("bob").await.0, 200, "another caller has a budget of its own");
    }
}

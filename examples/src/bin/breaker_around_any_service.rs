//! A circuit breaker around an HTTP service. It opens after three consecutive failures.
//!
//! `cargo run --bin breaker_around_any_service`, then request `http://127.0.0.1:3001/` a few times.

use std::time::Duration;

use axum::{
    Router,
    error_handling::HandleErrorLayer,
    routing::{get, get_service},
};
use berry_tower::breaker::{BreakerPolicy, CircuitBreakerLayer};
use http::StatusCode;
use tower::{BoxError, ServiceBuilder};

/// A handler that fails, for example because its database is down.
async fn report() -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn unavailable(error: BoxError) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
}

fn app() -> Router {
    let policy = BreakerPolicy::new().with_failure_threshold(3).with_open_for(Duration::from_secs(10));
    let layers =
        ServiceBuilder::new().layer(HandleErrorLayer::new(unavailable)).layer(CircuitBreakerLayer::new(policy));
    Router::new().route("/", get_service(layers.service(get(report))))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3001").await?;
    axum::serve(listener, app()).await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    #[tokio::test]
    async fn opens_after_three_failures() {
        let app = super::app();
        let mut statuses = Vec::new();
        for _ in 0..4 {
            let response = app.clone().oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
            statuses.push(response.status().as_u16());
            response.into_body().collect().await.unwrap();
        }
        assert_eq!(statuses, [500, 500, 500, 503]);
    }
}

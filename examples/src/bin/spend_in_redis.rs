//! A limit that several processes of an application share in Redis.
//!
//! `REDIS_URL=redis://127.0.0.1:6379 cargo run --bin spend_in_redis`, as often as you like, then
//! `curl -d '{"model":"shout","max_tokens":20}' http://127.0.0.1:PORT/v1/chat/completions`

use std::{error::Error, sync::Arc};

use axum::{Extension, Json, Router, body::Body, response::IntoResponse, routing::post};
use berry_tower::{
    body::Buffered,
    collect::CollectLayer,
    error_response::ErrorResponseLayer,
    inspect::InspectLayer,
    progress::Usage,
    spend::{Account, SpendLayer, SpendLimits, Subject},
    store::redis::{OnError, Redis, RedisConfig},
};
use tower::ServiceBuilder;

/// Answers, and tells the layer what that has used.
async fn answer() -> impl IntoResponse {
    (Extension(Usage { input: 10, output: 20, ..Usage::default() }), Json("HELLO"))
}

fn app(store: Redis) -> Router {
    // All requests count for one team.
    let limits = SpendLimits::new().requests_per_day(100).tokens_per_day(1_000_000);
    let account = Account::new([Arc::new(Subject::new("team", "everyone").with_limits(limits))]);
    let service = ServiceBuilder::new()
        .layer(ErrorResponseLayer::new())
        .layer(CollectLayer::new())
        .layer(InspectLayer::new())
        .layer(SpendLayer::new(Arc::new(store), move |_| Some(account.clone())))
        .map_request(|request: http::Request<Buffered>| request.map(Body::new))
        .service(post(answer));
    Router::new().route_service("/v1/chat/completions", service)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let store = Redis::start(RedisConfig::from_url(&url)?.on_error(OnError::Share));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    #[expect(clippy::print_stdout, reason = "the program tells where it listens")]
    {
        println!("listening on {}", listener.local_addr()?);
    }
    axum::serve(listener, app(store)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{process, time::Duration};

    use super::*;
    use tower::ServiceExt;

    /// A server that ends with the test.
    struct Server(process::Child);

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[tokio::test]
    async fn two_processes_admit_no_more_than_one_would() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = ["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()];
        let mut command = process::Command::new("redis-server");
        // Without a server on this machine there is nothing to share.
        let Ok(server) = command.args(arguments).stdout(process::Stdio::null()).spawn() else { return };
        let _server = Server(server);
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let config =
            RedisConfig::from_url(&format!("redis://127.0.0.1:{port}")).unwrap().timeout(Duration::from_secs(5));
        let apps = [app(Redis::start(config.clone())), app(Redis::start(config))];
        let mut admitted = 0;
        for i in 0..150 {
            let request =
                http::Request::post("/v1/chat/completions").body(Body::from(r#"{"model":"m","max_tokens":20}"#));
            let response = apps[i % 2].clone().oneshot(request.unwrap()).await.unwrap();
            admitted += u32::from(response.status() == 200);
        }
        assert_eq!(admitted, 100);
    }
}

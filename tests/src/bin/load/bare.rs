//! A minimal proxy of axum and reqwest, which only replaces the API key of a request.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
    routing::post,
    serve::ListenerExt,
};
use http::{HeaderValue, header};
use tokio::net::TcpListener;

use crate::{Failed, process};

/// The provider's key.
const KEY: HeaderValue = HeaderValue::from_static(process::BEARER);

/// Serves until the parent process ends.
pub(crate) async fn serve(upstream: &str) -> Result<(), Failed> {
    let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
    let router = Router::new()
        .route("/v1/chat/completions", post(forward))
        .with_state((client, format!("http://{upstream}/v1/chat/completions")));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    process::print_address(listener.local_addr()?)?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::select! {
        served = axum::serve(listener, router) => Ok(served?),
        () = process::parent_exit() => Ok(()),
    }
}

async fn forward(State((client, upstream)): State<(reqwest::Client, String)>, request: Request) -> Response {
    let (mut head, body) = request.into_parts();
    head.headers.remove(header::HOST);
    head.headers.insert(header::AUTHORIZATION, KEY);
    let Ok(body) = to_bytes(body, 1 << 20).await else { return bad_gateway() };
    match client.post(upstream).headers(head.headers).body(body).send().await {
        Ok(answer) => http::Response::from(answer).map(Body::new),
        Err(_) => bad_gateway(),
    }
}

fn bad_gateway() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = http::StatusCode::BAD_GATEWAY;
    response
}

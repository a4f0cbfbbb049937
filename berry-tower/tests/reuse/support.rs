//! Servers for the layers under test, and a plain HTTP client.

use std::{convert::Infallible, fmt::Debug, net::SocketAddr};

use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{Service, service_fn, util::ServiceFn};

/// Serves an axum application until the test ends.
pub(crate) async fn axum(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Serves a Tower service with hyper alone.
pub(crate) async fn hyper<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<tower::BoxError> + Debug,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<tower::BoxError>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

type Hello = std::future::Ready<Result<Response<Full<Bytes>>, Infallible>>;

/// Returns a service that answers every request.
pub(crate) fn hello<B>() -> ServiceFn<fn(Request<B>) -> Hello> {
    service_fn(|_| std::future::ready(Ok(Response::new(Full::from("hello")))))
}

/// Posts a body to `/`; see [`send`].
pub(crate) async fn post(address: SocketAddr, headers: &str, body: &str) -> (u16, String) {
    send(address, "POST /", headers, body).await
}

/// Sends a request and returns the status and the whole text of the response. `line` is the method
/// and the path, `headers` are complete lines. Invalid UTF-8 is replaced.
pub(crate) async fn send(address: SocketAddr, line: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    let response = String::from_utf8_lossy(&response).into_owned();
    (response[9..12].parse().unwrap(), response)
}

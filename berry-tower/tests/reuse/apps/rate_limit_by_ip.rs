//! An axum application with two limits per client address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::{Router, extract::ConnectInfo, routing::post};
use berry_tower::rate_limit::{Limits, PerKey, RateLimitLayer, WindowLimit};
use http::request::Parts;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    time::Duration,
};

fn address(head: &Parts) -> Option<IpAddr> {
    head.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

async fn send(server: SocketAddr, from: u8) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, from), 0).into()).unwrap();
    let mut stream = socket.connect(server).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn limits_each_address_in_two_windows() {
    let limits = Limits::new().window(WindowLimit::new(2, Duration::from_secs(600))).per_day(3);
    let limit = PerKey::new(limits, address).max_keys(10_000).require_key();
    let app = Router::new().route("/", post(|| async { "hello" })).layer(RateLimitLayer::new(limit.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
    });

    for (remaining, used) in [("1", "2"), ("0", "2")] {
        let response = send(server, 1).await;
        assert!(response.contains(&format!("x-ratelimit-remaining-requests: {remaining}\r\n")), "{response}");
        assert!(response.contains(&format!("x-ratelimit-limit-requests: {used}\r\n")), "{response}");
    }
    let rejected = send(server, 1).await;
    assert!(rejected.starts_with("HTTP/1.1 429"), "{rejected}");
    assert!(rejected.contains("rate limit of 2 requests per 10m0s reached"), "{rejected}");
    assert!(send(server, 2).await.starts_with("HTTP/1.1 200"));
    assert_eq!(limit.len(), 2);
}

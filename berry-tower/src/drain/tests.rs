use std::convert::Infallible;

use axum::{Router, body::Body as AxumBody, response::IntoResponse, routing::post};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tower::{ServiceExt, service_fn};

use super::*;

async fn refuse<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("no")))
}

fn endless() -> Request<impl Body<Data = Bytes, Error = Infallible> + Unpin> {
    let frames = stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[0; 1024]))));
    Request::new(StreamBody::new(frames))
}

fn silent() -> Request<impl Body<Data = Bytes, Error = Infallible> + Unpin> {
    Request::new(StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>()))
}

#[tokio::test(start_paused = true)]
async fn passes_all_but_the_last_byte_at_once() {
    let start = Instant::now();
    let mut body = Drain::new(service_fn(refuse)).oneshot(silent()).await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), Some(2));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "n");
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(body.size_hint().exact(), Some(1));
    assert!(!body.is_end_stream());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "o");
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn reads_endless_body_within_bounds() {
    let start = Instant::now();
    let service = DrainLayer::new().max_bytes(10_000).layer(service_fn(refuse));
    let body = service.oneshot(endless()).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "no");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// A body that knows its length, and learns of its end only by another poll.
struct Announced(&'static str, u64);

impl Body for Announced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = Bytes::from(std::mem::take(&mut self.0));
        self.1 -= bytes.len() as u64;
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.1)
    }
}

#[tokio::test(start_paused = true)]
async fn last_byte_of_announced_length_waits() {
    for text in ["no", ""] {
        let refuse = service_fn(move |_: Request<_>| async move {
            Ok::<_, Infallible>(Response::new(Announced(text, text.len() as u64)))
        });
        let start = Instant::now();
        let mut body = Drain::new(refuse).oneshot(silent()).await.unwrap().into_body();
        // A server reads no further than the last byte.
        for _ in 0..text.len() {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 1);
        }
        assert!(start.elapsed() >= Duration::from_secs(2), "{text}");
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn head_of_empty_response_waits() {
    let empty = service_fn(|_: Request<_>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
    let start = Instant::now();
    let response = Drain::new(empty).oneshot(silent()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert!(response.body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn does_not_wait_for_client_that_awaits_continue_or_speaks_http2() {
    let start = Instant::now();
    let mut request = silent();
    request.headers_mut().insert(EXPECT, "100-continue".parse().unwrap());
    let body = Drain::new(service_fn(refuse)).oneshot(request).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "no");
    let mut request = silent();
    *request.version_mut() = Version::HTTP_2;
    let body = Drain::new(service_fn(refuse)).oneshot(request).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "no");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn does_not_wait_for_request_that_was_read() {
    let echo = service_fn(|request: Request<RequestBody<Full<Bytes>>>| async move {
        let bytes = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(Response::new(Full::new(bytes)))
    });
    let response = Drain::new(echo).oneshot(Request::new(Full::from("all"))).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "all");
}

/// Starts a server that answers 401 to all but the token `good`, without reading the body.
async fn server() -> TcpStream {
    async fn handler(headers: HeaderMap, body: AxumBody) -> impl IntoResponse {
        drop(body);
        match headers.get("authorization") {
            Some(token) if token == "good" => (StatusCode::OK, "yes"),
            _ => (StatusCode::UNAUTHORIZED, "no such token"),
        }
    }
    let app = Router::new().route("/", post(handler)).layer(DrainLayer::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    client
}

async fn answer(client: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    let mut piece = [0; 1024];
    while !seen.ends_with(end.as_bytes()) {
        let n = timeout(Duration::from_secs(20), client.read(&mut piece)).await.unwrap().unwrap();
        assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..n]);
    }
    String::from_utf8(seen).unwrap()
}

#[tokio::test]
async fn client_that_reads_after_sending_20_mb_gets_the_refusal() {
    let mut client = server().await;
    let body = vec![b'x'; 20_000_000];
    let head = |token: &str, length: usize| {
        format!("POST / HTTP/1.1\r\nhost: a\r\nauthorization: {token}\r\ncontent-length: {length}\r\n\r\n")
    };
    client.write_all(head("bad", body.len()).as_bytes()).await.unwrap();
    client.write_all(&body).await.unwrap();
    let refused = answer(&mut client, "no such token").await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    assert!(refused.contains("content-length: 13"), "{refused}");

    client.write_all(head("good", 0).as_bytes()).await.unwrap();
    let passed = answer(&mut client, "yes").await;
    assert!(passed.starts_with("HTTP/1.1 200"), "the connection can be used again: {passed}");
}

#[tokio::test(start_paused = true)]
async fn accepts_bodies_of_any_type() {
    // Neither `Unpin` nor of `Bytes`, with trailers.
    let frames = || {
        let trailers: HeaderMap = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
        let frames =
            stream::once(async { Ok::<_, Infallible>(Frame::data(std::collections::VecDeque::from(*b"text"))) });
        StreamBody::new(futures_util::StreamExt::chain(frames, stream::once(async { Ok(Frame::trailers(trailers)) })))
    };
    let service = service_fn(|request: Request<_>| {
        drop(request);
        std::future::ready(Ok::<_, Infallible>(Response::new(frames())))
    });
    let layer = DrainLayer::new().max_time(Duration::MAX);
    let body = layer.layer(service).oneshot(Request::new(frames())).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "text");
}

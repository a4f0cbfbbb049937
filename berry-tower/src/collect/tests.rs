use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::{
    StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;
use tokio::time::Instant;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::upstream_time::UpstreamTime;

async fn echo(request: Request<Buffered>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(request.into_body().into_bytes())))
}

async fn ask<B>(layer: CollectLayer, request: Request<B>) -> (StatusCode, Bytes)
where
    B: Body<Data: Send> + Send + 'static,
    B::Error: Send,
{
    let response = layer.layer(service_fn(echo)).oneshot(request).await.unwrap();
    (response.status(), response.into_body().collect().await.unwrap().to_bytes())
}

fn full(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::new(Full::new(body.into()))
}

fn error(body: &[u8]) -> (Value, Value) {
    let error: Value = serde_json::from_slice(body).unwrap();
    (error["error"]["param"].clone(), error["error"]["code"].clone())
}

/// A body in pieces, each after a wait of so many seconds.
fn slow(pieces: Vec<(u64, &'static str)>) -> Request<impl Body<Data = Bytes, Error = Infallible> + Send> {
    let frames = stream::unfold(pieces.into_iter(), |mut pieces| async move {
        let (wait, piece) = pieces.next()?;
        tokio::time::sleep(Duration::from_secs(wait)).await;
        Some((Ok(Frame::data(Bytes::from(piece))), pieces))
    });
    Request::new(StreamBody::new(Box::pin(frames)))
}

#[tokio::test]
async fn a_body_passes_on_byte_for_byte() {
    let body = r#" { "model" : "m",  "x":[1, 2] } "#;
    assert_eq!(ask(CollectLayer::new(), full(body)).await, (StatusCode::OK, Bytes::from(body)));
    let pieces = vec![(0, r#"{"mod"#), (0, ""), (0, r#"el":"m""#), (0, "}")];
    assert_eq!(ask(CollectLayer::new(), slow(pieces)).await, (StatusCode::OK, Bytes::from(r#"{"model":"m"}"#)));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_body_is_not_the_gateways_time() {
    let time = UpstreamTime::default();
    let mut request = slow(vec![(2, r#"{"model":"#), (3, r#""m"}"#)]);
    request.extensions_mut().insert(time.clone());
    assert_eq!(ask(CollectLayer::new(), request).await.0, StatusCode::OK);
    assert_eq!(time.total(), None, "no upstream was asked");
    drop(time.wait());
    assert_eq!(time.total(), Some(Duration::from_secs(5)));
}

#[tokio::test]
async fn a_large_body_is_refused_before_or_while_it_is_read() {
    let layer = CollectLayer::new().max_body(20);
    let (status, body) = ask(layer.clone(), full(format!(r#"{{"model":"{}"}}"#, "m".repeat(20)))).await;
    assert_eq!((status, error(&body).1), (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large".into()));

    let never = Request::builder()
        .header(CONTENT_LENGTH, "21")
        .body(StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>()));
    assert_eq!(ask(layer.clone(), never.unwrap()).await.0, StatusCode::PAYLOAD_TOO_LARGE);

    let pieces = vec![(0, r#"{"model":"#), (0, r#""mmmmmmmmmmmmmmm"}"#)];
    assert_eq!(ask(layer.clone(), slow(pieces)).await.0, StatusCode::PAYLOAD_TOO_LARGE);

    assert_eq!(ask(layer.clone(), full(r#"{"model":"12345678"}"#)).await.0, StatusCode::OK, "at the limit");
}

#[tokio::test(start_paused = true)]
async fn rejects_a_body_that_is_silent_for_too_long() {
    let layer = CollectLayer::new().min_rate(0);
    let pieces = vec![(29, r#"{"mod"#), (29, r#"el":"m""#), (29, "}")];
    assert_eq!(ask(layer.clone(), slow(pieces)).await.0, StatusCode::OK);
    let empty = vec![(29, r#"{"mod"#), (20, ""), (20, r#"el":"m"}"#)];
    let (status, body) = ask(layer, slow(empty)).await;
    assert_eq!((status, error(&body).1), (StatusCode::REQUEST_TIMEOUT, "request_timeout".into()));
}

#[tokio::test(start_paused = true)]
async fn rejects_a_body_below_the_least_rate() {
    static BURST: &str = match std::str::from_utf8(&[b'a'; 40_000]) {
        Ok(text) => text,
        Err(_) => "",
    };
    let trickle = |n: usize| [vec![(1, BURST)], vec![(1, "a"); n]].concat();
    let started = Instant::now();
    assert_eq!(ask(CollectLayer::new(), slow(trickle(100))).await.0, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(started.elapsed().as_secs(), 60, "the burst counts for its own interval only");
    assert_eq!(ask(CollectLayer::new().min_rate(0), slow(trickle(100))).await.0, StatusCode::OK);
    assert_eq!(ask(CollectLayer::new(), slow(vec![(20, BURST); 20])).await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn rejects_a_body_that_takes_too_long_altogether() {
    let steady = |n: usize| slow(vec![(1, "a"); n]);
    let layer = CollectLayer::new().min_rate(0).max_time(Duration::from_secs(100));
    assert_eq!(ask(layer.clone(), steady(99)).await.0, StatusCode::OK);
    assert_eq!(ask(layer, steady(101)).await.0, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn limits_can_be_switched_off() {
    let layers = [
        CollectLayer::new().max_silence(None).max_time(None).min_rate(0).max_body(usize::MAX),
        CollectLayer::new().max_silence(Duration::MAX).max_time(Duration::MAX).min_rate(0),
    ];
    for layer in layers {
        assert_eq!(ask(layer, slow(vec![(100_000, "a"); 3])).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_compressed_body_is_refused() {
    let gzip = Request::builder().header(CONTENT_ENCODING, "gzip").body(Full::<Bytes>::from("x")).unwrap();
    assert_eq!(ask(CollectLayer::new(), gzip).await.0, StatusCode::BAD_REQUEST);
    let plain =
        Request::builder().header(CONTENT_ENCODING, "identity").body(Full::<Bytes>::from(r#"{"model":"m"}"#)).unwrap();
    assert_eq!(ask(CollectLayer::new(), plain).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let broken = StreamBody::new(stream::iter([
        Ok(Frame::data(Bytes::from(r#"{"model""#))),
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
    ]));
    assert_eq!(ask(CollectLayer::new(), Request::new(broken)).await.0, StatusCode::BAD_REQUEST);
}

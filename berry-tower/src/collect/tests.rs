use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::{
    StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH},
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
    B::Error: Into<crate::error::BoxError> + Send,
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

fn coded(coding: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder().header(CONTENT_ENCODING, coding).body(Full::new(body.into())).unwrap()
}

#[tokio::test]
async fn rejects_an_unsupported_coding() {
    let unsupported = if cfg!(feature = "decompress") { "compress" } else { "gzip" };
    let response = CollectLayer::new().layer(service_fn(echo)).oneshot(coded(unsupported, "x")).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(response.headers().contains_key(ACCEPT_ENCODING));
    assert_eq!(ask(CollectLayer::new(), coded("identity", r#"{"model":"m"}"#)).await.0, StatusCode::OK);
}

#[cfg(feature = "decompress")]
#[tokio::test]
async fn decodes_compressed_bodies() {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    let text = Bytes::from(vec![b'a'; 100_000]);
    macro_rules! packed {
        ($encoder:ident) => {{
            let mut encoder = $encoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&text).unwrap();
            encoder.finish().unwrap()
        }};
    }
    let zstd = zstd::encode_all(&text[..], 1).unwrap();
    // Made by another encoder, of the same text.
    let brotli = b"\x5b\x9f\x86\x81\x5f\x22\x2c\x1e\x0b\x04\xb2\xfc\x02\x00";
    let bodies = [
        ("gzip", packed!(GzEncoder)),
        ("x-gzip", packed!(GzEncoder)),
        ("deflate", packed!(ZlibEncoder)),
        ("deflate", packed!(DeflateEncoder)),
        ("zstd", zstd.clone()),
        ("zstd", [zstd.clone(), zstd].concat()),
        ("br", brotli.to_vec()),
    ];
    for (coding, body) in bodies {
        let service = CollectLayer::new().layer(service_fn(async |request: Request<Buffered>| {
            assert_eq!(request.headers().get(CONTENT_ENCODING), None);
            assert_eq!(request.headers()[CONTENT_LENGTH], request.body().bytes().len().to_string());
            echo(request).await
        }));
        let response = service.oneshot(coded(coding, body.clone())).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{coding}");
        let read = response.into_body().collect().await.unwrap().to_bytes();
        assert!(read == text || read == [&text[..], &text[..]].concat(), "{coding}");

        let budget = ByteBudget::new(text.len() - 1);
        let layers = [
            (CollectLayer::new().max_body(text.len() - 1), StatusCode::PAYLOAD_TOO_LARGE),
            (CollectLayer::new().budget(budget.clone()), StatusCode::SERVICE_UNAVAILABLE),
        ];
        for (layer, status) in layers {
            assert_eq!(ask(layer, coded(coding, body.clone())).await.0, status, "{coding}");
        }
        assert_eq!(budget.used(), 0);
        for cut in [1, body.len() / 2 - 1, body.len() - 1] {
            let (status, _) = ask(CollectLayer::new(), coded(coding, body[..cut].to_vec())).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{coding} cut at {cut}");
        }
    }
}

#[cfg(feature = "decompress")]
#[tokio::test]
async fn rejects_a_zstd_window_that_is_too_large() {
    for window in [0xff, 0x80] {
        let frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window, 3, 0, 0, 0];
        let (status, _) = ask(CollectLayer::new().max_body(1 << 20), coded("zstd", frame)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn rejects_bodies_over_the_budget() {
    let budget = ByteBudget::new(100);
    let layer = CollectLayer::new().budget(budget.clone());
    let service = layer.layer(service_fn(async |request: Request<Buffered>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()).map(|body| {
            // Held for as long as the response is.
            (body, request.into_body()).0
        }))
    }));
    assert_eq!(service.clone().oneshot(full("a".repeat(100))).await.unwrap().status(), StatusCode::OK);
    assert_eq!(budget.used(), 0, "given back");

    let held = service_fn(async |request: Request<Buffered>| {
        let body = request.into_body();
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, Infallible>(Response::new(Full::new(body.into_bytes())))
    });
    let service = layer.layer(held);
    let first = tokio::spawn(service.clone().oneshot(full("a".repeat(60))));
    tokio::task::yield_now().await;
    assert_eq!(budget.used(), 60);
    let response = service.clone().oneshot(full("a".repeat(60))).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    assert_eq!(service.oneshot(full("a".repeat(40))).await.unwrap().status(), StatusCode::OK);
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let broken = StreamBody::new(stream::iter([
        Ok(Frame::data(Bytes::from(r#"{"model""#))),
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
    ]));
    assert_eq!(ask(CollectLayer::new(), Request::new(broken)).await.0, StatusCode::BAD_REQUEST);
}

#![allow(clippy::unwrap_used, reason = "tests may panic, and so may their helpers")]

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::time::{Instant, sleep, timeout};
use tower::{ServiceExt, service_fn};

use super::*;
use crate::{
    attempt::{Attempt, BackendId},
    classify::Class,
    error::Exhausted,
    progress::{CommitPoint, Usage},
};

/// A request for a stream, by which Early knows that it may send a head.
fn request() -> Request<()> {
    let requested = Requested::read(&Bytes::from_static(br#"{"model":"m","stream":true}"#))
        .unwrap()
        .with_path("/v1/chat/completions");
    Request::builder().extension(requested).body(()).unwrap()
}

/// A body of zeros without an end that counts its frames.
struct Endless {
    frames: Arc<AtomicU32>,
    size: usize,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.frames.fetch_add(1, Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; self.size])))))
    }
}

#[tokio::test(start_paused = true)]
async fn bounds_reading_of_late_error_response() {
    let frames = Arc::new(AtomicU32::new(0));
    let counter = frames.clone();
    let service = service_fn(move |_: Request<()>| {
        let body = Endless { frames: counter.clone(), size: 65536 };
        async move {
            sleep(Duration::from_millis(5)).await;
            Ok::<_, Infallible>(Response::builder().status(500).body(body).unwrap())
        }
    });
    let layer = EarlyLayer::new(None).commit_after(Some(Duration::from_millis(1)));
    let response = layer.layer(service).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = Box::pin(response.into_body());
    let event = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(event.starts_with(b"data: {\"error\""));
    assert_eq!(frames.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn lets_other_tasks_run_while_reading_empty_frames() {
    let frames = Arc::new(AtomicU32::new(0));
    let counter = frames.clone();
    let service = service_fn(move |_: Request<()>| {
        let body = Endless { frames: counter.clone(), size: 0 };
        async move {
            sleep(Duration::from_millis(5)).await;
            Ok::<_, Infallible>(Response::builder().status(500).body(body).unwrap())
        }
    });
    let layer = EarlyLayer::new(None).commit_after(Some(Duration::ZERO));
    let mut body = Box::pin(layer.layer(service).oneshot(request()).await.unwrap().into_body());
    sleep(Duration::from_millis(10)).await;
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(body.as_mut().poll_frame(&mut cx).is_pending());
    assert!(frames.load(Relaxed) <= 64, "{frames:?}");
}

type SilentBody = StreamBody<futures_util::stream::Pending<Result<Frame<Bytes>, Infallible>>>;

fn silent_stream() -> Response<SilentBody> {
    let mut response = Response::new(StreamBody::new(futures_util::stream::pending()));
    response.extensions_mut().insert(Progress::new(CommitPoint::Output, Grammar::Chat));
    response
}

#[tokio::test(start_paused = true)]
async fn accepts_unlimited_times() {
    let service = service_fn(async |_: Request<()>| Ok::<_, Infallible>(silent_stream()));
    let layer = EarlyLayer::new(Some(Duration::MAX)).commit_after(Some(Duration::MAX));
    let mut body = Box::pin(layer.layer(service).oneshot(request()).await.unwrap().into_body());
    assert!(timeout(Duration::from_secs(3600), body.frame()).await.is_err(), "no comment comes");
}

#[tokio::test(start_paused = true)]
async fn shortest_interval_is_not_zero() {
    let service = service_fn(async |_: Request<()>| Ok::<_, Infallible>(silent_stream()));
    let start = Instant::now();
    let mut body = Early::new(service, Some(Duration::ZERO)).oneshot(request()).await.unwrap().into_body();
    for _ in 0..3 {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), ": keep-alive\n\n");
    }
    assert!(start.elapsed() >= 3 * MIN_KEEP_ALIVE);
}

#[tokio::test(start_paused = true)]
async fn progress_of_early_head_is_that_of_response() {
    let usage = Usage { input: 1, output: 2, ..Usage::default() };
    let service = service_fn(move |_: Request<()>| async move {
        sleep(Duration::from_secs(5)).await;
        let attempt = Attempt::first().next(Class::Server, false);
        attempt.record_backend(BackendId { provider: "b".into(), model: "m".into() });
        let progress = Progress::new(CommitPoint::Output, Grammar::Chat);
        progress.mark_output_started();
        progress.set_usage(Some(usage));
        let mut response = Response::new(Full::new(Bytes::from("data: {}\n\n")));
        response.extensions_mut().insert(progress);
        response.extensions_mut().insert(attempt);
        Ok::<_, Infallible>(response)
    });
    let layer = EarlyLayer::new(None).commit_after(Some(Duration::from_secs(1)));
    let response = layer.layer(service).oneshot(request()).await.unwrap();
    let progress = response.extensions().get::<Progress>().unwrap().clone();
    assert!(!progress.output_seen());
    response.into_body().collect().await.unwrap();
    assert!(progress.output_seen() && !progress.is_interrupted());
    assert_eq!((progress.usage(), progress.attempts()), (Some(usage), Some(2)));
    assert_eq!(&*progress.continued_by().unwrap().backend.provider, "b");
}

#[tokio::test(start_paused = true)]
async fn late_failure_interrupts_and_counts_attempts() {
    let service = service_fn(async |_: Request<()>| {
        sleep(Duration::from_secs(5)).await;
        Err::<Response<Full<Bytes>>, BoxError>(Exhausted::new(Class::Server, "the provider answered 500", 3).into())
    });
    let layer = EarlyLayer::new(None).commit_after(Some(Duration::from_secs(1)));
    let response = layer.layer(service).oneshot(request()).await.unwrap();
    let progress = response.extensions().get::<Progress>().unwrap().clone();
    let mut body = response.into_body();
    assert!(body.frame().await.unwrap().unwrap().into_data().unwrap().starts_with(b"data: {\"error\""));
    assert!(body.frame().await.unwrap().is_err());
    assert!(progress.is_interrupted());
    assert_eq!(progress.attempts(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn stop_ends_open_streams_with_error_event() {
    let service = service_fn(async |_: Request<()>| Ok::<_, Infallible>(silent_stream()));
    let shutdown = Shutdown::new();
    let layer = EarlyLayer::new(None).stop_on(shutdown.signal());
    let response = layer.layer(service).oneshot(request()).await.unwrap();
    let progress = response.extensions().get::<Progress>().unwrap().clone();
    let mut body = Box::pin(response.into_body());
    assert!(timeout(Duration::from_secs(60), body.frame()).await.is_err());
    shutdown.start();
    let event = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&event).contains("shutting_down"));
    assert!(progress.is_interrupted());
}

#[tokio::test(start_paused = true)]
async fn keeps_data_of_any_type_and_trailers() {
    let service = service_fn(async |_: Request<()>| {
        let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
        let data = std::collections::VecDeque::from(*b"text");
        let frames = [Ok::<_, Infallible>(Frame::data(data)), Ok(Frame::trailers(trailers))];
        let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
        response.extensions_mut().insert(Progress::new(CommitPoint::Output, Grammar::Chat));
        Ok::<_, Infallible>(response)
    });
    let body = Early::new(service, None).oneshot(request()).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "text");
}

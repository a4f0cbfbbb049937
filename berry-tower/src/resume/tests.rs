#![allow(clippy::unwrap_used, reason = "tests may panic, and so may their helpers")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::channel,
    },
};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::json;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::{
    backend::{Backend, Catalog, Model, Provider, strategy::Failover},
    classify::ModelApiVerdict,
    error::{Deadline, Failure},
    inspect::Requested,
    progress::{CommitPoint, Grammar},
    retry::{BackoffPolicy, RetryLayer},
    select::{SelectLayer, Selected},
};

/// How a stream ends after its first words.
#[derive(Clone, Copy, Debug)]
enum StreamEnd {
    Done,
    Cut,
    Stall,
}

fn chunk(text: &str) -> Bytes {
    let chunk = json!({ "id": "x", "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] });
    Bytes::from(format!("data: {chunk}\n\n"))
}

fn frames(end: StreamEnd) -> Vec<Result<Frame<Bytes>, Failure>> {
    let mut frames = vec![Ok(Frame::data(chunk("one ")))];
    match end {
        StreamEnd::Cut => frames.push(Err(Failure::ConnectionLost("reset".into()))),
        StreamEnd::Stall => frames.push(Err(Failure::Timeout(Deadline::Idle))),
        StreamEnd::Done => {
            let finish = json!({ "id": "x", "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
            frames.push(Ok(Frame::data(chunk("two"))));
            frames.push(Ok(Frame::data(Bytes::from(format!("data: {finish}\n\n")))));
            frames.push(Ok(Frame::data(Bytes::from("data: [DONE]\n\n"))));
            let trailers = [("x-trailer".parse().unwrap(), "1".parse().unwrap())].into_iter().collect();
            frames.push(Ok(Frame::trailers(trailers)));
        }
    }
    frames
}

/// What the client and the backends have seen.
#[derive(Debug)]
struct Seen {
    calls: Vec<String>,
    text: String,
    trailers: usize,
    failed: bool,
    progress: Progress,
}

/// Sends a request through Resume, Retry and Select to these backends; each call ends as `ends` say
/// in turn.
async fn run(backends: &[&str], ends: &'static [StreamEnd]) -> Seen {
    let (sender, calls) = channel();
    let count = Arc::new(AtomicUsize::new(0));
    let upstream = service_fn(move |request: Request<Buffered>| {
        let backend = request.extensions().get::<Selected>().unwrap().backend().clone();
        sender.send(backend.id().provider.to_string()).unwrap();
        let end = *ends.get(count.fetch_add(1, Relaxed)).expect("no further call is made");
        let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames(end))));
        response.extensions_mut().insert(Progress::new(CommitPoint::Output, Grammar::Chat));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    // Priorities, since `failover` draws among equals.
    let backends = (0..).zip(backends).map(|(priority, name)| {
        let provider = Provider::new(*name, "http://127.0.0.1:9").unwrap();
        Backend::new(Arc::new(provider), "m").with_priority(priority)
    });
    let model = Model::new("m", Arc::new(Failover), backends).with_stream_recovery(StreamRecovery::Replay);
    let service = SelectLayer::new(Catalog::new([model]).unwrap()).layer(upstream);
    let service = RetryLayer::new(BackoffPolicy::new()).classify(ModelApiVerdict).layer(service);
    let body = Buffered::from(r#"{"model":"m","stream":true,"messages":[]}"#);
    let requested = Requested::read(body.bytes()).unwrap().with_path("/v1/chat/completions");
    let request = Request::post("/v1/chat/completions").extension(requested).body(body).unwrap();
    let response = Resume::new(service).oneshot(request).await.unwrap();
    let progress = response.extensions().get::<Progress>().unwrap().clone();
    let (mut text, mut trailers, mut failed) = (String::new(), 0, false);
    let mut body = Box::pin(response.into_body());
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => text.push_str(std::str::from_utf8(&data).unwrap()),
            Ok(Err(_)) => trailers += 1,
            Err(_) => failed = true,
        }
    }
    let calls = calls.try_iter().collect();
    Seen { calls, text, trailers, failed, progress }
}

#[tokio::test(start_paused = true)]
async fn resumes_stalled_stream_on_other_backend() {
    let seen = run(&["a", "b"], &[StreamEnd::Stall, StreamEnd::Done]).await;
    assert_eq!(seen.calls, ["a", "b"]);
    assert!(seen.text.ends_with("data: [DONE]\n\n") && !seen.failed, "{seen:?}");
    assert!(seen.progress.finished() && !seen.progress.is_interrupted());
    assert_eq!(seen.progress.attempts(), Some(2));
    assert_eq!(&*seen.progress.continued_by().unwrap().backend.provider, "b");
}

#[tokio::test(start_paused = true)]
async fn does_not_resume_on_backend_that_stalled() {
    let seen = run(&["a"], &[StreamEnd::Stall]).await;
    assert_eq!(seen.calls, ["a"]);
    assert!(seen.text.contains("upstream_timeout") && seen.failed, "{seen:?}");
    assert!(seen.progress.is_interrupted());
    assert_eq!((seen.progress.attempts().unwrap_or(1), seen.progress.continued_by()), (1, None));
}

#[tokio::test(start_paused = true)]
async fn resumes_cut_stream_on_same_backend_once() {
    let seen = run(&["a"], &[StreamEnd::Cut, StreamEnd::Done]).await;
    assert_eq!(seen.calls, ["a", "a"]);
    assert!(seen.text.ends_with("data: [DONE]\n\n") && !seen.failed, "{seen:?}");

    let seen = run(&["a"], &[StreamEnd::Cut, StreamEnd::Cut]).await;
    assert_eq!(seen.calls, ["a", "a"]);
    assert!(seen.text.contains("upstream_stream_interrupted") && seen.failed, "{seen:?}");
    assert!(seen.progress.is_interrupted());
    assert_eq!(seen.progress.attempts(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn keeps_trailers_of_each_response() {
    assert_eq!(run(&["a"], &[StreamEnd::Done]).await.trailers, 1);
    assert_eq!(run(&["a", "b"], &[StreamEnd::Cut, StreamEnd::Done]).await.trailers, 1);
}

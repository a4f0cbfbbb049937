//! Events that are ready go out together, and one that was waited for goes out alone.

use std::{convert::Infallible, future::poll_fn, mem, pin::pin, sync::Arc, time::Duration};

use berry_tower::{
    auth::{ApiKey, ApiKeys},
    backend::{Backend, Catalog, Model, Provider},
    body::Buffered,
    gateway::{Settings, gateway},
    rate_limit::{Quota, QuotaFromRequest},
    select::strategy::Random,
};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, request::Parts};
use http_body::{Body, Frame};
use http_body_util::{Full, StreamBody};
use tokio::{sync::mpsc, time::Instant};
use tower::{ServiceExt, service_fn};

/// As many events as a short answer has, with its end.
fn events() -> Vec<Bytes> {
    let words = (0..50).map(|i| format!(r#"{{"index":0,"delta":{{"content":" word {i}"}}}}"#));
    let finish = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#.to_owned();
    let mut events: Vec<_> =
        words.chain([finish]).map(|choice| Bytes::from(format!("data: {{\"choices\":[{choice}]}}\n\n"))).collect();
    events.push("data: [DONE]\n\n".into());
    events
}

/// An answer as a connection gives it: by a task of its own, one event after the other, each when
/// the last was taken and so long has passed.
fn connection(apart: Duration) -> impl Body<Data = Bytes, Error = Infallible> {
    let (send, mut receive) = mpsc::channel(1);
    tokio::spawn(async move {
        for event in events() {
            if !apart.is_zero() {
                tokio::time::sleep(apart).await;
            }
            if send.send(Ok(Frame::data(event))).await.is_err() {
                break;
            }
            // It has its turns, like everybody.
            tokio::task::yield_now().await;
        }
    });
    StreamBody::new(stream::poll_fn(move |cx| receive.poll_recv(cx)))
}

/// What a server has to write, as it sees it: what it finds ready it writes at once. With the time
/// that passed before each.
async fn writes(apart: Duration) -> Vec<(Duration, usize)> {
    let upstream = service_fn(move |_: Request<Buffered>| async move {
        let response = Response::builder().header("content-type", "text/event-stream");
        Ok::<_, Infallible>(response.body(connection(apart)).unwrap())
    });
    let provider = Arc::new(Provider::new("a", "http://127.0.0.1:9").unwrap());
    let catalog = Catalog::new([Model::new("fast", Arc::new(Random), [Backend::new(provider, "fast")])]);
    let keys = ApiKeys::new([ApiKey::from_token("a-token-of-mine", ())]);
    let unlimited = QuotaFromRequest::new(|_: &Parts| None::<Arc<Quota>>);
    let service = gateway(Settings::with_transport(catalog, upstream), keys, unlimited, |(): &(), _: &str| true);

    let request = Request::post("/v1/chat/completions").header("authorization", "Bearer a-token-of-mine");
    let body = r#"{"model":"fast","stream":true,"messages":[{"role":"user","content":"Hello!"}]}"#;
    let start = Instant::now();
    let response = service.oneshot(request.body(Full::<Bytes>::from(body)).unwrap()).await.unwrap();
    let mut body = pin!(response.into_body());
    let (mut writes, mut buffered) = (Vec::new(), 0);
    while let Some(frame) = poll_fn(|cx| {
        let polled = body.as_mut().poll_frame(cx);
        // The first time, the head goes out, whether anything is with it or not.
        if polled.is_pending() && (buffered > 0 || writes.is_empty()) {
            writes.push((start.elapsed(), mem::take(&mut buffered)));
        }
        polled
    })
    .await
    {
        let bytes = frame.unwrap().into_data().unwrap();
        buffered += bytes.windows(2).filter(|end| *end == b"\n\n").count();
    }
    if buffered > 0 {
        writes.push((start.elapsed(), buffered));
    }
    writes
}

#[tokio::test(start_paused = true)]
async fn events_that_are_ready_are_one_write_and_the_head_is_with_them() {
    let writes = writes(Duration::ZERO).await;
    assert_eq!(writes, [(Duration::ZERO, events().len())]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_waited_for_goes_out_at_once_and_alone() {
    let apart = Duration::from_millis(5);
    let writes = writes(apart).await;
    let expected: Vec<_> = (1..).map(|n| (apart * n, 1)).take(events().len()).collect();
    assert_eq!(writes, expected);
}

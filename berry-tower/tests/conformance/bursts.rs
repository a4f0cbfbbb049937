//! Events that are ready together are written together, and a late event is written at once.

use std::{convert::Infallible, future::poll_fn, mem, pin::pin, sync::Arc, time::Duration};

use berry_tower::{
    auth::{ApiKey, ApiKeys},
    backend::{Backend, Catalog, Model, Provider, strategy::Random},
    body::Buffered,
    gateway::{Settings, gateway},
    rate_limit::{Quota, QuotaFromRequest},
};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, request::Parts};
use http_body::{Body, Frame};
use http_body_util::{Full, StreamBody};
use tokio::{sync::mpsc, time::Instant};
use tower::{ServiceExt, service_fn};

/// Returns the events of a stream of fifty words.
fn events() -> Vec<Bytes> {
    let words = (0..50).map(|i| format!(r#"{{"index":0,"delta":{{"content":" word {i}"}}}}"#));
    let finish = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#.to_owned();
    let mut events: Vec<_> =
        words.chain([finish]).map(|choice| Bytes::from(format!("data: {{\"choices\":[{choice}]}}\n\n"))).collect();
    events.push("data: [DONE]\n\n".into());
    events
}

/// Returns a body that behaves like a connection: a task sends one event after another, each when the
/// previous one was taken and the interval has passed.
fn connection(interval: Duration) -> impl Body<Data = Bytes, Error = Infallible> {
    let (send, mut receive) = mpsc::channel(1);
    tokio::spawn(async move {
        for event in events() {
            if !interval.is_zero() {
                tokio::time::sleep(interval).await;
            }
            if send.send(Ok(Frame::data(event))).await.is_err() {
                break;
            }
            // Other tasks run in between, as on a real connection.
            tokio::task::yield_now().await;
        }
    });
    StreamBody::new(stream::poll_fn(move |cx| receive.poll_recv(cx)))
}

/// Returns the writes of a server that writes whatever is ready: the time and the number of events of
/// each.
async fn writes(interval: Duration) -> Vec<(Duration, usize)> {
    let upstream = service_fn(move |_: Request<Buffered>| async move {
        let response = Response::builder().header("content-type", "text/event-stream");
        Ok::<_, Infallible>(response.body(connection(interval)).unwrap())
    });
    let provider = Arc::new(Provider::new("a", "http://127.0.0.1:9").unwrap());
    let catalog = Catalog::new([Model::new("fast", Arc::new(Random), [Backend::new(provider, "fast")])]).unwrap();
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
        // The first write contains the head, even without events.
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
async fn ready_events_are_written_together_with_the_head() {
    let writes = writes(Duration::ZERO).await;
    assert_eq!(writes, [(Duration::ZERO, events().len())]);
}

#[tokio::test(start_paused = true)]
async fn late_event_is_written_at_once() {
    let interval = Duration::from_millis(5);
    let writes = writes(interval).await;
    let expected: Vec<_> = (1..).map(|n| (interval * n, 1)).take(events().len()).collect();
    assert_eq!(writes, expected);
}

//! A provider that responds without delay, as the `user` field of a request selects.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;

use crate::Thread;

/// The number of events in a streamed response.
pub(crate) const EVENTS: u32 = 52;

/// Request bodies, whose `user` field selects the kind of response.
pub(crate) const PLAIN: &str = r#"{"model":"fast","messages":[{"role":"user","content":"Hello!"}],"user":"plain"}"#;
pub(crate) const BURST: &str =
    r#"{"model":"fast","stream":true,"messages":[{"role":"user","content":"Hello!"}],"user":"burst"}"#;
pub(crate) const PACED: &str =
    r#"{"model":"fast","stream":true,"messages":[{"role":"user","content":"Hello!"}],"user":"paced"}"#;

const RESPONSE: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I help you today?"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}"#;

pub(crate) fn start() -> Thread {
    Thread::start(async |listener| {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(respond)));
        }
    })
}

async fn respond(request: Request<Incoming>) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let contains = |what: &[u8]| body.windows(what.len()).any(|part| part == what);
    if contains(b"\"user\":\"plain\"") {
        let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
        return Ok(response.body(Full::from(RESPONSE).boxed_unsync()).expect("a response"));
    }
    let pause = contains(b"\"user\":\"paced\"").then_some(Duration::from_millis(5));
    let frames = stream::unfold(0, move |i| async move {
        if let Some(pause) = pause
            && i > 0
        {
            tokio::time::sleep(pause).await;
        }
        (i < EVENTS).then(|| (Ok(Frame::data(event(i))), i + 1))
    });
    let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
    Ok(response.body(BodyExt::boxed_unsync(StreamBody::new(frames))).expect("a response"))
}

fn event(i: u32) -> Bytes {
    let (delta, finish) = match EVENTS - i {
        1 => return Bytes::from_static(b"data: [DONE]\n\n"),
        2 => (String::from("{}"), "\"stop\""),
        _ => (format!("{{\"content\":\" word{i}\"}}"), "null"),
    };
    Bytes::from(format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
         \"model\":\"gpt-4o-mini\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    ))
}

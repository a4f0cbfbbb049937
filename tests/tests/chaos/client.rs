//! A client that checks every response against the expected answer.

use std::{pin::pin, time::Duration};

use berry_tower::{body::Buffered, error::BoxError, error_response::refusal_for, inspect::Requested};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::sleep;
use tower::{Service, ServiceExt};

use crate::upstream::answer;

/// How a request ended from the point of view of its client.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The whole answer arrived.
    Complete,
    /// A part of the answer arrived, followed by an error.
    Truncated,
    /// The response was an error.
    Rejected,
    /// The client disconnected before the end.
    Disconnected,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) resumed: bool,
}

const PATH: &str = "/v1/chat/completions";

/// Sends a request, reads the response and checks it.
pub(crate) async fn ask<S, B>(service: S, number: usize, seed: u64) -> Outcome
where
    S: Service<Request<Buffered>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
{
    let mut rng = StdRng::seed_from_u64(seed);
    let stream = rng.random_bool(0.7);
    let model = ["plain", "replay", "prefill"][rng.random_range(0..3)];
    let body = json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": "?" }] });
    let body = Buffered::from(body.to_string());
    let requested = Requested::read(body.bytes()).unwrap().with_path(PATH);
    let request = Request::post(PATH).header("x-request-id", number).extension(requested).body(body).unwrap();
    let patience = rng.random_bool(0.05).then(|| Duration::from_millis(rng.random_range(1..3000)));
    let reads = read(service, request, stream, number, rng.random_bool(0.03));
    match patience {
        None => reads.await,
        Some(patience) => {
            let disconnected = Outcome { verdict: Verdict::Disconnected, resumed: false };
            tokio::time::timeout(patience, reads).await.unwrap_or(disconnected)
        }
    }
}

async fn read<S, B>(service: S, request: Request<Buffered>, stream: bool, number: usize, slow: bool) -> Outcome
where
    S: Service<Request<Buffered>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
{
    let rejected = Outcome { verdict: Verdict::Rejected, resumed: false };
    let response = match service.oneshot(request).await {
        Ok(response) => response,
        Err(error) => {
            let refusal = refusal_for(&*error.into());
            assert!(refusal.code.is_some_and(|code| code != "internal_error"), "{number}: {}", refusal.message);
            return rejected;
        }
    };
    let success = response.status().is_success();
    let mut body = pin!(response.into_body());
    let (mut bytes, mut clean) = (Vec::new(), true);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend(frame.into_data().unwrap()),
            Err(_) => clean = false,
        }
        if slow {
            sleep(Duration::from_millis(500)).await;
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    if !success {
        return rejected;
    }
    let verdict = if stream { judge_stream(&text, clean, number) } else { judge_plain(&text, clean, number) };
    Outcome { verdict, resumed: text.contains(": resumed\n\n") }
}

fn is_an_answer(text: &str, number: usize) -> bool {
    (0..2).any(|variant| answer(number, variant) == text)
}

fn judge_plain(text: &str, clean: bool, number: usize) -> Verdict {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
    assert!(clean && is_an_answer(content, number), "{number}: a plain response must be complete: {text}");
    Verdict::Complete
}

fn judge_stream(text: &str, clean: bool, number: usize) -> Verdict {
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let done = data.iter().filter(|data| **data == "[DONE]").count();
    let events: Vec<Value> = data.iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    assert_eq!(events.len() + done, data.len(), "{number}: an event is not JSON: {text}");
    let content: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    let finished = events.iter().any(|event| event["choices"][0]["finish_reason"].is_string());
    let errors =
        events.iter().filter(|event| event["error"]["code"].is_string() || event["error"]["message"].is_string());
    if clean {
        assert!(
            finished && done == 1 && data.last() == Some(&"[DONE]"),
            "{number}: a clean end without finish_reason or [DONE]: {text}"
        );
        assert_eq!(errors.count(), 0, "{number}: {text}");
        assert!(is_an_answer(&content, number), "{number}: the text mixes two answers: {text}");
        return Verdict::Complete;
    }
    assert!(done == 0 && !finished, "{number}: a truncated stream looks complete: {text}");
    assert_eq!(errors.count(), 1, "{number}: a truncated stream needs one error event: {text}");
    assert!(events.last().unwrap()["error"].is_object(), "{number}: {text}");
    assert!(
        (0..2).any(|variant| answer(number, variant).starts_with(&content)),
        "{number}: the text mixes two answers: {text}"
    );
    Verdict::Truncated
}

//! A client that trusts what it reads, and a judge that knows better.

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

/// What a client was told.
#[derive(Debug)]
pub(crate) enum Told {
    /// A whole answer.
    Whole,
    /// A part, and that it is one.
    Part,
    /// That there is no answer.
    Refused,
    /// It did not stay to hear it.
    Left,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) told: Told,
    pub(crate) resumed: bool,
}

const PATH: &str = "/v1/chat/completions";

/// Asks, reads, and judges.
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
            let left = Outcome { told: Told::Left, resumed: false };
            tokio::time::timeout(patience, reads).await.unwrap_or(left)
        }
    }
}

async fn read<S, B>(service: S, request: Request<Buffered>, stream: bool, number: usize, slow: bool) -> Outcome
where
    S: Service<Request<Buffered>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
{
    let refused = Outcome { told: Told::Refused, resumed: false };
    let response = match service.oneshot(request).await {
        Ok(response) => response,
        Err(error) => {
            let refusal = refusal_for(&*error.into());
            assert!(refusal.code.is_some_and(|code| code != "internal_error"), "{number}: {}", refusal.message);
            return refused;
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
        return refused;
    }
    let told = if stream { judge_stream(&text, clean, number) } else { judge_plain(&text, clean, number) };
    Outcome { told, resumed: text.contains(": resumed\n\n") }
}

fn is_an_answer(text: &str, number: usize) -> bool {
    (0..2).any(|voice| answer(number, voice) == text)
}

fn judge_plain(text: &str, clean: bool, number: usize) -> Told {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
    assert!(clean && is_an_answer(content, number), "{number}: a plain answer is whole: {text}");
    Told::Whole
}

fn judge_stream(text: &str, clean: bool, number: usize) -> Told {
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let done = data.iter().filter(|data| **data == "[DONE]").count();
    let events: Vec<Value> = data.iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    assert_eq!(events.len() + done, data.len(), "{number}: each event can be read: {text}");
    let content: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    let finished = events.iter().any(|event| event["choices"][0]["finish_reason"].is_string());
    let told =
        events.iter().filter(|event| event["error"]["code"].is_string() || event["error"]["message"].is_string());
    if clean {
        assert!(finished && done == 1 && data.last() == Some(&"[DONE]"), "{number}: what ends well is whole: {text}");
        assert_eq!(told.count(), 0, "{number}: {text}");
        assert!(is_an_answer(&content, number), "{number}: two answers are mixed: {text}");
        return Told::Whole;
    }
    assert!(done == 0 && !finished, "{number}: a part looks whole: {text}");
    assert_eq!(told.count(), 1, "{number}: a part says that it is one: {text}");
    assert!(events.last().unwrap()["error"].is_object(), "{number}: {text}");
    assert!((0..2).any(|voice| answer(number, voice).starts_with(&content)), "{number}: two answers are mixed: {text}");
    Told::Part
}

//! Requests to backends of another format, through the whole gateway over a scripted upstream.

use std::{pin::Pin, sync::Arc, time::Duration};

use berry_tower::{
    auth::{ApiKey, ApiKeys},
    backend::{Backend, Catalog, Dialect, Model, Provider, strategy::Failover},
    body::Buffered,
    gateway::{Settings, gateway},
    progress::Progress,
    rate_limit::{Quota, QuotaFromRequest},
    render::{AnthropicErrors, OpenAiErrors, Render},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{Request, Response, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::{BoxError, ServiceExt, service_fn};

/// A step of an upstream's response body.
#[derive(Clone)]
enum Step {
    Send(Bytes),
    Wait(Duration),
    Break,
    /// Sends nothing more and does not end.
    Stall,
}

#[derive(Clone)]
struct Script {
    status: u16,
    media: &'static str,
    steps: Vec<Step>,
}

impl Script {
    fn json(status: u16, body: &Value) -> Self {
        Self { status, media: "application/json", steps: vec![send(&body.to_string())] }
    }

    fn events(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { status: 200, media: "text/event-stream", steps: steps.into_iter().collect() }
    }

    fn body(self) -> Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, BoxError>> + Send>> {
        Box::pin(stream::iter(self.steps).filter_map(async |step| match step {
            Step::Send(bytes) => Some(Ok(Frame::data(bytes))),
            Step::Wait(time) => {
                sleep(time).await;
                None
            }
            Step::Break => Some(Err("reset".into())),
            Step::Stall => std::future::pending().await,
        }))
    }
}

fn send(text: &str) -> Step {
    Step::Send(Bytes::from(text.to_owned()))
}

fn event(data: &Value) -> Step {
    let name = data["type"].as_str().map(|name| format!("event: {name}\n")).unwrap_or_default();
    send(&format!("{name}data: {data}\n\n"))
}

fn done() -> Step {
    send("data: [DONE]\n\n")
}

fn backend(id: &'static str, dialect: Dialect) -> Backend {
    let provider =
        Provider::new(id, "https://upstream").unwrap().with_dialect(dialect).with_key("sk-the-key-of-the-provider");
    Backend::new(Arc::new(provider.unwrap()), "upstream-model").with_priority(u8::from(id != "first"))
}

/// A response as the client received it.
struct Received {
    status: u16,
    served: Option<String>,
    text: String,
    failed: bool,
    /// The counted tokens: input, output and cached.
    usage: Option<[u64; 3]>,
}

impl Received {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}", self.text))
    }

    /// Returns the data of the events.
    fn events(&self) -> Vec<Value> {
        let data = self.text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    /// Returns the text of a chat stream.
    fn chat_text(&self) -> String {
        let part = |event: &Value| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
        self.events().iter().filter_map(part).collect()
    }
}

type UpstreamRequest = (http::request::Parts, Value);

async fn ask<R>(
    render: R,
    backends: Vec<Backend>,
    path: &str,
    body: Value,
    upstream: impl Fn(&UpstreamRequest) -> Script + Clone + Send + Sync + 'static,
) -> Received
where
    R: Render + Clone + Send + Sync + 'static,
{
    let catalog = Catalog::new([Model::new("m", Arc::new(Failover), backends)]).unwrap();
    let transport = service_fn(move |request: Request<Buffered>| {
        let (head, body) = request.into_parts();
        let script = upstream(&(head, serde_json::from_slice(body.bytes()).unwrap()));
        let response = Response::builder().status(script.status).header("content-type", script.media);
        let response = response.body(StreamBody::new(script.body())).unwrap();
        std::future::ready(Ok::<_, BoxError>(response))
    });
    let settings = Settings::with_transport(catalog, transport).render(render);
    let keys = ApiKeys::new([ApiKey::from_token("a-token-of-mine", "me")]);
    let unlimited = QuotaFromRequest::new(|_: &Parts| None::<Arc<Quota>>);
    let service = gateway(settings, keys, unlimited, |_: &&str, _: &str| true);
    let request = Request::post(path)
        .header("authorization", "Bearer a-token-of-mine")
        .header("x-request-id", "r1")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let response = service.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let served = response.extensions().get::<berry_tower::attempt::ServedBy>().map(|served| served.0.to_string());
    let progress = response.extensions().get::<Progress>().cloned();
    let (mut text, mut failed) = (Vec::new(), false);
    let mut body = Box::pin(response.into_body());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => failed = true,
        }
    }
    let usage = progress.and_then(|progress| progress.usage()).map(|usage| [usage.input, usage.output, usage.cached]);
    Received { status, served, text: String::from_utf8(text).unwrap(), failed, usage }
}

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

fn chat(stream: bool) -> Value {
    json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
}

fn messages(stream: bool) -> Value {
    json!({"model": "m", "stream": stream, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
}

fn claude_response() -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
        "content": [{"type": "text", "text": "Hello, world"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    })
}

fn claude_events() -> Vec<Step> {
    let mut started = claude_response();
    started["content"] = json!([]);
    started["stop_reason"] = Value::Null;
    [
        json!({"type": "message_start", "message": started}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello, "}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "world"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ]
    .iter()
    .map(event)
    .collect()
}

fn chunk(delta: &Value, finish: &Value) -> Step {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    event(&json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x", "choices": [choice]}))
}

#[tokio::test(start_paused = true)]
async fn chat_reaches_a_claude_backend() {
    let plain = ask(OpenAiErrors, vec![backend("c", Dialect::Claude)], CHAT, chat(false), |(head, body)| {
        assert_eq!(head.uri, "https://upstream/v1/messages");
        assert_eq!(head.headers["x-api-key"], "sk-the-key-of-the-provider");
        assert_eq!(head.headers["anthropic-version"], "2023-06-01");
        assert!(!head.headers.contains_key("authorization"));
        assert_eq!((&body["model"], &body["messages"][0]["role"]), (&json!("upstream-model"), &json!("user")));
        assert!(body["max_tokens"].is_u64());
        Script::json(200, &claude_response())
    });
    let plain = plain.await;
    assert_eq!(plain.status, 200, "{}", plain.text);
    let answer = plain.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello, world");
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["model"]), (&json!(3), &json!("claude-x")));
    let streamed = ask(OpenAiErrors, vec![backend("c", Dialect::Claude)], CHAT, chat(true), |(_, body)| {
        assert_eq!(body["stream"], true);
        Script::events(claude_events())
    });
    let streamed = streamed.await;
    assert_eq!((&*streamed.chat_text(), streamed.failed), ("Hello, world", false), "{}", streamed.text);
    assert!(streamed.text.ends_with("data: [DONE]\n\n"));
    assert!(!streamed.text.contains("\"usage\":{"), "usage without stream_options: {}", streamed.text);
    assert_eq!((plain.usage, streamed.usage), (Some([3, 2, 0]), Some([3, 2, 0])), "usage is counted anyway");
}

#[tokio::test(start_paused = true)]
async fn reports_usage_when_requested() {
    let mut body = chat(true);
    body["stream_options"] = json!({"include_usage": true});
    let got =
        ask(OpenAiErrors, vec![backend("c", Dialect::Claude)], CHAT, body.clone(), |_| Script::events(claude_events()));
    let events = got.await.events();
    assert_eq!(events.last().unwrap()["usage"]["total_tokens"], 5);
}

#[tokio::test(start_paused = true)]
async fn chat_reaches_a_gemini_backend() {
    let answer = json!({
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
        "modelVersion": "gemini-x", "responseId": "r",
    });
    for stream in [false, true] {
        let answer = answer.clone();
        let got = ask(OpenAiErrors, vec![backend("g", Dialect::Gemini)], CHAT, chat(stream), move |(head, body)| {
            let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            assert_eq!(head.uri.to_string(), format!("https://upstream/v1beta/models/upstream-model:{method}"));
            assert_eq!(head.headers["x-goog-api-key"], "sk-the-key-of-the-provider");
            assert_eq!(body["contents"][0]["parts"][0]["text"], "hi");
            if stream { Script::events([event(&answer)]) } else { Script::json(200, &answer) }
        });
        let got = got.await;
        let text = if stream {
            got.chat_text()
        } else {
            got.json()["choices"][0]["message"]["content"].as_str().unwrap().into()
        };
        assert_eq!((got.status, &*text, got.usage), (200, "Hello", Some([3, 2, 0])), "{}", got.text);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_reach_an_openai_backend() {
    let answer = json!({
        "id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-x",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    });
    let got = ask(AnthropicErrors, vec![backend("o", Dialect::OpenAi)], MESSAGES, messages(false), move |(head, _)| {
        assert_eq!(head.uri, "https://upstream/v1/chat/completions");
        Script::json(200, &answer)
    });
    let got = got.await;
    assert_eq!(got.usage, Some([3, 2, 0]));
    let got = got.json();
    assert_eq!((&got["type"], &got["content"][0]["text"]), (&json!("message"), &json!("Hello")));
    assert_eq!((&got["usage"]["input_tokens"], &got["stop_reason"]), (&json!(3), &json!("end_turn")));
}

/// A response is complete after its last `finish_reason`, whatever follows in the stream.
#[tokio::test(start_paused = true)]
async fn message_completes_when_the_stream_stalls_after_finish_reason() {
    for last in [vec![Step::Stall], vec![Step::Break], vec![], vec![done()]] {
        let mut steps = vec![chunk(&json!({"role": "assistant", "content": "Hello"}), &Value::Null)];
        steps.push(chunk(&json!({}), &json!("stop")));
        steps.extend(last);
        let script = Script::events(steps);
        let got = ask(AnthropicErrors, vec![backend("o", Dialect::OpenAi)], MESSAGES, messages(true), move |_| {
            script.clone()
        });
        let got = got.await;
        let kinds: Vec<_> = got.events().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
        assert_eq!((kinds.last().map(|kind| &**kind), got.failed), (Some("message_stop"), false), "{}", got.text);
    }
}

#[tokio::test(start_paused = true)]
async fn cut_stream_never_looks_complete() {
    let claude = claude_events();
    for cut in 4..claude.len() {
        let steps = claude[..cut].iter().cloned().chain([Step::Break]);
        let script = Script::events(steps);
        let got = ask(OpenAiErrors, vec![backend("c", Dialect::Claude)], CHAT, chat(true), move |_| script.clone());
        let got = got.await;
        assert!(
            got.failed && !got.text.contains("[DONE]") && !got.text.contains("\"finish_reason\":\"stop\""),
            "{cut}"
        );
        assert!(got.text.contains("upstream_stream_interrupted"), "{}", got.text);
    }
    let steps = [chunk(&json!({"content": "Hello"}), &Value::Null), Step::Break];
    let script = Script::events(steps);
    let got =
        ask(AnthropicErrors, vec![backend("o", Dialect::OpenAi)], MESSAGES, messages(true), move |_| script.clone());
    let got = got.await;
    assert!(got.failed && !got.text.contains("message_stop"), "{}", got.text);
    assert_eq!(got.events().last().unwrap()["type"], "error");
}

#[tokio::test(start_paused = true)]
async fn chunk_boundaries_do_not_matter_and_malformed_events_are_skipped() {
    let bytes = |step: Step| if let Step::Send(bytes) = step { bytes } else { Bytes::new() };
    let mut events = claude_events();
    events.insert(4, send("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\n\n"));
    let whole: Vec<u8> = events.into_iter().flat_map(bytes).collect();
    let whole = [&b"\xef\xbb\xbf"[..], &whole].concat();
    for size in [1, 2, 3, 7, 64, whole.len()] {
        let script = Script::events(whole.chunks(size).map(|part| Step::Send(Bytes::copy_from_slice(part))));
        let got = ask(OpenAiErrors, vec![backend("c", Dialect::Claude)], CHAT, chat(true), move |_| script.clone());
        let got = got.await;
        assert_eq!((&*got.chat_text(), got.failed), ("Hello, world", false), "{size}: {}", got.text);
    }
}

#[tokio::test(start_paused = true)]
async fn pings_keep_a_stream_alive_and_silence_ends_it() {
    let mut steps = claude_events();
    let rest = steps.split_off(4);
    for _ in 0..3 {
        steps.extend([Step::Wait(Duration::from_secs(100)), event(&json!({"type": "ping"}))]);
        steps.extend([Step::Wait(Duration::from_secs(100)), send(": still here\n\n")]);
    }
    let started = Instant::now();
    let alive = Script::events(steps.iter().cloned().chain(rest));
    let got = ask(OpenAiErrors, vec![backend("c", Dialect::Claude)], CHAT, chat(true), move |_| alive.clone()).await;
    assert_eq!((&*got.chat_text(), got.failed), ("Hello, world", false), "{}", got.text);
    assert!(started.elapsed() >= Duration::from_secs(600));
    let silent = Script::events(steps.into_iter().chain([Step::Stall]));
    let got = ask(OpenAiErrors, vec![backend("c", Dialect::Claude)], CHAT, chat(true), move |_| silent.clone()).await;
    assert!(got.failed && got.text.contains("upstream_timeout"), "{}", got.text);
}

#[tokio::test(start_paused = true)]
async fn skips_backends_that_cannot_express_a_field_or_names_it() {
    let mut body = chat(false);
    body["n"] = json!(2);
    let pool = || vec![backend("first", Dialect::Claude), backend("second", Dialect::OpenAi)];
    let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "x", "choices": [{
        "index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop",
    }]});
    let got = ask(OpenAiErrors, pool(), CHAT, body.clone(), move |_| Script::json(200, &answer)).await;
    assert_eq!((got.status, got.served.as_deref()), (200, Some("second:upstream-model")));
    let unreachable = |_: &UpstreamRequest| -> Script { panic!("no backend may be called") };
    let got = ask(OpenAiErrors, vec![backend("first", Dialect::Claude)], CHAT, body.clone(), unreachable).await;
    let error = &got.json()["error"];
    assert_eq!((got.status, &error["code"], &error["param"]), (400, &json!("unsupported_parameter"), &json!("n")));
    let mut body = messages(false);
    body["top_k"] = json!(5);
    let got = ask(AnthropicErrors, vec![backend("first", Dialect::OpenAi)], MESSAGES, body, unreachable).await;
    let error = got.json();
    assert_eq!((got.status, &error["error"]["type"]), (400, &json!("invalid_request_error")));
    assert!(error["error"]["message"].as_str().unwrap().contains("top_k"), "{error}");
    // Embeddings have no counterpart in the Gemini chat format.
    let embeddings = json!({"model": "m", "input": "x"});
    let got =
        ask(OpenAiErrors, vec![backend("first", Dialect::Gemini)], "/v1/embeddings", embeddings, unreachable).await;
    assert_eq!((got.status, &got.json()["error"]["code"]), (400, &json!("unsupported_endpoint")));
}

/// A request is translated only for a backend that was picked.
#[tokio::test(start_paused = true)]
async fn checks_expressibility_only_of_the_picked_backend() {
    let mut body = chat(false);
    body["n"] = json!(2);
    let pool = vec![backend("first", Dialect::OpenAi), backend("second", Dialect::Claude)];
    let got = ask(OpenAiErrors, pool, CHAT, body, |_| Script::json(500, &json!({}))).await;
    assert_eq!((got.status, &got.json()["error"]["code"]), (502, &json!("upstream_error")), "{}", got.text);
}

#[tokio::test(start_paused = true)]
async fn sends_claude_only_thinking_that_it_signed() {
    let thought = |signature: &str| json!({"type": "thinking", "thinking": "hm", "signature": signature});
    let assistant_turn =
        |thought: Value| json!({"role": "assistant", "content": [thought, {"type": "text", "text": "Hello"}]});
    for (signature, blocks) in [("berry:unsigned", 1), ("", 1), ("by-anthropic", 2)] {
        let mut body = messages(false);
        let user_turn = body["messages"][0].clone();
        body["messages"] = json!([user_turn, assistant_turn(thought(signature)), user_turn]);
        let got = ask(AnthropicErrors, vec![backend("c", Dialect::Claude)], MESSAGES, body, move |(_, body)| {
            assert_eq!(body["model"], "upstream-model");
            assert_eq!(body["messages"][1]["content"].as_array().unwrap().len(), blocks, "{signature}: {body}");
            Script::json(200, &claude_response())
        });
        assert_eq!(got.await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn removes_foreign_signatures_for_openai_in_a_mixed_pool() {
    let signed = json!({"google": {"thought_signature": "s"}});
    let function = json!({"name": "f", "arguments": "{}"});
    let call = json!({"id": "a", "type": "function", "function": function, "extra_content": signed});
    let mut body = chat(false);
    body["messages"] = json!([
        body["messages"][0],
        {"role": "assistant", "content": "Hm.", "tool_calls": [call], "extra_content": signed},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    ]);
    let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "x", "choices": [{
        "index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop",
    }]});
    for mixed in [true, false] {
        let others = mixed.then(|| backend("second", Dialect::Gemini));
        let pool = [backend("first", Dialect::OpenAi)].into_iter().chain(others).collect();
        let (answer, mut wanted) = (answer.clone(), body.clone());
        wanted["model"] = json!("upstream-model");
        if mixed {
            let turn = wanted["messages"][1].as_object_mut().unwrap();
            turn.remove("extra_content");
            turn["tool_calls"][0].as_object_mut().unwrap().remove("extra_content");
        }
        let got = ask(OpenAiErrors, pool, CHAT, body.clone(), move |(_, sent)| {
            assert_eq!(*sent, wanted);
            Script::json(200, &answer)
        });
        assert_eq!(got.await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn message_ends_with_its_last_event() {
    let steps = claude_events().into_iter().chain([Step::Stall]);
    let (script, started) = (Script::events(steps), Instant::now());
    let claude = vec![backend("c", Dialect::Claude)];
    let got = ask(AnthropicErrors, claude, MESSAGES, messages(true), move |_| script.clone()).await;
    assert!(!got.failed && got.events().last().unwrap()["type"] == "message_stop", "{}", got.text);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn errors_have_the_shape_of_the_clients_api() {
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let claude = || vec![backend("c", Dialect::Claude)];
    let script = Script::json(529, &overloaded);
    let got = ask(OpenAiErrors, claude(), CHAT, chat(false), move |_| script.clone()).await;
    assert_eq!((got.status, &got.json()["error"]["code"]), (503, &json!("overloaded")));
    let script = Script::json(529, &overloaded);
    let got = ask(AnthropicErrors, claude(), MESSAGES, messages(false), move |_| script.clone()).await;
    assert_eq!((got.status, &got.json()["error"]["type"]), (503, &json!("overloaded_error")));
    // The same error as the first event of a 200 response.
    let script = Script::events([event(&overloaded)]);
    let got = ask(OpenAiErrors, claude(), CHAT, chat(true), move |_| script.clone()).await;
    assert_eq!((got.status, &got.json()["error"]["code"]), (503, &json!("overloaded")), "{}", got.text);

    let rejection = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}});
    let got = ask(OpenAiErrors, claude(), CHAT, chat(false), move |_| Script::json(400, &rejection)).await;
    let expected = json!({"message": "no", "type": "invalid_request_error", "param": null, "code": null});
    assert_eq!((got.status, &got.json()["error"]), (400, &expected));
    let rejection = json!({"error": {"message": "no", "type": "invalid_request_error", "param": "x", "code": null}});
    let openai = vec![backend("o", Dialect::OpenAi)];
    let got = ask(AnthropicErrors, openai, MESSAGES, messages(false), move |_| Script::json(400, &rejection)).await;
    let expected =
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}, "request_id": "r1"});
    assert_eq!((got.status, got.json()), (400, expected));

    let bad_key = json!({"error": {"code": 400, "message": "API key not valid", "status": "INVALID_ARGUMENT",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}});
    let gemini = vec![backend("g", Dialect::Gemini)];
    let got = ask(OpenAiErrors, gemini, CHAT, chat(false), move |_| Script::json(400, &bad_key)).await;
    assert_eq!((got.status, &got.json()["error"]["code"]), (502, &json!("upstream_auth")));
}

#[tokio::test(start_paused = true)]
async fn fails_over_after_an_invalid_response_in_another_format() {
    let good = claude_response();
    for garbage in
        [json!({}), json!([1]), json!({"type": "error", "error": {"type": "api_error", "message": "broken"}})]
    {
        let (garbage, good) = (garbage.clone(), good.clone());
        let pool = vec![backend("first", Dialect::Gemini), backend("second", Dialect::Claude)];
        let got = ask(OpenAiErrors, pool, CHAT, chat(false), move |(head, _)| {
            let answer = if head.uri.path().contains("generateContent") { &garbage } else { &good };
            Script::json(200, answer)
        });
        let got = got.await;
        assert_eq!((got.status, got.served.as_deref()), (200, Some("second:upstream-model")), "{}", got.text);
    }
}

//! The older text completions, plain and streamed.

use super::events::done;
use crate::model_request::ModelRequest;
use crate::piece::{Piece, Role, event};
use crate::shape::Shape;
use crate::valid_response::ValidResponse;
use crate::wire::quoted;
use crate::words::{Output, Question, Voice, count};
use serde_json::Value;

pub(super) fn answer(ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse {
    let prompt = match &ask.body["prompt"] {
        Value::Array(all) => all.last().and_then(Value::as_str).unwrap_or(""),
        prompt => prompt.as_str().unwrap_or(""),
    };
    let question = Question { asked: prompt, limit: ask.number("max_tokens"), ..Question::default() };
    let output = voice.say(question, shape);
    let finish = if output.cut_short { "length" } else { "stop" };
    let (asked, given) = (count(prompt), output.tokens.len());
    let usage = format!(r#"{{"prompt_tokens":{asked},"completion_tokens":{given},"total_tokens":{}}}"#, asked + given);
    let head = format!(
        r#""id":"cmpl-{seed:016x}","object":"text_completion","created":{},"model":{},"system_fingerprint":{}"#,
        voice.created,
        quoted(&ask.model),
        quoted(&format!("fp_{}", voice.name)),
    );
    if !shape.stream {
        let choice = choice(&output.text(), &quoted(finish));
        return ValidResponse::json(format!(r#"{{{head},"choices":[{choice}],"usage":{usage}}}"#));
    }
    let asked = ask.body["stream_options"]["include_usage"] == Value::Bool(true);
    let usage = (asked && !shape.no_usage).then_some(usage);
    ValidResponse::events(chunks(&head, &output, finish, usage.as_deref()))
}

fn choice(text: &str, finish: &str) -> String {
    let text = quoted(text);
    format!(r#"{{"text":{text},"index":0,"logprobs":null,"finish_reason":{finish}}}"#)
}

fn chunks(head: &str, output: &Output, finish: &str, usage: Option<&str>) -> Vec<Piece> {
    let nothing = if usage.is_some() { r#","usage":null"# } else { "" };
    let chunk = |role, text: &str, finish: &str| {
        let choice = choice(text, finish);
        event(role, format_args!(r#"{{{head},"choices":[{choice}]{nothing}}}"#))
    };
    let tokens = output.tokens.iter();
    let mut out: Vec<_> = tokens.map(|token| chunk(Role::Token, token, "null")).collect();
    out.push(chunk(Role::Finish, "", &quoted(finish)));
    if let Some(usage) = usage {
        let data = format_args!(r#"{{{head},"choices":[],"usage":{usage}}}"#);
        out.push(event(Role::Usage, data));
    }
    out.push(done());
    out
}

//! Chat completions, plain and streamed.

use super::events::done;
use super::turn::turn;
use crate::model_request::ModelRequest;
use crate::piece::{Piece, Role, event};
use crate::reply::{Call, Finish, Reply, Usage};
use crate::shape::Shape;
use crate::valid_response::ValidResponse;
use crate::wire::quoted;
use crate::words::Voice;
use serde_json::Value;

/// The maximum number of choices in a response.
const MAX_CHOICES: usize = 16;

pub(super) fn answer(ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse {
    let count = ask.number("n").unwrap_or(1).clamp(1, MAX_CHOICES);
    let turn = turn(&ask.body);
    let replies: Vec<_> = (0..count).map(|index| turn.reply(shape, voice, index)).collect();
    let usage = usage(Usage::of(&turn, shape, &replies));
    if shape.stream {
        let asked = ask.body["stream_options"]["include_usage"] == Value::Bool(true);
        let usage = (asked && !shape.no_usage).then_some(usage);
        ValidResponse::events(chunks(ask, voice, seed, &replies, usage.as_deref()))
    } else {
        ValidResponse::json(plain(ask, voice, seed, &replies, &usage))
    }
}

fn finish(reply: &Reply) -> &'static str {
    match reply.finish {
        Finish::End | Finish::Stop(_) | Finish::Declined => "stop",
        Finish::Length => "length",
        Finish::Calls => "tool_calls",
        Finish::Filtered => "content_filter",
    }
}

/// Returns the id of a call, which contains the index of the choice and, if necessary, of the call.
fn call_id(seed: u64, index: usize, number: usize) -> String {
    let number = if number == 0 { String::new() } else { format!("_{number}") };
    format!("call_{seed:016x}{index}{number}")
}

fn message(reply: &Reply, seed: u64, index: usize) -> String {
    let text = quoted(&reply.text.concat());
    let (content, refusal) = match reply.finish {
        Finish::Declined => ("null", text.as_str()),
        Finish::Calls if reply.text.is_empty() => ("null", "null"),
        _ => (text.as_str(), "null"),
    };
    let call = |(number, call): (usize, &Call)| {
        let (name, arguments) = (quoted(&call.name), quoted(&call.input.concat()));
        let id = call_id(seed, index, number);
        format!(r#"{{"id":"{id}","type":"function","function":{{"name":{name},"arguments":{arguments}}}}}"#)
    };
    let calls: Vec<_> = reply.calls.iter().enumerate().map(call).collect();
    let calls = if calls.is_empty() { String::new() } else { format!(r#","tool_calls":[{}]"#, calls.join(",")) };
    let thoughts = reply.thoughts.concat();
    let thoughts =
        if thoughts.is_empty() { thoughts } else { format!(r#","reasoning_content":{}"#, quoted(&thoughts)) };
    format!(r#"{{"role":"assistant","content":{content}{calls},"refusal":{refusal},"annotations":[]{thoughts}}}"#)
}

/// Returns the deltas with the output.
fn deltas(reply: &Reply, seed: u64, index: usize) -> Vec<String> {
    let field = if reply.finish == Finish::Declined { "refusal" } else { "content" };
    let thoughts = reply.thoughts.iter().map(|token| ("reasoning_content", token));
    let texts = thoughts.chain(reply.text.iter().map(|token| (field, token)));
    let mut out: Vec<_> = texts.map(|(field, token)| format!(r#"{{"{field}":{}}}"#, quoted(token))).collect();
    for (number, call) in reply.calls.iter().enumerate() {
        let (id, name) = (call_id(seed, index, number), quoted(&call.name));
        out.push(format!(
            r#"{{"tool_calls":[{{"index":{number},"id":"{id}","type":"function","function":{{"name":{name},"arguments":""}}}}]}}"#
        ));
        out.extend(call.input.iter().map(|part| {
            let part = quoted(part);
            format!(r#"{{"tool_calls":[{{"index":{number},"function":{{"arguments":{part}}}}}]}}"#)
        }));
    }
    out
}

fn usage(usage: Usage) -> String {
    let Usage { prompt, cached, output, thoughts } = usage;
    let total = prompt + output;
    format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{output},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{thoughts},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#
    )
}

fn plain(ask: &ModelRequest, voice: &Voice, seed: u64, replies: &[Reply], usage: &str) -> String {
    let choice = |(index, reply): (usize, &Reply)| {
        let (message, finish) = (message(reply, seed, index), finish(reply));
        format!(r#"{{"index":{index},"message":{message},"logprobs":null,"finish_reason":"{finish}"}}"#)
    };
    let choices: Vec<_> = replies.iter().enumerate().map(choice).collect();
    let head = head(ask, voice, seed, "chat.completion");
    let name = quoted(&format!("fp_{}", voice.name));
    let choices = choices.join(",");
    format!(r#"{{{head},"choices":[{choices}],"usage":{usage},"service_tier":"default","system_fingerprint":{name}}}"#)
}

fn head(ask: &ModelRequest, voice: &Voice, seed: u64, object: &str) -> String {
    let (created, model) = (voice.created, quoted(&ask.model));
    format!(r#""id":"chatcmpl-{seed:016x}","object":"{object}","created":{created},"model":{model}"#)
}

fn chunks(ask: &ModelRequest, voice: &Voice, seed: u64, replies: &[Reply], usage: Option<&str>) -> Vec<Piece> {
    let head = head(ask, voice, seed, "chat.completion.chunk");
    let name = quoted(&format!("fp_{}", voice.name));
    let nothing = if usage.is_some() { r#","usage":null"# } else { "" };
    let chunk = |role, index: usize, delta: &str, finish: &str| {
        event(
            role,
            format_args!(
                r#"{{{head},"service_tier":"default","system_fingerprint":{name},"choices":[{{"index":{index},"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]{nothing}}}"#
            ),
        )
    };
    let each = |role, delta: &str| {
        let one = |index| chunk(role, index, delta, "null");
        (0..replies.len()).map(one).collect::<Vec<_>>()
    };
    let mut out = each(Role::Preamble, r#"{"role":"assistant","content":"","refusal":null}"#);
    // The tokens of the choices alternate, as they do in concurrent generation.
    let deltas: Vec<_> = replies.iter().enumerate().map(|(index, reply)| deltas(reply, seed, index)).collect();
    let longest = deltas.iter().map(Vec::len).max().unwrap_or(0);
    for turn in 0..longest {
        for (index, deltas) in deltas.iter().enumerate() {
            let delta = deltas.get(turn);
            out.extend(delta.map(|delta| chunk(Role::Token, index, delta, "null")));
        }
    }
    for (index, reply) in replies.iter().enumerate() {
        out.push(chunk(Role::Finish, index, "{}", &quoted(finish(reply))));
    }
    if let Some(usage) = usage {
        out.push(event(
            Role::Usage,
            format_args!(
                r#"{{{head},"service_tier":"default","system_fingerprint":{name},"choices":[],"usage":{usage}}}"#
            ),
        ));
    }
    out.push(done());
    out
}

//! Chat completions, plain and in chunks.

use super::{done, last_of, prompt_tokens};
use crate::simulated::body::{Piece, Role};
use crate::simulated::dialect::{Ask, Shape, event, quoted};
use crate::simulated::layout::Good;
use crate::simulated::words::{Question, Said, Voice};
use serde_json::Value;

/// The thoughts before an answer with reasoning, one token each.
const REASONING: [&str; 3] = ["Let", " me", " think."];

/// More choices than this are not made, however many a request asks for.
const MAX_CHOICES: usize = 16;

/// A choice: text, or a call of a tool.
enum Choice {
    Text(Said),
    Call { id: String, name: String, arguments: Vec<String> },
}

impl Choice {
    fn finish(&self) -> &'static str {
        match self {
            Self::Text(said) if said.cut_short => "length",
            Self::Text(_) => "stop",
            Self::Call { .. } => "tool_calls",
        }
    }

    fn tokens(&self) -> usize {
        match self {
            Self::Text(said) => said.tokens.len(),
            Self::Call { arguments, .. } => arguments.len() + 1,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Text(said) => format!(r#""content":{}"#, quoted(&said.text())),
            Self::Call { id, name, arguments } => format!(
                r#""content":null,"tool_calls":[{{"id":"{id}","type":"function","function":{{"name":{},"arguments":{}}}}}]"#,
                quoted(name),
                quoted(&arguments.concat())
            ),
        }
    }

    /// The deltas that carry its output.
    fn deltas(&self) -> Vec<String> {
        match self {
            Self::Text(said) => {
                let delta = |token: &String| format!(r#"{{"content":{}}}"#, quoted(token));
                said.tokens.iter().map(delta).collect()
            }
            Self::Call { id, name, arguments } => {
                let head = format!(
                    r#"{{"tool_calls":[{{"index":0,"id":"{id}","type":"function","function":{{"name":{},"arguments":""}}}}]}}"#,
                    quoted(name)
                );
                let piece = |part: &String| {
                    let part = quoted(part);
                    format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":{part}}}}}]}}"#)
                };
                [head].into_iter().chain(arguments.iter().map(piece)).collect()
            }
        }
    }
}

pub(super) fn answer(ask: &Ask, shape: Shape, voice: &Voice, seed: u64) -> Good {
    let count = ask.number("n").unwrap_or(1).clamp(1, MAX_CHOICES);
    let choices: Vec<_> = (0..count).map(|index| choice(ask, shape, voice, seed, index)).collect();
    let usage = usage(ask, shape, &choices);
    if shape.stream {
        let asked = ask.body["stream_options"]["include_usage"] == Value::Bool(true);
        let usage = (asked && !shape.no_usage).then_some(usage);
        Good::events(chunks(ask, shape, voice, seed, &choices, usage.as_deref()))
    } else {
        Good::json(plain(ask, shape, voice, seed, &choices, &usage))
    }
}

fn choice(ask: &Ask, shape: Shape, voice: &Voice, seed: u64, index: usize) -> Choice {
    let messages = &ask.body["messages"];
    if let Some(name) = tool_to_call(ask, shape) {
        let asked = quoted(&last_of(messages, "user"));
        return Choice::Call {
            id: format!("call_{seed:016x}{index}"),
            name,
            arguments: vec!["{\"input\":".to_owned(), asked, "}".to_owned()],
        };
    }
    let ends_as_assistant =
        messages.as_array().and_then(|all| all.last()).is_some_and(|last| last["role"] == "assistant");
    let prefix = if ends_as_assistant { last_of(messages, "assistant") } else { String::new() };
    let question = Question {
        asked: &last_of(messages, "user"),
        prefix: &prefix,
        limit: ask.number("max_completion_tokens").or_else(|| ask.number("max_tokens")),
        choice: index,
    };
    Choice::Text(voice.say(question, shape))
}

/// The tool that the answer calls, when there are tools and someone wants a call: the behaviour,
/// or the request by its `tool_choice`. A tool's result is answered by text.
fn tool_to_call(ask: &Ask, shape: Shape) -> Option<String> {
    let tools = ask.body["tools"].as_array()?;
    let choice = &ask.body["tool_choice"];
    let last = ask.body["messages"].as_array()?.last()?;
    let named = choice["function"]["name"].as_str();
    let wanted = shape.tools || choice == "required" || named.is_some();
    if !wanted || choice == "none" || last["role"] == "tool" {
        return None;
    }
    let first = || tools.first()?["function"]["name"].as_str();
    named.or_else(first).map(str::to_owned)
}

fn usage(ask: &Ask, shape: Shape, choices: &[Choice]) -> String {
    let prompt = prompt_tokens(&ask.body["messages"]);
    let reasoning = if shape.reasoning { REASONING.len() * choices.len() } else { 0 };
    let completion = choices.iter().map(Choice::tokens).sum::<usize>() + reasoning;
    let total = prompt + completion;
    format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#
    )
}

fn plain(ask: &Ask, shape: Shape, voice: &Voice, seed: u64, choices: &[Choice], usage: &str) -> String {
    let thoughts = if shape.reasoning {
        format!(r#","reasoning_content":{}"#, quoted(&REASONING.concat()))
    } else {
        String::new()
    };
    let choices: Vec<_> = choices
        .iter()
        .enumerate()
        .map(|(index, choice)| {
            let (message, finish) = (choice.message(), choice.finish());
            format!(
                r#"{{"index":{index},"message":{{"role":"assistant",{message},"refusal":null,"annotations":[]{thoughts}}},"logprobs":null,"finish_reason":"{finish}"}}"#
            )
        })
        .collect();
    let head = head(ask, voice, seed, "chat.completion");
    let name = quoted(&format!("fp_{}", voice.name));
    let choices = choices.join(",");
    format!(r#"{{{head},"choices":[{choices}],"usage":{usage},"service_tier":"default","system_fingerprint":{name}}}"#)
}

fn head(ask: &Ask, voice: &Voice, seed: u64, object: &str) -> String {
    let (created, model) = (voice.created, quoted(&ask.model));
    format!(r#""id":"chatcmpl-{seed:016x}","object":"{object}","created":{created},"model":{model}"#)
}

fn chunks(ask: &Ask, shape: Shape, voice: &Voice, seed: u64, choices: &[Choice], usage: Option<&str>) -> Vec<Piece> {
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
        (0..choices.len()).map(one).collect::<Vec<_>>()
    };
    let mut out = each(Role::Preamble, r#"{"role":"assistant","content":"","refusal":null}"#);
    if shape.reasoning {
        for thought in REASONING {
            let delta = format!(r#"{{"reasoning_content":{}}}"#, quoted(thought));
            out.extend(each(Role::Token, &delta));
        }
    }
    // The choices come by turns, a token of each, as they do when they are made together.
    let deltas: Vec<_> = choices.iter().map(Choice::deltas).collect();
    let longest = deltas.iter().map(Vec::len).max().unwrap_or(0);
    for turn in 0..longest {
        for (index, deltas) in deltas.iter().enumerate() {
            let delta = deltas.get(turn);
            out.extend(delta.map(|delta| chunk(Role::Token, index, delta, "null")));
        }
    }
    for (index, choice) in choices.iter().enumerate() {
        out.push(chunk(Role::Finish, index, "{}", &quoted(choice.finish())));
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

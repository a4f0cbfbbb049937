//! Decodes a request of a caller.

mod content;
mod echo;
mod param_path;
mod tools;
mod turns;

use std::sync::Arc;

pub(super) use param_path::param_path;

use super::{
    envelope::Seal,
    request::{Input, Request},
};
use crate::dialect::{
    capabilities, hub,
    unsupported::{Rejector, UnsupportedField},
    value::{Object, Value},
};

/// Rejects members that no other format has.
const UNKNOWN: Rejector = Rejector::new("a translation of this request");

/// The code of a refusal to continue a response that is not stored.
const NOT_FOUND: &str = "previous_response_not_found";

/// Decodes a request. `seals` open the envelopes of reasoning.
///
/// # Errors
/// The field that is not of the format, or that only a backend of Responses can express.
pub(super) fn decode_request(body: &[u8], seals: &[Seal]) -> Result<hub::Request, UnsupportedField> {
    to_hub(&Request::parse(body)?, seals)
}

fn to_hub(request: &Request, seals: &[Seal]) -> Result<hub::Request, UnsupportedField> {
    check_state(request)?;
    let mut dropped = Vec::new();
    UNKNOWN.members("", &request.other, capabilities::responses, &mut dropped)?;
    if request.truncation.as_deref() == Some("auto") {
        dropped.push("truncation".to_owned());
    }
    let items = match &request.input {
        Some(Input::Items(items)) => &items[..],
        Some(Input::Text(_)) | None => &[],
    };
    let tools::Tools { tools, names, paths, choice } = tools::tools(request, items, &mut dropped)?;
    let mut turns = turns::Turns::new(seals);
    if let Some(instructions) = request.instructions.as_deref().filter(|text| !text.is_empty()) {
        turns.system(instructions);
    }
    match &request.input {
        Some(Input::Text(text)) => turns.user(text),
        Some(Input::Items(items)) => turns.items(items)?,
        None => return Err(UnsupportedField::new("input", "it is required")),
    }
    let (messages, message_paths) = turns.finish();
    let includes = |part: &str| request.include.iter().any(|included| included == part);
    let caller = hub::CallerFacts {
        echo: echo::echo(request),
        wants_encrypted_reasoning: includes("reasoning.encrypted_content"),
        tools: names,
        tool_paths: paths,
        messages: message_paths,
    };
    let wants_logprobs =
        request.top_logprobs.is_some_and(|count| count > 0) || includes("message.output_text.logprobs");
    let has_tools = !tools.is_empty();
    Ok(hub::Request {
        model: request.model.clone(),
        messages,
        stream: request.stream,
        max_completion_tokens: request.max_output_tokens,
        temperature: request.temperature,
        top_p: request.top_p,
        presence_penalty: request.presence_penalty.filter(|penalty| *penalty != 0.0),
        frequency_penalty: request.frequency_penalty.filter(|penalty| *penalty != 0.0),
        logprobs: wants_logprobs.then_some(true),
        top_logprobs: request.top_logprobs.filter(|count| *count > 0),
        tools: has_tools.then_some(tools),
        tool_choice: choice.filter(|_| has_tools),
        // Without tools it means nothing, and some servers refuse it.
        parallel_tool_calls: request.parallel_tool_calls.filter(|_| has_tools),
        response_format: format(request)?,
        reasoning_effort: request.reasoning.as_ref().and_then(|reasoning| reasoning.effort.clone()),
        other: other(request),
        dropped,
        caller: Some(Arc::new(caller)),
        ..hub::Request::default()
    })
}

/// Rejects what a provider must have stored.
fn check_state(request: &Request) -> Result<(), UnsupportedField> {
    let stored = |param: &str| {
        let reason = "responses are not stored here, and no backend of this model made it; send the whole conversation \
                      as `input`";
        Err(UnsupportedField::new(param, reason).with_code(NOT_FOUND))
    };
    if request.previous_response_id.is_some() {
        return stored("previous_response_id");
    }
    if request.conversation.is_some() {
        return stored("conversation");
    }
    if request.prompt.is_some() {
        return Err(UNKNOWN.reject("prompt"));
    }
    if request.background == Some(true) {
        return Err(UNKNOWN.reject("background"));
    }
    Ok(())
}

/// The members of a chat request that are none of the hub's.
fn other(request: &Request) -> Object {
    let verbosity = request.text.as_ref().and_then(|text| text.verbosity.clone());
    // The default tier is what a request without one gets, and not every server knows the member.
    let tier = request.service_tier.clone().filter(|tier| !matches!(&**tier, "auto" | "default"));
    let members = [
        ("verbosity", verbosity.filter(|verbosity| verbosity != "medium")),
        ("service_tier", tier),
        ("user", request.user.clone()),
        ("safety_identifier", request.safety_identifier.clone()),
        ("prompt_cache_key", request.prompt_cache_key.clone()),
        ("prompt_cache_retention", request.prompt_cache_retention.clone()),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?)))).collect()
}

fn format(request: &Request) -> Result<Option<hub::ResponseFormat>, UnsupportedField> {
    let Some(format) = request.text.as_ref().and_then(|text| text.format.as_ref()) else { return Ok(None) };
    let text = |name: &str| format.get(name).and_then(Value::as_str);
    Ok(match text("type") {
        Some("text") => None,
        Some("json_object") => Some(hub::ResponseFormat::JsonObject),
        Some("json_schema") => {
            let strict = match format.get("strict") {
                Some(Value::Bool(strict)) => Some(*strict),
                _ => None,
            };
            let json_schema = hub::JsonSchema {
                name: text("name").unwrap_or("answer").to_owned(),
                description: text("description").map(str::to_owned),
                schema: format.get("schema").filter(|schema| !schema.is_null()).cloned(),
                strict,
            };
            Some(hub::ResponseFormat::JsonSchema { json_schema })
        }
        _ => return Err(UnsupportedField::new("text.format.type", "it is text, json_object or json_schema")),
    })
}

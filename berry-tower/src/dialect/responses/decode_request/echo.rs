//! The members of a response that repeat the request.

use serde::Serialize;

use crate::dialect::{responses::request::Request, value::Value};

/// The members, in the shape that the Open Responses specification requires: every member that must not be null has
/// its default.
#[derive(Serialize)]
struct Echo<'a> {
    background: bool,
    instructions: Option<&'a str>,
    max_output_tokens: Option<u64>,
    max_tool_calls: Option<u64>,
    previous_response_id: Option<&'a str>,
    parallel_tool_calls: bool,
    reasoning: Reasoning<'a>,
    service_tier: &'a str,
    store: bool,
    temperature: f64,
    text: Text<'a>,
    tool_choice: Value,
    tools: Vec<Tool<'a>>,
    top_logprobs: u64,
    top_p: f64,
    truncation: &'a str,
    presence_penalty: f64,
    frequency_penalty: f64,
    metadata: Value,
    user: Option<&'a str>,
    safety_identifier: Option<&'a str>,
    prompt_cache_key: Option<&'a str>,
}

#[derive(Serialize)]
struct Reasoning<'a> {
    effort: Option<&'a str>,
    summary: Option<&'a str>,
}

#[derive(Serialize)]
struct Text<'a> {
    format: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a str>,
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    description: Option<&'a str>,
    parameters: Option<&'a Value>,
    strict: Option<bool>,
}

/// Returns the members that repeat a request, as JSON without braces.
pub(super) fn echo(request: &Request) -> String {
    let one_of = |value: Option<&'_ str>, known: &[&'static str]| known.iter().find(|it| value == Some(**it)).copied();
    let reasoning = request.reasoning.as_ref();
    let text = request.text.as_ref();
    let echo = Echo {
        background: false,
        instructions: request.instructions.as_deref(),
        max_output_tokens: request.max_output_tokens,
        max_tool_calls: request.max_tool_calls,
        previous_response_id: request.previous_response_id.as_deref(),
        parallel_tool_calls: request.parallel_tool_calls.unwrap_or(true),
        reasoning: Reasoning {
            effort: one_of(reasoning.and_then(|it| it.effort.as_deref()), &["none", "low", "medium", "high", "xhigh"]),
            summary: one_of(reasoning.and_then(|it| it.summary.as_deref()), &["auto", "concise", "detailed"]),
        },
        service_tier: request.service_tier.as_deref().filter(|tier| *tier != "auto").unwrap_or("default"),
        // Nothing is stored unless the store says so.
        store: false,
        temperature: request.temperature.unwrap_or(1.0),
        text: Text {
            format: format(text.and_then(|text| text.format.as_ref())),
            verbosity: one_of(text.and_then(|it| it.verbosity.as_deref()), &["low", "medium", "high"]),
        },
        tool_choice: tool_choice(request.tool_choice.as_ref()),
        tools: request.tools.iter().filter_map(tool).collect(),
        top_logprobs: request.top_logprobs.unwrap_or_default(),
        top_p: request.top_p.unwrap_or(1.0),
        truncation: one_of(request.truncation.as_deref(), &["auto"]).unwrap_or("disabled"),
        presence_penalty: request.presence_penalty.unwrap_or_default(),
        frequency_penalty: request.frequency_penalty.unwrap_or_default(),
        metadata: request.metadata.clone().filter(|it| it.as_object().is_some()).unwrap_or_else(|| Value::object([])),
        user: request.user.as_deref(),
        safety_identifier: request.safety_identifier.as_deref(),
        prompt_cache_key: request.prompt_cache_key.as_deref(),
    };
    // Only a map whose keys are no texts could fail, and there is none.
    let json = serde_json::to_string(&echo).unwrap_or_default();
    json.trim_start_matches('{').strip_suffix('}').unwrap_or_default().to_owned()
}

/// The specification knows only functions; a response lists no other tools.
fn tool(tool: &Value) -> Option<Tool<'_>> {
    let text = |name: &str| tool.get(name).and_then(Value::as_str);
    (text("type") == Some("function")).then_some(())?;
    let strict = match tool.get("strict") {
        Some(Value::Bool(strict)) => Some(*strict),
        _ => None,
    };
    Some(Tool {
        kind: "function",
        name: text("name")?,
        description: text("description"),
        parameters: tool.get("parameters").filter(|it| it.as_object().is_some()),
        strict,
    })
}

/// The choice, as far as the specification knows it.
fn tool_choice(choice: Option<&Value>) -> Value {
    let function = |choice: &Value| {
        let is_function = choice.get("type").is_some_and(|kind| *kind == "function");
        let name = choice.get("name").and_then(Value::as_str).filter(|_| is_function)?;
        Some(Value::object([("type", "function".into()), ("name", name.into())]))
    };
    match choice {
        Some(Value::String(mode)) if matches!(&**mode, "none" | "auto" | "required") => mode.as_str().into(),
        Some(object @ Value::Object(_)) => {
            let kind = object.get("type").and_then(Value::as_str);
            if kind == Some("allowed_tools") {
                let tools = object.get("tools").and_then(Value::as_array).unwrap_or_default();
                let mode = object.get("mode").and_then(Value::as_str).filter(|mode| *mode == "required");
                return Value::object([
                    ("type", "allowed_tools".into()),
                    ("mode", mode.unwrap_or("auto").into()),
                    ("tools", Value::Array(tools.iter().filter_map(function).collect())),
                ]);
            }
            function(object).unwrap_or_else(|| match kind {
                Some(mode @ ("none" | "auto")) => mode.into(),
                _ => "required".into(),
            })
        }
        _ => "auto".into(),
    }
}

/// The format of the output. The specification has no schema in responses.
fn format(format: Option<&Value>) -> Value {
    let text = |name: &str| format.and_then(|format| format.get(name)).and_then(Value::as_str);
    match text("type") {
        Some("json_schema") => Value::object([
            ("type", "json_schema".into()),
            ("name", text("name").unwrap_or("answer").into()),
            ("description", text("description").map_or(Value::Null, Into::into)),
            ("schema", Value::Null),
            ("strict", (format.and_then(|it| it.get("strict")) == Some(&Value::Bool(true))).into()),
        ]),
        Some("json_object") => Value::object([("type", "json_object".into())]),
        _ => Value::object([("type", "text".into())]),
    }
}

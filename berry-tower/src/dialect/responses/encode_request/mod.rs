//! Encodes a request for a backend.

mod turns;

use bytes::Bytes;
use serde::Serialize;

use super::decode_stream::ResponseDecoder;
use crate::dialect::{
    capabilities,
    codec::DecodeResponse,
    effort::Effort,
    hub,
    target::Target,
    unsupported::{Rejector, UnsupportedField},
    value::{Object, Value},
    wire_format::{DecodeOptions, EncodedRequest},
};

/// Rejects members that the format lacks.
const UNKNOWN: Rejector = Rejector::new("the format of Responses");

/// The least limit of output tokens that OpenAI takes.
const LEAST_TOKENS: u64 = 16;

/// The members of a chat request that the format has under the same names.
const SHARED: [&str; 6] =
    ["user", "metadata", "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"];

/// A request in the format of Responses.
#[derive(Debug)]
pub(super) struct ResponsesRequest {
    wire: Wire,
    effort: Option<String>,
    /// The optional fields that are left out.
    dropped: Vec<String>,
}

/// The members that do not depend on the backend.
#[derive(Debug, Default, Serialize)]
struct Wire {
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    input: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include: Vec<&'static str>,
    store: bool,
    #[serde(flatten)]
    other: Object,
}

/// A body: the members that depend on the backend, and the rest.
#[derive(Serialize)]
struct Written<'a> {
    model: &'a str,
    #[serde(flatten)]
    wire: &'a Wire,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning<'a>>,
    stream: bool,
}

#[derive(Serialize)]
struct Reasoning<'a> {
    effort: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'static str>,
}

/// Encodes a request.
///
/// # Errors
/// The field that the format cannot express.
pub(super) fn encode_request(request: &hub::Request) -> Result<ResponsesRequest, UnsupportedField> {
    if request.top_k.is_some() {
        return Err(UNKNOWN.reject("top_k"));
    }
    let has_stops = request.stop.as_ref().is_some_and(|stop| !matches!(stop, hub::Stop::Many(all) if all.is_empty()));
    if has_stops {
        return Err(UNKNOWN.reject("stop"));
    }
    if request.n.is_some_and(|choices| choices > 1) {
        return Err(UNKNOWN.reject("n"));
    }
    let mut dropped = Vec::new();
    for (penalty, name) in
        [(request.presence_penalty, "presence_penalty"), (request.frequency_penalty, "frequency_penalty")]
    {
        dropped.extend(penalty.filter(|penalty| *penalty != 0.0).map(|_| name.to_owned()));
    }
    let mut unknown = request.other.clone();
    let mut other = Object::default();
    for name in SHARED {
        if let Some(value) = unknown.shift_remove(name).filter(|value| !value.is_null()) {
            other.insert(name.to_owned(), value);
        }
    }
    let verbosity = unknown.shift_remove("verbosity").filter(|value| !value.is_null());
    let store = unknown.shift_remove("store") == Some(Value::Bool(true));
    // How a model of another provider's thinks.
    if unknown.shift_remove("thinking").is_some_and(|thinking| !thinking.is_null()) {
        dropped.push("thinking".to_owned());
    }
    UNKNOWN.members("", &unknown, capabilities::chat, &mut dropped)?;
    let (instructions, input) = turns::input(&request.messages)?;
    let tools = tools(request, &mut dropped)?;
    let wants_logprobs = request.logprobs == Some(true);
    let has_tools = !tools.is_empty();
    let wire = Wire {
        instructions,
        input,
        tools,
        tool_choice: tool_choice(request)?.filter(|_| has_tools),
        parallel_tool_calls: request.parallel_tool_calls.filter(|_| has_tools),
        max_output_tokens: request.max_completion_tokens.or(request.max_tokens).map(|limit| limit.max(LEAST_TOKENS)),
        temperature: request.temperature,
        top_p: request.top_p,
        top_logprobs: request.top_logprobs.filter(|_| wants_logprobs),
        text: text(request.response_format.as_ref(), verbosity)?,
        include: wants_logprobs.then_some("message.output_text.logprobs").into_iter().collect(),
        store,
        other,
    };
    Ok(ResponsesRequest { wire, effort: request.reasoning_effort.clone(), dropped })
}

impl EncodedRequest for ResponsesRequest {
    fn body(&self, target: &Target<'_>) -> Bytes {
        let reasoning = self.effort.as_deref().map(|name| {
            let nearest = Effort::from_name(name).and_then(|effort| target.efforts.nearest(effort));
            let effort = if let Some(nearest) = nearest { nearest.name() } else { name };
            let summary = (effort != "none" && target.reasoning_summary).then_some("auto");
            Reasoning { effort, summary }
        });
        let written = Written { model: target.model, wire: &self.wire, reasoning, stream: target.stream };
        // Only a map whose keys are no texts could fail, and there is none.
        serde_json::to_vec(&written).unwrap_or_default().into()
    }

    fn dropped(&self) -> &[String] {
        &self.dropped
    }

    fn response_decoder(&self, _options: DecodeOptions) -> Box<dyn DecodeResponse> {
        Box::new(ResponseDecoder::default())
    }
}

fn tools(request: &hub::Request, dropped: &mut Vec<String>) -> Result<Vec<Value>, UnsupportedField> {
    let mut tools = Vec::new();
    for (at, tool) in request.tools.iter().flatten().enumerate() {
        let path = format!("tools[{at}]");
        let Some(function) = tool.function.as_ref().filter(|_| tool.kind == "function") else {
            return Err(UNKNOWN.reject(format!("{path}.type")));
        };
        if function.name.chars().count() > 64 {
            return Err(UnsupportedField::new(format!("{path}.function.name"), "OpenAI takes at most 64 characters"));
        }
        UNKNOWN.members(&path, &tool.other, capabilities::messages, dropped)?;
        UNKNOWN.members(&format!("{path}.function"), &function.other, capabilities::messages, dropped)?;
        let empty = || Value::object([("type", "object".into()), ("properties", Value::object([]))]);
        let mut members = Object::from_iter([
            ("type".to_owned(), Value::from("function")),
            ("name".to_owned(), function.name.as_str().into()),
        ]);
        if let Some(description) = &function.description {
            members.insert("description".to_owned(), description.as_str().into());
        }
        members.insert("parameters".to_owned(), function.parameters.clone().unwrap_or_else(empty));
        // By default this format is strict, and chat completions are not.
        members.insert("strict".to_owned(), function.strict.unwrap_or(false).into());
        tools.push(members.into());
    }
    Ok(tools)
}

fn tool_choice(request: &hub::Request) -> Result<Option<Value>, UnsupportedField> {
    Ok(match &request.tool_choice {
        None => None,
        Some(hub::ToolChoice::Mode(hub::ToolMode::Auto)) => Some("auto".into()),
        Some(hub::ToolChoice::Mode(hub::ToolMode::None)) => Some("none".into()),
        Some(hub::ToolChoice::Mode(hub::ToolMode::Required)) => Some("required".into()),
        Some(hub::ToolChoice::Named { function, .. }) => {
            Some(Value::object([("type", "function".into()), ("name", function.name.as_str().into())]))
        }
        Some(hub::ToolChoice::Other(_)) => return Err(UNKNOWN.reject("tool_choice")),
    })
}

fn text(format: Option<&hub::ResponseFormat>, verbosity: Option<Value>) -> Result<Option<Value>, UnsupportedField> {
    let mut members = Object::default();
    match format {
        None | Some(hub::ResponseFormat::Text) => {}
        Some(hub::ResponseFormat::JsonObject) => {
            members.insert("format".to_owned(), Value::object([("type", "json_object".into())]));
        }
        Some(hub::ResponseFormat::JsonSchema { json_schema }) => {
            let hub::JsonSchema { name, description, schema, strict } = json_schema;
            let mut format = Object::from_iter([
                ("type".to_owned(), Value::from("json_schema")),
                ("name".to_owned(), name.as_str().into()),
                ("schema".to_owned(), schema.clone().unwrap_or_else(|| Value::object([]))),
            ]);
            if let Some(description) = description {
                format.insert("description".to_owned(), description.as_str().into());
            }
            if let Some(strict) = strict {
                format.insert("strict".to_owned(), (*strict).into());
            }
            members.insert("format".to_owned(), format.into());
        }
        Some(hub::ResponseFormat::Other(_)) => return Err(UNKNOWN.reject("response_format")),
    }
    if let Some(verbosity) = verbosity {
        members.insert("verbosity".to_owned(), verbosity);
    }
    Ok((!members.is_empty()).then(|| members.into()))
}

//! Decodes a Messages request of a caller.

mod param_path;
mod turns;

pub(super) use param_path::param_path;

use super::{Block, Content, CustomTool, OutputConfig, OutputFormat, Request, Thinking, Tool, ToolChoice};
use crate::dialect::{
    capabilities,
    effort::Effort,
    hub,
    responses::envelope::Seal,
    unsupported::{Rejector, UnsupportedField},
    value::Value,
};

/// Rejects members that no other format has.
const UNKNOWN: Rejector = Rejector::new("a translation of this request");

/// Decodes a Messages request. Reasoning is kept with its signatures in `extra_content`, of which `seals` open Google's;
/// `metadata` and `service_tier` are hints.
///
/// # Errors
/// The field of the Messages request that only Anthropic can express.
pub(crate) fn to_hub(request: &Request, seals: &[Seal]) -> Result<hub::Request, UnsupportedField> {
    let mut dropped = Vec::new();
    UNKNOWN.members("", &request.other, capabilities::messages, &mut dropped)?;
    let (tool_choice, parallel_tool_calls) = choice(request.tool_choice.as_ref())?;
    let mut tools = Vec::new();
    for (at, it) in request.tools.iter().flatten().enumerate() {
        tools.extend(tool(it, &format!("tools[{at}]"), request.tool_choice.as_ref(), &mut dropped)?);
    }
    // A choice among tools of which none is left means nothing.
    let (tool_choice, parallel_tool_calls) = if tools.is_empty() && !is_forced(request.tool_choice.as_ref()) {
        (None, None)
    } else {
        (tool_choice, parallel_tool_calls)
    };
    let mut messages: Vec<_> = request.system.as_ref().map(system).transpose()?.flatten().into_iter().collect();
    turns::messages(&request.messages, seals, &mut messages, &mut dropped)?;
    let user = request.metadata.as_ref().and_then(|metadata| metadata.user_id.clone());
    Ok(hub::Request {
        model: request.model.clone(),
        messages,
        stream: request.stream,
        max_completion_tokens: request.max_tokens,
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        stop: request.stop_sequences.clone().filter(|texts| !texts.is_empty()).map(hub::Stop::Many),
        tools: (!tools.is_empty()).then_some(tools),
        tool_choice,
        parallel_tool_calls,
        response_format: form(request, &mut dropped)?,
        reasoning_effort: effort(request, &mut dropped)?,
        other: user.map(|user| ("user".to_owned(), Value::String(user))).into_iter().collect(),
        dropped,
        ..hub::Request::default()
    })
}

fn system(system: &Content) -> Result<Option<hub::Message>, UnsupportedField> {
    let content = match system {
        Content::Text(text) => (!text.is_empty()).then(|| hub::Content::Text(text.clone())),
        Content::Blocks(blocks) => {
            let parts = blocks.iter().enumerate().map(|(at, block)| match block {
                Block::Text { .. } => turns::part(block, &format!("system[{at}]")),
                _ => Err(UNKNOWN.reject(format!("system[{at}].type"))),
            });
            turns::content(parts.collect::<Result<_, _>>()?)
        }
    };
    let message = |content| hub::Message { role: hub::Role::System, content: Some(content), ..Default::default() };
    Ok(content.map(message))
}

/// Whether the model must call a tool.
const fn is_forced(choice: Option<&ToolChoice>) -> bool {
    matches!(choice, Some(ToolChoice::Any { .. } | ToolChoice::Tool { .. }))
}

/// Decodes a tool; `None` for one that Anthropic runs itself and that the model need not call.
fn tool(
    tool: &Tool,
    path: &str,
    choice: Option<&ToolChoice>,
    dropped: &mut Vec<String>,
) -> Result<Option<hub::Tool>, UnsupportedField> {
    let CustomTool { name, description, input_schema, strict, other, .. } = match tool {
        Tool::Custom(tool) => tool,
        Tool::Other(tool) => {
            let name = tool.get("name").and_then(Value::as_str);
            let is_needed = match choice {
                Some(ToolChoice::Tool { name: forced, .. }) => Some(forced.as_str()) == name,
                choice => is_forced(choice),
            };
            let hosted = tool.get("type").and_then(Value::as_str).filter(|kind| *kind != "custom");
            let Some(kind) = hosted.filter(|_| !is_needed) else {
                return Err(UNKNOWN.reject(format!("{path}.type")));
            };
            dropped.push(format!("tools[{}]", name.unwrap_or(kind)));
            return Ok(None);
        }
    };
    UNKNOWN.members(path, other, capabilities::messages, dropped)?;
    let function = hub::Function {
        name: name.clone(),
        description: description.clone(),
        parameters: Some(input_schema.clone()),
        strict: *strict,
        other: hub::Other::default(),
    };
    Ok(Some(hub::Tool { kind: "function".into(), function: Some(function), other: turns::hints(other) }))
}

type Choice = (Option<hub::ToolChoice>, Option<bool>);

fn choice(choice: Option<&ToolChoice>) -> Result<Choice, UnsupportedField> {
    let (choice, alone) = match choice {
        None => return Ok((None, None)),
        Some(ToolChoice::Auto { disable_parallel_tool_use: alone }) => {
            (hub::ToolChoice::Mode(hub::ToolMode::Auto), *alone)
        }
        Some(ToolChoice::Any { disable_parallel_tool_use: alone }) => {
            (hub::ToolChoice::Mode(hub::ToolMode::Required), *alone)
        }
        Some(ToolChoice::Tool { name, disable_parallel_tool_use: alone }) => {
            let function = hub::NamedFunction { name: name.clone() };
            (hub::ToolChoice::Named { kind: hub::FunctionKind::Function, function }, *alone)
        }
        Some(ToolChoice::None) => (hub::ToolChoice::Mode(hub::ToolMode::None), None),
        Some(ToolChoice::Other(_)) => return Err(UNKNOWN.reject("tool_choice")),
    };
    Ok((Some(choice), alone.map(|alone| !alone)))
}

fn form(request: &Request, dropped: &mut Vec<String>) -> Result<Option<hub::ResponseFormat>, UnsupportedField> {
    let config = request.output_config.as_ref();
    if let Some(OutputConfig { other, .. }) = config {
        UNKNOWN.members("output_config", other, capabilities::messages, dropped)?;
    }
    let native = config.and_then(|config| config.format.as_ref()).map(|format| (format, "output_config.format"));
    match native.or(request.output_format.as_ref().map(|format| (format, "output_format"))) {
        None => Ok(None),
        Some((OutputFormat::JsonSchema { schema }, _)) => {
            let (name, schema) = ("answer".to_owned(), Some(schema.clone()));
            let json_schema = hub::JsonSchema { name, description: None, schema, strict: Some(true) };
            Ok(Some(hub::ResponseFormat::JsonSchema { json_schema }))
        }
        Some((OutputFormat::Other(_), path)) => Err(UNKNOWN.reject(path)),
    }
}

/// Returns how hard the model thinks: by its budget, or by the effort that the response is to take.
fn effort(request: &Request, dropped: &mut Vec<String>) -> Result<Option<String>, UnsupportedField> {
    let wanted = request.output_config.as_ref().and_then(|config| config.effort.as_deref());
    let by_thinking = match &request.thinking {
        Some(Thinking::Enabled { budget_tokens, other }) => {
            UNKNOWN.members("thinking", other, capabilities::messages, dropped)?;
            return Ok(Some(
                match budget_tokens {
                    ..4096 => "low",
                    4096..16384 => "medium",
                    _ => "high",
                }
                .to_owned(),
            ));
        }
        Some(Thinking::Adaptive { other }) => {
            UNKNOWN.members("thinking", other, capabilities::messages, dropped)?;
            Some("medium")
        }
        // Ways to think that newer models have: the model thinks, somehow.
        Some(Thinking::Other(_)) => {
            dropped.push("thinking.type".to_owned());
            Some("medium")
        }
        Some(Thinking::Disabled) | None => None,
    };
    Ok(match (wanted, &request.thinking) {
        (None, _) => by_thinking,
        // An effort without thoughts is Anthropic's alone.
        (Some(_), Some(Thinking::Disabled)) => {
            dropped.push("output_config.effort".to_owned());
            None
        }
        // One that is newer is a value above the others.
        (Some(effort), _) => Some(if Effort::from_name(effort).is_some() { effort } else { "high" }),
    }
    .map(str::to_owned))
}

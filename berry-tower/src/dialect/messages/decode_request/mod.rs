//! A Messages request, read into the hub's types.

mod param_path;
mod turns;

pub(super) use param_path::param_path;

use super::{Block, Content, CustomTool, Other, OutputConfig, OutputFormat, Request, Thinking, Tool, ToolChoice};
use crate::dialect::{
    hub,
    unsupported::{Rejector, UnsupportedField},
    value::Value,
};

/// How members that chat has no words for are refused.
const UNKNOWN: Rejector = Rejector::new("a translation of this request");

/// Reads a Messages request into the hub's types. Thoughts come with their signatures in
/// `extra_content.anthropic`; `metadata` and `service_tier` are hints.
///
/// # Errors
/// The field, by its name in the Messages request, that only Anthropic has words for.
pub(crate) fn to_hub(request: &Request) -> Result<hub::Request, UnsupportedField> {
    UNKNOWN.members("", &request.other)?;
    let (tool_choice, parallel_tool_calls) = choice(request.tool_choice.as_ref())?;
    let tools = request.tools.iter().flatten().enumerate().map(|(at, it)| tool(it, &format!("tools[{at}]")));
    let tools = tools.collect::<Result<Vec<_>, _>>()?;
    let mut messages: Vec<_> = request.system.as_ref().map(system).transpose()?.flatten().into_iter().collect();
    turns::messages(&request.messages, &mut messages)?;
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
        response_format: form(request)?,
        reasoning_effort: effort(request)?,
        other: user.map(|user| ("user".to_owned(), Value::String(user))).into_iter().collect(),
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

fn tool(tool: &Tool, path: &str) -> Result<hub::Tool, UnsupportedField> {
    let Tool::Custom(CustomTool { name, description, input_schema, strict, other, .. }) = tool else {
        return Err(UNKNOWN.reject(format!("{path}.type")));
    };
    UNKNOWN.members(path, other)?;
    let function = hub::Function {
        name: name.clone(),
        description: description.clone(),
        parameters: Some(input_schema.clone()),
        strict: *strict,
        other: hub::Other::new(),
    };
    Ok(hub::Tool { kind: "function".into(), function: Some(function), other: turns::hints(other) })
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

fn form(request: &Request) -> Result<Option<hub::ResponseFormat>, UnsupportedField> {
    let config = request.output_config.as_ref();
    if let Some(OutputConfig { other, .. }) = config {
        UNKNOWN.members("output_config", other)?;
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

/// How hard the model thinks: by its budget, or by the effort that the answer is to take.
fn effort(request: &Request) -> Result<Option<String>, UnsupportedField> {
    let told = request.output_config.as_ref().and_then(|config| config.effort.as_deref());
    let effort = match &request.thinking {
        Some(Thinking::Enabled { budget_tokens, other }) => {
            thinking_members(other)?;
            Some(match budget_tokens {
                ..4096 => "low",
                4096..16384 => "medium",
                _ => "high",
            })
        }
        Some(Thinking::Adaptive { other }) => {
            thinking_members(other)?;
            Some("medium")
        }
        Some(Thinking::Other(_)) => return Err(UNKNOWN.reject("thinking.type")),
        Some(Thinking::Disabled) | None => None,
    };
    Ok(match (told, &request.thinking) {
        (None, _) | (_, Some(Thinking::Enabled { .. })) => effort,
        // An effort without thoughts is Anthropic's alone.
        (Some(_), Some(Thinking::Disabled)) => return Err(UNKNOWN.reject("output_config.effort")),
        (Some(told @ ("low" | "medium" | "high")), _) => Some(told),
        (Some("xhigh" | "max"), _) => Some("high"),
        (Some(_), _) => return Err(UNKNOWN.reject("output_config.effort")),
    }
    .map(str::to_owned))
}

fn thinking_members(other: &Other) -> Result<(), UnsupportedField> {
    // Others than Anthropic tell summaries of their thoughts and nothing else.
    let is_usual = |(name, value): &(&String, &Value)| *name == "display" && *value == "summarized";
    UNKNOWN.members("thinking", other.iter().filter(|member| !is_usual(member)))
}

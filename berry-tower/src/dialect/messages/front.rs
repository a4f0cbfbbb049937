//! A Messages request, read into the hub's types.

use serde_json::Value;

use super::{Block, Content, CustomTool, OutputConfig, OutputFormat, Request, Thinking, Tool, ToolChoice, turns};
use crate::dialect::{Inexpressible, chat, unknown::Unknown};

/// How members that chat has no words for are refused.
pub(super) const UNKNOWN: Unknown = Unknown::to("a translation of this request");

/// Reads a Messages request into the hub's types. Thoughts come with their signatures in
/// `extra_content.anthropic`; `metadata` and `service_tier` are hints.
///
/// # Errors
/// The field, by its name in the Messages request, that only Anthropic has words for.
///
/// ```
/// use berry_tower::dialect::messages::{Request, to_chat};
///
/// let read = |body: &str| to_chat(&Request::read(body.as_bytes()).unwrap());
/// let chat = read(r#"{"model":"m","max_tokens":9,"system":"Be brief.","messages":[{"role":"user","content":"Hi"}]}"#);
/// assert_eq!(chat.unwrap().messages.len(), 2);
/// let refused = read(r#"{"model":"m","max_tokens":9,"messages":[],"tools":[{"type":"web_search_20250305","name":"w"}]}"#);
/// assert_eq!(refused.unwrap_err().param, "tools[0].type");
/// ```
pub fn to_chat(request: &Request) -> Result<chat::Request, Inexpressible> {
    UNKNOWN.members("", &request.other)?;
    let (tool_choice, parallel_tool_calls) = choice(request.tool_choice.as_ref())?;
    let tools = request.tools.iter().flatten().enumerate().map(|(at, it)| tool(it, &format!("tools[{at}]")));
    let tools = tools.collect::<Result<Vec<_>, _>>()?;
    let mut messages: Vec<_> = request.system.as_ref().map(system).transpose()?.flatten().into_iter().collect();
    turns::messages(&request.messages, &mut messages)?;
    let user = request.metadata.as_ref().and_then(|metadata| metadata.user_id.clone());
    Ok(chat::Request {
        model: request.model.clone(),
        messages,
        stream: request.stream,
        max_completion_tokens: request.max_tokens,
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        stop: request.stop_sequences.clone().filter(|texts| !texts.is_empty()).map(chat::Stop::Many),
        tools: (!tools.is_empty()).then_some(tools),
        tool_choice,
        parallel_tool_calls,
        response_format: form(request)?,
        reasoning_effort: effort(request)?,
        other: user.map(|user| ("user".to_owned(), Value::String(user))).into_iter().collect(),
        ..chat::Request::default()
    })
}

fn system(system: &Content) -> Result<Option<chat::Message>, Inexpressible> {
    let content = match system {
        Content::Text(text) => (!text.is_empty()).then(|| chat::Content::Text(text.clone())),
        Content::Blocks(blocks) => {
            let parts = blocks.iter().enumerate().map(|(at, block)| match block {
                Block::Text { .. } => turns::part(block, &format!("system[{at}]")),
                _ => Err(UNKNOWN.refuse(format!("system[{at}].type"))),
            });
            turns::content(parts.collect::<Result<_, _>>()?)
        }
    };
    let message = |content| chat::Message { role: chat::Role::System, content: Some(content), ..Default::default() };
    Ok(content.map(message))
}

fn tool(tool: &Tool, path: &str) -> Result<chat::Tool, Inexpressible> {
    let Tool::Custom(CustomTool { name, description, input_schema, strict, other, .. }) = tool else {
        return Err(UNKNOWN.refuse(format!("{path}.type")));
    };
    UNKNOWN.members(path, other)?;
    let function = chat::Function {
        name: name.clone(),
        description: description.clone(),
        parameters: Some(input_schema.clone()),
        strict: *strict,
        other: chat::Other::new(),
    };
    Ok(chat::Tool { kind: "function".into(), function: Some(function), other: turns::hints(other) })
}

type Choice = (Option<chat::ToolChoice>, Option<bool>);

fn choice(choice: Option<&ToolChoice>) -> Result<Choice, Inexpressible> {
    let (choice, alone) = match choice {
        None => return Ok((None, None)),
        Some(ToolChoice::Auto { disable_parallel_tool_use: alone }) => {
            (chat::ToolChoice::Mode(chat::ToolMode::Auto), *alone)
        }
        Some(ToolChoice::Any { disable_parallel_tool_use: alone }) => {
            (chat::ToolChoice::Mode(chat::ToolMode::Required), *alone)
        }
        Some(ToolChoice::Tool { name, disable_parallel_tool_use: alone }) => {
            let function = chat::NamedFunction { name: name.clone() };
            (chat::ToolChoice::Named { kind: chat::FunctionKind::Function, function }, *alone)
        }
        Some(ToolChoice::None) => (chat::ToolChoice::Mode(chat::ToolMode::None), None),
        Some(ToolChoice::Other(_)) => return Err(UNKNOWN.refuse("tool_choice")),
    };
    Ok((Some(choice), alone.map(|alone| !alone)))
}

fn form(request: &Request) -> Result<Option<chat::ResponseFormat>, Inexpressible> {
    let config = request.output_config.as_ref();
    if let Some(OutputConfig { other, .. }) = config {
        UNKNOWN.members("output_config", other)?;
    }
    let native = config.and_then(|config| config.format.as_ref()).map(|format| (format, "output_config.format"));
    match native.or(request.output_format.as_ref().map(|format| (format, "output_format"))) {
        None => Ok(None),
        Some((OutputFormat::JsonSchema { schema }, _)) => {
            let (name, schema) = ("answer".to_owned(), Some(schema.clone()));
            let json_schema = chat::JsonSchema { name, description: None, schema, strict: Some(true) };
            Ok(Some(chat::ResponseFormat::JsonSchema { json_schema }))
        }
        Some((OutputFormat::Other(_), path)) => Err(UNKNOWN.refuse(path)),
    }
}

/// How hard the model thinks: by its budget, or by the effort that the answer is to take.
fn effort(request: &Request) -> Result<Option<String>, Inexpressible> {
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
        Some(Thinking::Other(_)) => return Err(UNKNOWN.refuse("thinking.type")),
        Some(Thinking::Disabled) | None => None,
    };
    Ok(match (told, &request.thinking) {
        (None, _) | (_, Some(Thinking::Enabled { .. })) => effort,
        // An effort without thoughts is Anthropic's alone.
        (Some(_), Some(Thinking::Disabled)) => return Err(UNKNOWN.refuse("output_config.effort")),
        (Some(told @ ("low" | "medium" | "high")), _) => Some(told),
        (Some("xhigh" | "max"), _) => Some("high"),
        (Some(_), _) => return Err(UNKNOWN.refuse("output_config.effort")),
    }
    .map(str::to_owned))
}

fn thinking_members(other: &super::Other) -> Result<(), Inexpressible> {
    // Others than Anthropic tell summaries of their thoughts and nothing else.
    let is_usual = |(name, value): &(&String, &Value)| *name == "display" && *value == "summarized";
    UNKNOWN.members("thinking", other.iter().filter(|member| !is_usual(member)))
}

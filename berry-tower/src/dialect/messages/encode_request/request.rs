//! Encodes the request's members beside its turns and tools.

use super::{
    MessagesRequest,
    structured_output::Format,
    thinking::{self, Thought},
    tools::Choice,
    turns,
    unrecognised::UNKNOWN,
};
use crate::dialect::{
    capabilities::{self, Class},
    hub, messages,
    unsupported::UnsupportedField,
    value::Value,
};

/// The limit of output tokens without reasoning where the caller sets none.
const MAX_TOKENS: u64 = 4096;

impl MessagesRequest {
    /// Encodes a request.
    ///
    /// # Errors
    /// The field that Anthropic's format cannot express.
    pub(crate) fn from_hub(chat: &hub::Request) -> Result<Self, UnsupportedField> {
        let mut dropped = refuse_unknown(chat)?;
        let conversation = turns::translate(&chat.messages)?;
        let limit = limit(chat)?;
        let mut choice = Choice::new(chat, &conversation.called, &mut dropped)?;
        let thinking = thinking::wanted(chat, limit)?;
        let wants_thinking = thinking.as_ref().is_some_and(thinking::is_on);
        let can_think = !choice.is_forced() && !conversation.ends_with_assistant && !conversation.lacks_thought;
        let format = Format::new(chat, &mut choice, thinking.is_some() && can_think)?;
        if wants_thinking && choice.is_forced() {
            // A model that thinks cannot be forced to call a tool.
            dropped.push(thinking::field(chat).to_owned());
        }
        let thinking = thinking.filter(|_| can_think && format.tool.is_none());
        let (tools, tool_choice) = choice.into_wire();

        let thinks = thinking.as_ref().is_some_and(thinking::is_on);
        let budget = thinking.as_ref().map_or(0, thinking::budget);
        let (temperature, top_p) = sampling(chat, thinks)?;
        let wire = messages::Request {
            messages: conversation.messages,
            system: conversation.system,
            max_tokens: Some(limit.unwrap_or(MAX_TOKENS.saturating_add(budget))),
            stop_sequences: stop(chat)?,
            top_k: chat.top_k,
            tools: (!tools.is_empty()).then_some(tools),
            tool_choice,
            metadata: user(chat),
            ..messages::Request::default()
        };
        let (output_config, thinking) = (format.native, Thought::new(thinking, chat.reasoning_effort.as_deref()));
        Ok(Self { dropped, wire, thinking, output_config, temperature, top_p, json_tool: format.tool })
    }
}

/// Rejects the first essential member that Anthropic's format lacks; returns the optional ones.
fn refuse_unknown(chat: &hub::Request) -> Result<Vec<String>, UnsupportedField> {
    let none = |name: &str| Err(UNKNOWN.reject(name));
    if chat.n.is_some_and(|n| n != 1) {
        return Err(UnsupportedField::new("n", "Anthropic's models give one answer"));
    }
    if chat.logprobs == Some(true) {
        return none("logprobs");
    }
    if chat.top_logprobs.is_some_and(|n| n != 0) {
        return none("top_logprobs");
    }
    for (name, penalty) in [("presence_penalty", chat.presence_penalty), ("frequency_penalty", chat.frequency_penalty)]
    {
        if penalty.is_some_and(|penalty| penalty != 0.0) {
            return none(name);
        }
    }
    let mut dropped = Vec::new();
    let class = |name: &str, value: &Value| match name {
        // Anthropic's own field.
        "thinking" => Class::Hint,
        _ => capabilities::chat(name, value),
    };
    UNKNOWN.members("", &chat.other, class, &mut dropped)?;
    if let Some(options) = &chat.stream_options {
        UNKNOWN.members("stream_options", &options.other, capabilities::chat, &mut dropped)?;
    }
    Ok(dropped)
}

/// Returns the caller's limit of output tokens.
fn limit(chat: &hub::Request) -> Result<Option<u64>, UnsupportedField> {
    let (name, limit) = match chat.max_completion_tokens {
        Some(limit) => ("max_completion_tokens", Some(limit)),
        None => ("max_tokens", chat.max_tokens),
    };
    if limit == Some(0) { Err(UnsupportedField::new(name, "it must be at least 1")) } else { Ok(limit) }
}

/// Returns temperature and top_p. While it thinks, a model accepts only a temperature of 1 and a top_p of at least 0.95.
fn sampling(chat: &hub::Request, thinks: bool) -> Result<(Option<f64>, Option<f64>), UnsupportedField> {
    if chat.temperature.is_some_and(|t| t < 0.0) {
        return Err(UnsupportedField::new("temperature", "it must not be below 0"));
    }
    if chat.top_p.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
        return Err(UnsupportedField::new("top_p", "it must be in 0 to 1"));
    }
    if thinks {
        return Ok((None, chat.top_p.map(|p| p.max(0.95))));
    }
    Ok((chat.temperature.map(|t| t.min(1.0)), chat.top_p))
}

fn stop(chat: &hub::Request) -> Result<Option<Vec<String>>, UnsupportedField> {
    let (all, many) = match &chat.stop {
        None => return Ok(None),
        Some(hub::Stop::One(one)) => (std::slice::from_ref(one), false),
        Some(hub::Stop::Many(all)) => (all.as_slice(), true),
    };
    if let Some(i) = all.iter().position(|text| text.trim().is_empty()) {
        let param = if many { format!("stop[{i}]") } else { "stop".to_owned() };
        return Err(UnsupportedField::new(param, "Anthropic's models do not stop at mere white space"));
    }
    Ok((!all.is_empty()).then(|| all.to_vec()))
}

/// Returns the user id; one that is too long for Anthropic is dropped.
fn user(chat: &hub::Request) -> Option<messages::Metadata> {
    let user = chat.other.get("user")?.as_str().filter(|user| !user.is_empty() && user.chars().count() <= 256)?;
    Some(messages::Metadata { user_id: Some(user.to_owned()), ..messages::Metadata::default() })
}

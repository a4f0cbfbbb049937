//! What becomes of a request's fields that a backend's format cannot express: one table of three classes.
//!
//! | class | example | the backend |
//! |---|---|---|
//! | hint | `seed` | answers without it |
//! | optional | `context_management` | answers without it, and the response's header `x-berry-dropped` names it |
//! | essential | `n` over 1 | is passed over; where no backend can express it, the request is refused |
//!
//! With a model's `on_unsupported = "refuse"` an optional field is essential.

use super::value::{Object, Value};

/// How much a field means to the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The response does not depend on it: it is dropped in silence.
    Hint,
    /// The response is of use without it: it is dropped and named.
    Optional,
    /// Leaving it out would change what the response means.
    Essential,
}

/// The members of a chat request, beside those that every format has.
const CHAT: [(&str, Class); 70] = [
    // Hints for what the response is like, and for the provider's caches and books.
    ("seed", Class::Hint),
    ("random_seed", Class::Hint),
    ("logit_bias", Class::Hint),
    ("user", Class::Hint),
    ("service_tier", Class::Hint),
    ("prediction", Class::Hint),
    ("store", Class::Hint),
    ("metadata", Class::Hint),
    ("prompt_cache_key", Class::Hint),
    ("prompt_cache_retention", Class::Hint),
    ("prompt_cache_options", Class::Hint),
    ("safety_identifier", Class::Hint),
    ("cache_control", Class::Hint),
    // Offers, and wishes that the model may not fulfil.
    ("web_search_options", Class::Optional),
    ("verbosity", Class::Optional),
    // Fields of other vendors: of routers …
    ("provider", Class::Optional),
    ("transforms", Class::Optional),
    ("route", Class::Optional),
    ("models", Class::Optional),
    ("plugins", Class::Optional),
    ("usage", Class::Optional),
    // … of how a model thinks …
    ("chat_template_kwargs", Class::Optional),
    ("enable_thinking", Class::Optional),
    ("thinking_budget", Class::Optional),
    ("include_reasoning", Class::Optional),
    ("reasoning", Class::Optional),
    ("reasoning_format", Class::Optional),
    ("reasoning_split", Class::Optional),
    ("extra_body", Class::Optional),
    ("thinking", Class::Optional),
    ("think", Class::Optional),
    ("clear_thinking", Class::Optional),
    ("preserve_thinking", Class::Optional),
    ("prompt_mode", Class::Optional),
    ("return_reasoning", Class::Optional),
    ("disable_reasoning", Class::Optional),
    ("separate_reasoning", Class::Optional),
    ("stream_reasoning", Class::Optional),
    ("search_parameters", Class::Optional),
    ("search_mode", Class::Optional),
    ("search_domain_filter", Class::Optional),
    ("search_recency_filter", Class::Optional),
    ("return_images", Class::Optional),
    ("return_related_questions", Class::Optional),
    ("citation_options", Class::Optional),
    ("tool_stream", Class::Optional),
    ("reasoning_history", Class::Optional),
    // … and of sampling.
    ("min_p", Class::Optional),
    ("top_a", Class::Optional),
    ("repetition_penalty", Class::Optional),
    ("safe_prompt", Class::Optional),
    ("keep_alive", Class::Optional),
    ("options", Class::Optional),
    ("mirostat", Class::Optional),
    ("mirostat_tau", Class::Optional),
    ("mirostat_eta", Class::Optional),
    ("mirostat_lr", Class::Optional),
    ("mirostat_target", Class::Optional),
    ("num_ctx", Class::Optional),
    ("num_predict", Class::Optional),
    ("repeat_penalty", Class::Optional),
    ("repeat_last_n", Class::Optional),
    ("typical_p", Class::Optional),
    ("ignore_eos", Class::Optional),
    ("min_tokens", Class::Optional),
    ("skip_special_tokens", Class::Optional),
    ("length_penalty", Class::Optional),
    ("do_sample", Class::Optional),
    ("cache_prompt", Class::Optional),
    ("id_slot", Class::Optional),
];

/// The members of a Messages request, its tools and its `thinking`, beside those that every format has.
const MESSAGES: [(&str, Class); 17] = [
    ("cache_control", Class::Hint),
    ("user_profile_id", Class::Hint),
    // Bedrock and Vertex have these headers in the body.
    ("anthropic_version", Class::Hint),
    ("anthropic_beta", Class::Hint),
    ("betas", Class::Hint),
    // What to do with reasoning of a changed conversation, which goes to Anthropic alone.
    ("block_binding", Class::Hint),
    ("context_management", Class::Optional),
    ("speed", Class::Optional),
    ("thread", Class::Optional),
    ("diagnostics", Class::Optional),
    ("inference_geo", Class::Optional),
    ("eager_input_streaming", Class::Optional),
    ("input_examples", Class::Optional),
    ("allowed_callers", Class::Optional),
    ("defer_loading", Class::Optional),
    ("display", Class::Optional),
    ("task_budget", Class::Optional),
];

/// The members of a Responses request, beside those that are translated, and of its tools. What an agent sends that
/// is newer than this table is named to it, rather than refused.
const RESPONSES: [(&str, Class); 12] = [
    ("stream_options", Class::Hint),
    ("client_metadata", Class::Hint),
    ("prompt_cache_options", Class::Hint),
    ("moderation", Class::Optional),
    ("context_management", Class::Optional),
    ("generate", Class::Optional),
    ("n", Class::Essential),
    ("modalities", Class::Essential),
    ("audio", Class::Essential),
    ("stop", Class::Essential),
    ("seed", Class::Hint),
    ("logit_bias", Class::Hint),
];

/// The members of a tool of a Responses request.
const RESPONSES_TOOL: [(&str, Class); 6] = [
    ("cache_control", Class::Hint),
    ("output_schema", Class::Hint),
    ("defer_loading", Class::Optional),
    ("allowed_callers", Class::Optional),
    ("async", Class::Optional),
    ("input_examples", Class::Optional),
];

/// The class of a Responses request's member.
pub(super) fn responses(name: &str, value: &Value) -> Class {
    match name {
        "n" if *value == Value::from(1) => Class::Hint,
        _ => RESPONSES.iter().find(|(known, _)| *known == name).map_or(Class::Optional, |(_, class)| *class),
    }
}

/// The class of a member of a tool in a Responses request.
pub(super) fn responses_tool(name: &str, value: &Value) -> Class {
    match name {
        // Every tool may be called directly and at once.
        "defer_loading" | "async" if is_neutral(value) => Class::Hint,
        _ => RESPONSES_TOOL.iter().find(|(known, _)| *known == name).map_or(Class::Optional, |(_, class)| *class),
    }
}

/// The class of a chat request's member.
pub(super) fn chat(name: &str, value: &Value) -> Class {
    match name {
        "modalities" if value.as_array().is_some_and(|all| all.iter().all(|one| *one == "text")) => Class::Hint,
        "verbosity" if *value == "medium" => Class::Hint,
        _ => class(&CHAT, name),
    }
}

/// The class of a Messages request's member.
pub(super) fn messages(name: &str, value: &Value) -> Class {
    match name {
        // With something in it, both are tools that the caller relies on.
        "container" | "mcp_servers" if is_neutral(value) => Class::Optional,
        // Other formats have only summaries of the reasoning.
        "display" if *value == "summarized" => Class::Hint,
        _ => class(&MESSAGES, name),
    }
}

fn class(table: &[(&str, Class)], name: &str) -> Class {
    table.iter().find(|(known, _)| *known == name).map_or(Class::Essential, |(_, class)| *class)
}

/// The members of an object that a format lacks: the first that is essential and means something, as an error,
/// or all that are optional.
pub(super) fn lost(
    members: &Object,
    class: impl Fn(&str, &Value) -> Class,
) -> Result<impl Iterator<Item = &str>, &str> {
    let is_essential = |(name, value): &(&String, &Value)| class(name, value) == Class::Essential && !is_neutral(value);
    match members.iter().find(is_essential) {
        Some((name, _)) => Err(name),
        None => Ok(members
            .iter()
            .filter(move |(name, value)| class(name, value) == Class::Optional && !value.is_null())
            .map(|(name, _)| name.as_str())),
    }
}

/// Whether a value says no more than the member's absence.
pub(super) fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.values().all(is_neutral),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_dropped_and_what_is_essential() {
        let members = |text: &str| -> Object { serde_json::from_str(text).unwrap() };
        let dropped =
            members(r#"{"seed":1,"web_search_options":{},"enable_thinking":false,"unknown":null,"min_p":null}"#);
        let names: Vec<_> = lost(&dropped, chat).unwrap().collect();
        assert_eq!(names, ["web_search_options", "enable_thinking"], "an empty value may mean something");
        let refused = members(r#"{"web_search_options":{},"audio":{"voice":"ash"}}"#);
        assert_eq!(lost(&refused, chat).err(), Some("audio"));
        let empty = members(r#"{"container":{},"mcp_servers":[],"speed":"fast"}"#);
        assert_eq!(lost(&empty, messages).unwrap().count(), 3);
        let servers = members(r#"{"mcp_servers":[{"url":"https://x"}]}"#);
        assert_eq!(lost(&servers, messages).err(), Some("mcp_servers"));
    }
}

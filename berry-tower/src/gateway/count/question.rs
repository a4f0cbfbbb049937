//! What a backend is asked for a count, and what it answers.

use bytes::Bytes;
use http::Uri;
use serde_json::{Map, Value, json};

use crate::{
    backend::Backend,
    dialect::{Conversation, Dialect, Target, may_contain_foreign_thinking, without_foreign_thinking},
    endpoint::Endpoint,
    inspect::Requested,
};

/// The API in which the caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// Anthropic's `count_tokens`.
    Messages,
    /// OpenAI's `input_tokens`.
    Responses,
}

/// The fields of a Messages request that its count depends on.
const MESSAGES: [&str; 7] = ["model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"];
/// The fields of a Responses request that its count depends on.
const RESPONSES: [&str; 9] = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "text",
    "truncation",
];
/// A limit above any budget of thinking, for a request that needs one to be translated.
const NO_LIMIT: u64 = 1_000_000;

impl Front {
    pub(super) fn from_path(path: &str) -> Option<Self> {
        match () {
            () if path.ends_with("/messages/count_tokens") => Some(Self::Messages),
            () if path.ends_with("/responses/input_tokens") => Some(Self::Responses),
            () => None,
        }
    }

    /// The endpoint whose requests are counted.
    const fn endpoint(self) -> Endpoint {
        match self {
            Self::Messages => Endpoint::Messages,
            Self::Responses => Endpoint::Responses,
        }
    }

    /// Returns the body of a response with a count.
    pub(super) fn body(self, tokens: u64) -> String {
        match self {
            Self::Messages => format!(r#"{{"input_tokens":{tokens}}}"#),
            Self::Responses => format!(r#"{{"object":"response.input_tokens","input_tokens":{tokens}}}"#),
        }
    }
}

/// A request for a count, in a backend's format.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) uri: Uri,
    pub(super) body: Bytes,
}

impl Question {
    /// Returns the question for a backend; `None` if its format has none, or cannot express the request.
    pub(super) fn new(front: Front, requested: &Requested, body: &Bytes, backend: &Backend) -> Option<Self> {
        let model = &backend.id().model;
        let uri = uri(backend)?;
        let body = match (front, backend.provider().dialect()) {
            (Front::Messages, Dialect::Claude) => {
                let body = requested.with_model(body, model);
                if may_contain_foreign_thinking(&body) { without_foreign_thinking(&body) } else { body }
            }
            (Front::Responses, Dialect::OpenAi) => requested.with_model(body, model),
            (_, Dialect::Claude) => kept(&translated(front, requested, body, Dialect::Claude, model)?, &MESSAGES),
            (_, Dialect::Gemini) => {
                let mut whole: Value =
                    serde_json::from_slice(&translated(front, requested, body, Dialect::Gemini, model)?).ok()?;
                whole["model"] = format!("models/{}", model.strip_prefix("models/").unwrap_or(model)).into();
                json!({ "generateContentRequest": whole }).to_string().into()
            }
            (Front::Messages, Dialect::OpenAi) => {
                kept(&translated(front, requested, body, Dialect::Responses, model)?, &RESPONSES)
            }
            _ => return None,
        };
        Some(Self { uri, body })
    }
}

/// The address that counts: beside the one that answers.
fn uri(backend: &Backend) -> Option<Uri> {
    let provider = backend.provider();
    let (endpoint, cut, end) = match provider.dialect() {
        Dialect::Claude => (Endpoint::Messages, "", "/count_tokens"),
        Dialect::Gemini => (Endpoint::ChatCompletions, ":generateContent", ":countTokens"),
        _ => (Endpoint::Responses, "", "/input_tokens"),
    };
    let uri = provider.uri(endpoint, &backend.id().model, false)?.to_string();
    let (path, query) = uri.split_once('?').map_or((&*uri, None), |(path, query)| (path, Some(query)));
    let mut counts = format!("{}{end}", path.strip_suffix(cut)?);
    if let Some(query) = query {
        counts.push('?');
        counts.push_str(query);
    }
    counts.parse().ok()
}

fn translated(front: Front, requested: &Requested, body: &Bytes, dialect: Dialect, model: &str) -> Option<Bytes> {
    let (nodes, depth) = (requested.nodes(), requested.depth());
    if Conversation::new(front.endpoint(), body.clone()).with_shape(nodes, depth).is_oversized() {
        return None;
    }
    let mut request: Value = serde_json::from_slice(body).ok()?;
    if front == Front::Messages {
        request.as_object_mut()?.entry("max_tokens").or_insert(NO_LIMIT.into());
    }
    let conversation = Conversation::new(front.endpoint(), request.to_string().into()).with_shape(nodes, depth);
    conversation.encode(&Target::new(dialect, model)).ok()
}

/// Returns the object with these members alone.
fn kept(body: &[u8], names: &[&str]) -> Bytes {
    let all: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let kept: Map<_, _> = all.into_iter().filter(|(name, _)| names.contains(&name.as_str())).collect();
    Value::from(kept).to_string().into()
}

/// Reads the count in a backend's response.
pub(super) fn read(body: &[u8]) -> Option<u64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body["input_tokens"].as_u64().or_else(|| body["totalTokens"].as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Provider;
    use std::sync::Arc;

    fn question(front: Front, dialect: Dialect, model: &str, body: &str) -> Option<(String, Value)> {
        let provider = Provider::new("p", "https://host").unwrap().with_dialect(dialect);
        let body = Bytes::copy_from_slice(body.as_bytes());
        let requested = Requested::read(&body).unwrap();
        let question = Question::new(front, &requested, &body, &Backend::new(Arc::new(provider), model))?;
        Some((question.uri.to_string(), serde_json::from_slice(&question.body).unwrap()))
    }

    const MESSAGES: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"thinking":{"type":"enabled","budget_tokens":2048}}"#;

    #[test]
    fn asks_each_format_at_its_own_address() {
        let (uri, body) = question(Front::Messages, Dialect::Claude, "claude-x", MESSAGES).unwrap();
        assert_eq!(uri, "https://host/v1/messages/count_tokens");
        assert_eq!((&body["model"], body.get("max_tokens")), (&json!("claude-x"), None));
        let (uri, body) = question(Front::Messages, Dialect::Gemini, "gemini-x", MESSAGES).unwrap();
        assert_eq!(uri, "https://host/v1beta/models/gemini-x:countTokens");
        let whole = &body["generateContentRequest"];
        assert_eq!(whole["model"], "models/gemini-x");
        assert_eq!(whole["contents"][0]["parts"][0]["text"], "hi");
        let (uri, body) = question(Front::Responses, Dialect::OpenAi, "gpt", r#"{"model":"m","input":"hi"}"#).unwrap();
        assert_eq!(uri, "https://host/v1/responses/input_tokens");
        assert_eq!(body, json!({"model": "gpt", "input": "hi"}));
    }

    #[test]
    fn asks_openai_about_messages_in_responses() {
        let (uri, body) = question(Front::Messages, Dialect::OpenAi, "gpt", MESSAGES).unwrap();
        assert_eq!(uri, "https://host/v1/responses/input_tokens");
        assert_eq!((&body["model"], body.get("max_output_tokens")), (&json!("gpt"), None));
        assert!(body["input"].to_string().contains("hi"), "{body}");
    }

    #[test]
    fn asks_nobody_about_a_body_of_too_many_values() {
        let wide = |values: usize| {
            let list = "1,".repeat(values);
            format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"tools":[{{"name":"f","input_schema":{{"enum":[{list}1]}}}}]}}"#
            )
        };
        for dialect in [Dialect::Gemini, Dialect::OpenAi] {
            assert!(question(Front::Messages, dialect, "x", &wide(1_000)).is_some(), "{dialect:?}");
            assert!(question(Front::Messages, dialect, "x", &wide(1_000_000)).is_none(), "{dialect:?}");
        }
        assert!(question(Front::Messages, Dialect::Claude, "x", &wide(1_000_000)).is_some(), "it is not translated");
    }

    #[test]
    fn asks_nobody_about_what_cannot_be_expressed() {
        let body = r#"{"model":"m","messages":[{"role":"alien","content":"hi"}]}"#;
        assert!(question(Front::Messages, Dialect::Gemini, "gemini-x", body).is_none());
    }
}

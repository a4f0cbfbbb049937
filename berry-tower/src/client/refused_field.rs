//! What a refusal teaches about a backend: a field that it does not accept, the values that it does, or how a Claude
//! model is asked to think. The request is sent again as the backend accepts it.

use http::StatusCode;

use crate::{
    backend::{ClaudeThinking, Effort, Efforts, Lesson, OptionalField, ReasoningHistory},
    classify::ErrorBody,
    dialect::Dialect,
};

/// The fields that are looked for by their names in a refusal. Where a text names both names of the token limit,
/// the first that it names is the refused one.
const FIELDS: [(OptionalField, &str); 8] = [
    (OptionalField::StreamOptions, "stream_options"),
    (OptionalField::MaxCompletionTokens, "max_completion_tokens"),
    (OptionalField::MaxTokens, "max_tokens"),
    (OptionalField::ParallelToolCalls, "parallel_tool_calls"),
    (OptionalField::ReasoningEffort, "reasoning_effort"),
    // Of the Responses API.
    (OptionalField::ReasoningEffort, "reasoning.effort"),
    (OptionalField::Strict, "strict"),
    (OptionalField::User, "user"),
];

/// How servers say that they do not know a field, rather than that its value is wrong.
const UNKNOWN_FIELD: [&str; 13] = [
    // OpenAI
    "unsupported parameter",
    "unrecognized request argument",
    "unknown parameter",
    // pydantic: Mistral, vLLM, Fireworks
    "extra inputs are not permitted",
    "extra fields not permitted",
    // Groq: property 'x' is unsupported
    "is unsupported",
    "not supported",
    // serde: unknown field `x`
    "unknown field",
    "unexpected keyword",
    // Google's endpoint in OpenAI's format: Unknown name "x": Cannot find field.
    "cannot find field",
    // jsonschema: Additional properties are not allowed ('x' was unexpected)
    "additional properties are not allowed",
    "not recognized",
    "unrecognized",
];

/// What stands before the values that a field may have.
const VALUES: [&str; 7] = [
    // OpenAI: Supported values are: 'low', 'medium', and 'high'.
    "supported values are",
    // pydantic: Input should be 'low', 'medium' or 'high'
    "input should be",
    // Groq, Cerebras
    "must be one of",
    // serde: unknown variant `max`, expected one of `low`, `high`
    "expected one of",
    // Anthropic
    "should be one of",
    "allowed values",
    "valid values",
];

/// What a response of a backend of this format teaches, in any of the shapes that were
/// [parsed](super::upstream_error).
pub(super) fn lesson(status: StatusCode, error: &ErrorBody, dialect: Dialect) -> Option<Lesson> {
    if !matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) {
        return None;
    }
    let refusal = Refusal::new(error);
    match dialect {
        Dialect::OpenAi => {
            let efforts = refusal.efforts("reasoning_effort").or_else(|| refusal.efforts("reasoning.effort"));
            let history = || refusal.reasoning_history().map(Lesson::ReasoningHistory);
            efforts.or_else(history).or_else(|| refusal.field().map(Lesson::Refuses))
        }
        Dialect::Claude => refusal.efforts("effort").or_else(|| refusal.thinking().map(Lesson::Thinking)),
        _ => None,
    }
}

/// The parts of an error that name a field.
struct Refusal<'a> {
    code: &'a str,
    param: &'a str,
    message: &'a str,
    /// The message in lower case.
    lower: String,
}

impl<'a> Refusal<'a> {
    fn new(error: &'a ErrorBody) -> Self {
        let message = error.message.as_deref().unwrap_or_default();
        Self {
            code: error.code.as_deref().unwrap_or_default(),
            param: error.param.as_deref().unwrap_or_default(),
            message,
            lower: message.to_ascii_lowercase(),
        }
    }

    fn says(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.lower.contains(phrase))
    }

    fn says_unknown(&self) -> bool {
        matches!(self.code, "unsupported_parameter" | "unknown_parameter") || self.says(&UNKNOWN_FIELD)
    }

    /// Whether a step of the field's path has this name.
    fn is_at(&self, name: &str) -> bool {
        self.param == name || self.param.split(['.', '[', ']']).any(|step| step == name)
    }

    fn names(&self, name: &str) -> bool {
        self.is_at(name) || word(self.message, name).is_some()
    }

    fn field(&self) -> Option<OptionalField> {
        self.written_otherwise().or_else(|| self.unknown())
    }

    fn unknown(&self) -> Option<OptionalField> {
        let by_param = FIELDS.into_iter().find(|(_, name)| self.is_at(name));
        let named = |field: (OptionalField, &'static str)| {
            // `user` is a word of many sentences, and a field where it is quoted or what a sentence is about.
            let at = if field.0 == OptionalField::User {
                quoted(self.message, field.1).or_else(|| at_the_end(self.message, field.1))
            } else {
                word(self.message, field.1)
            };
            Some((at?, field))
        };
        let first = FIELDS.into_iter().filter_map(named).min_by_key(|(at, _)| *at);
        let (field, _) = by_param.or(first.map(|(_, field)| field))?;
        // The gateway puts in `stream_options` by itself, so its name alone is enough.
        (field == OptionalField::StreamOptions || self.says_unknown()).then_some(field)
    }

    /// A part of the request that can be written otherwise.
    fn written_otherwise(&self) -> Option<OptionalField> {
        // llama.cpp and vLLM answer with the words of a model's template, which name no role.
        let is_role = self.is_at("role") || self.lower.contains("role");
        if is_role && (word(self.message, "developer").is_some() || self.lower.contains("unexpected message role")) {
            return Some(OptionalField::DeveloperRole);
        }
        if self.names("tool_choice") && self.says(&["required", "support", "input should be", "must be", "only"]) {
            return (!self.says(&["allowed when", "unknown function"])).then_some(OptionalField::RequiredToolChoice);
        }
        if self.is_message_name() && self.says_unknown() {
            return Some(OptionalField::MessageNames);
        }
        let is_system = word(&self.lower, "system").is_some() || self.lower.contains("system_prompt");
        if is_system
            && self.says(&["beginning", "multiple", "only one", "at most one", "must be first", "first message"])
        {
            return Some(OptionalField::SystemMessages);
        }
        const TEXT: [&str; 6] =
            ["valid string", "expected a string", "must be a string", "be a string", "not a string", "only text"];
        (self.names("content") && self.says(&TEXT)).then_some(OptionalField::TextParts)
    }

    /// What is to become of the reasoning in assistant turns.
    fn reasoning_history(&self) -> Option<ReasoningHistory> {
        let is_in_message = self.param.contains("messages") && self.is_at("reasoning");
        if (is_in_message || self.names("reasoning_content")) && self.says_unknown() {
            return Some(ReasoningHistory::Remove);
        }
        // DeepSeek and Moonshot want it with every tool call.
        const NEEDED: [&str; 3] = ["must be passed back", "missing", "is required"];
        (self.names("reasoning_content") && self.says(&NEEDED)).then_some(ReasoningHistory::ToolCalls)
    }

    /// Whether the name of a message's author is refused.
    fn is_message_name(&self) -> bool {
        let path = |text: &str| text.contains("messages") && word(text, "name").is_some();
        path(self.param) || path(&self.lower)
    }

    /// The values of a field of this name that the text lists.
    fn efforts(&self, name: &str) -> Option<Lesson> {
        if !self.names(name) {
            return None;
        }
        let at = VALUES.iter().filter_map(|phrase| Some(self.lower.find(phrase)? + phrase.len())).min()?;
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = self.lower[at..].split(|c| !is_part(c));
        let efforts: Vec<Effort> = words.filter_map(Effort::from_name).collect();
        (!efforts.is_empty()).then(|| Lesson::Efforts(Efforts::of(&efforts)))
    }

    /// How a Claude model is to be asked to think, according to Anthropic's refusals.
    fn thinking(&self) -> Option<ClaudeThinking> {
        if !self.lower.contains("thinking") {
            return None;
        }
        let is_refused =
            self.says(&["not supported", "does not support", "not match any", "not permitted", "not available"]);
        if !is_refused {
            return None;
        }
        // "thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" …
        let at = |name: &str| self.lower.find(name);
        Some(match (at("enabled").or(at("budget_tokens")), at("adaptive")) {
            (Some(enabled), Some(adaptive)) if enabled < adaptive => ClaudeThinking::Adaptive,
            (_, Some(_)) => ClaudeThinking::Budget,
            (Some(_), None) => ClaudeThinking::Adaptive,
            (None, None) => ClaudeThinking::Off,
        })
    }
}

/// Where a text has a name in quotes.
fn quoted(text: &str, name: &str) -> Option<usize> {
    let is_quoted = |quote: char| text.find(&format!("{quote}{name}{quote}"));
    ['\'', '"', '`'].into_iter().find_map(is_quoted)
}

/// Where a text ends in a colon and a name.
fn at_the_end(text: &str, name: &str) -> Option<usize> {
    let before = text.trim_end_matches(['.', ' ']).strip_suffix(name)?;
    before.ends_with(": ").then_some(before.len())
}

/// Where a text has a name that is no part of a longer one.
fn word(text: &str, name: &str) -> Option<usize> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let stands_alone = |at: &usize| !text[..*at].ends_with(is_part) && !text[at + name.len()..].starts_with(is_part);
    text.match_indices(name).map(|(at, _)| at).find(stands_alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(param: &str, message: &str) -> ErrorBody {
        let error = ErrorBody::default().with_message(message);
        if param.is_empty() { error } else { error.with_param(param) }
    }

    fn openai(param: &str, message: &str) -> Option<Lesson> {
        lesson(StatusCode::BAD_REQUEST, &error(param, message), Dialect::OpenAi)
    }

    #[test]
    fn finds_the_refused_field() {
        for (param, message, expected) in [
            ("", "Unrecognized request argument supplied: stream_options", Some(OptionalField::StreamOptions)),
            ("", "stream_options.include_usage is odd", Some(OptionalField::StreamOptions)),
            (
                "max_tokens",
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                Some(OptionalField::MaxTokens),
            ),
            (
                "",
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                Some(OptionalField::MaxTokens),
            ),
            (
                "max_completion_tokens",
                "max_completion_tokens: Extra inputs are not permitted",
                Some(OptionalField::MaxCompletionTokens),
            ),
            ("user", "user: Extra inputs are not permitted", Some(OptionalField::User)),
            ("", "the user is not supported", None),
            ("", "Unrecognized request argument supplied: user", Some(OptionalField::User)),
            ("", "this name is not supported for the user", None),
            (
                "",
                "Invalid JSON payload received. Unknown name \"parallel_tool_calls\": Cannot find field.",
                Some(OptionalField::ParallelToolCalls),
            ),
            (
                "",
                "Additional properties are not allowed ('reasoning_effort' was unexpected)",
                Some(OptionalField::ReasoningEffort),
            ),
            ("", "The parameter `max_tokens` is not recognized", Some(OptionalField::MaxTokens)),
            (
                "",
                "[{'type': 'extra_forbidden', 'loc': ('body', 'user'), 'msg': 'Extra inputs are not permitted'}]",
                Some(OptionalField::User),
            ),
            ("", "Unknown parameter: 'user'.", Some(OptionalField::User)),
            ("", "unknown field `my_max_tokens`", None),
            ("max_tokens", "max_tokens must be at least 1", None),
            ("messages", "Extra inputs are not permitted", None),
            ("tools.0.function.strict", "Extra inputs are not permitted", Some(OptionalField::Strict)),
            ("tools[0].function.strict", "Extra inputs are not permitted", Some(OptionalField::Strict)),
            ("", "'tools.0.function' : property 'strict' is unsupported", Some(OptionalField::Strict)),
            (
                "",
                "Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool` at line 1",
                Some(OptionalField::DeveloperRole),
            ),
            ("", "Unexpected message role.", Some(OptionalField::DeveloperRole)),
            ("", "'messages.0' : property 'name' is unsupported", Some(OptionalField::MessageNames)),
            ("", "System message must be at the beginning.", Some(OptionalField::SystemMessages)),
            ("messages.0.content", "Input should be a valid string", Some(OptionalField::TextParts)),
            ("", "deepseek-reasoner does not support this tool_choice", Some(OptionalField::RequiredToolChoice)),
            ("tool_choice", "'tool_choice' is only allowed when 'tools' are specified.", None),
        ] {
            assert_eq!(openai(param, message), expected.map(Lesson::Refuses), "{param} {message}");
        }
        let forbidden = lesson(StatusCode::FORBIDDEN, &error("stream_options", ""), Dialect::OpenAi);
        assert_eq!(forbidden, None);
    }

    #[test]
    fn learns_what_becomes_of_reasoning_in_the_history() {
        let (remove, needed) = (ReasoningHistory::Remove, ReasoningHistory::ToolCalls);
        for (param, message, expected) in [
            ("messages.1.assistant.reasoning_content", "Extra inputs are not permitted", Some(remove)),
            ("", "Unknown parameter: 'messages[1].reasoning_content'.", Some(remove)),
            (
                "",
                "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'reasoning_content' is unsupported)]",
                Some(remove),
            ),
            ("messages.1.reasoning", "Extra inputs are not permitted", Some(remove)),
            ("", "The `reasoning_content` in the thinking mode must be passed back to the API.", Some(needed)),
            (
                "",
                "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
                Some(needed),
            ),
            ("", "reasoning_content must be a string", None),
        ] {
            assert_eq!(openai(param, message), expected.map(Lesson::ReasoningHistory), "{param} {message}");
        }
    }

    #[test]
    fn reads_the_efforts_that_a_refusal_lists() {
        let low_and_high = Efforts::of(&[Effort::Low, Effort::High]);
        for message in [
            "Unsupported value: 'reasoning_effort' does not support 'max' with this model. Supported values are: 'low' and 'high'.",
            "`reasoning_effort` must be one of `low` or `high`",
            "reasoning_effort: Input should be 'low' or 'high'",
        ] {
            assert_eq!(openai("", message), Some(Lesson::Efforts(low_and_high)), "{message}");
        }
        let refused =
            openai("reasoning_effort", "Unsupported parameter: 'reasoning_effort' is not supported with this model.");
        assert_eq!(refused, Some(Lesson::Refuses(OptionalField::ReasoningEffort)));
    }

    #[test]
    fn learns_how_a_claude_model_is_asked_to_think() {
        let learned = |message: &str| lesson(StatusCode::BAD_REQUEST, &error("", message), Dialect::Claude);
        for (message, expected) in [
            (
                "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.",
                ClaudeThinking::Adaptive,
            ),
            ("adaptive thinking is not supported on this model", ClaudeThinking::Budget),
            (
                "thinking: Input tag 'adaptive' found using 'type' does not match any of the expected tags: 'disabled', 'enabled'",
                ClaudeThinking::Budget,
            ),
            ("thinking: Extra inputs are not permitted", ClaudeThinking::Off),
            ("'claude-3-5-haiku' does not support thinking.", ClaudeThinking::Off),
        ] {
            assert_eq!(learned(message), Some(Lesson::Thinking(expected)), "{message}");
        }
        let efforts = Efforts::of(&[Effort::Low, Effort::Medium, Effort::High]);
        let listed = "output_config.effort: Input should be 'low', 'medium' or 'high'";
        assert_eq!(learned(listed), Some(Lesson::Efforts(efforts)));
        assert_eq!(learned("messages: thinking blocks must come first"), None);
    }
}

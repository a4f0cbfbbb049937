//! Known providers: a row each, with what their documents say about addresses, keys and requests.

use berry_tower::backend::{Effort, Efforts, OptionalField, ReasoningHistory, RequestOptions, TokenLimit};
use serde::Serialize;

use super::options::{BackendType, Word};

/// A known provider. Every value can be overridden by the provider's own key in the file.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Preset {
    /// The word in the file.
    pub name: &'static str,
    /// The address, with `{region}` and `{project}` for the keys of these names; empty where each customer has
    /// another one.
    pub base_url: &'static str,
    /// The wire format.
    pub backend_type: BackendType,
    /// The header that carries the key, where it is not the format's.
    pub key_header: Option<&'static str>,
    /// Whether there is a key at all; servers of one's own mostly want none.
    pub needs_key: bool,
    /// The version for type `azure`.
    pub api_version: Option<&'static str>,
    /// The address for conversations, where it does not follow from `base_url`.
    pub chat_url: Option<&'static str>,
    /// Models that are reached in another way.
    pub routes: &'static [Route],
    /// What requests may have.
    #[serde(skip)]
    pub options: RequestOptions,
    /// The vendor's document.
    pub source: &'static str,
    /// The day on which the document was read.
    pub checked: &'static str,
}

/// How the models of a provider are reached whose names begin with a text, alone or behind a region and a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Route {
    /// What the names begin with.
    pub models: &'static str,
    /// The wire format.
    pub backend_type: BackendType,
    /// The address, unless the file sets `base_url`.
    pub base_url: Option<&'static str>,
    /// The end of the address in both cases.
    pub suffix: &'static str,
    /// The addresses for conversations, plain and streamed.
    pub chat_urls: Option<(&'static str, &'static str)>,
    /// The `anthropic_version` in the body of requests.
    pub anthropic_version: Option<&'static str>,
}

impl Route {
    /// Whether it is the route of a model.
    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        model.starts_with(self.models) || model.split_once('.').is_some_and(|(_, rest)| rest.starts_with(self.models))
    }
}

/// The day on which all documents were last read.
const CHECKED: &str = "2026-11-30";

/// A provider of OpenAI's format.
const fn openai(name: &'static str, base_url: &'static str, options: RequestOptions, source: &'static str) -> Preset {
    Preset {
        name,
        base_url,
        backend_type: BackendType::OpenAi,
        key_header: None,
        needs_key: true,
        api_version: None,
        chat_url: None,
        routes: &[],
        options,
        source,
        checked: CHECKED,
    }
}

/// A server on this machine.
const fn local(name: &'static str, base_url: &'static str, options: RequestOptions, source: &'static str) -> Preset {
    Preset { needs_key: false, ..openai(name, base_url, options, source) }
}

const ANY: RequestOptions = RequestOptions::new();

/// Options without these fields.
const fn without(mut options: RequestOptions, fields: &[OptionalField]) -> RequestOptions {
    let mut at = 0;
    while at < fields.len() {
        options = options.with_accepted(fields[at], false);
        at += 1;
    }
    options
}

const MAX_TOKENS: RequestOptions = ANY.with_token_limit(TokenLimit::MaxTokens);
const LOW_TO_HIGH: Efforts = Efforts::of(&[Effort::Low, Effort::Medium, Effort::High]);
const NONE_TO_HIGH: Efforts = Efforts::of(&[Effort::None, Effort::Low, Effort::Medium, Effort::High]);

/// The rows, in the order in which `berry-cli presets` shows them.
pub static PRESETS: [Preset; 21] = [
    openai(
        "openai",
        "https://api.openai.com/v1",
        ANY.with_token_limit(TokenLimit::MaxCompletionTokens).with_reasoning_history(ReasoningHistory::Remove),
        "https://platform.openai.com/docs/api-reference/chat/create",
    ),
    Preset {
        backend_type: BackendType::Azure,
        api_version: Some("2024-10-21"),
        ..openai(
            "azure",
            "",
            ANY.with_reasoning_history(ReasoningHistory::Remove),
            "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
        )
    },
    Preset {
        backend_type: BackendType::Claude,
        ..openai("anthropic", "https://api.anthropic.com", ANY, "https://docs.anthropic.com/en/api/messages")
    },
    Preset {
        backend_type: BackendType::Gemini,
        ..openai(
            "gemini",
            "https://generativelanguage.googleapis.com",
            ANY,
            "https://ai.google.dev/api/generate-content",
        )
    },
    openai(
        "mistral",
        "https://api.mistral.ai/v1",
        // Unknown fields are refused with 422; `reasoning_effort` is `none` or `high`.
        without(
            MAX_TOKENS
                .with_efforts(Efforts::of(&[Effort::None, Effort::High]))
                .with_reasoning_history(ReasoningHistory::Remove),
            &[
                OptionalField::StreamOptions,
                OptionalField::User,
                OptionalField::DeveloperRole,
                OptionalField::MessageNames,
            ],
        ),
        "https://docs.mistral.ai/api/",
    ),
    openai(
        "deepseek",
        "https://api.deepseek.com",
        // Turns with tool calls must bring their reasoning back.
        without(
            MAX_TOKENS
                .with_efforts(Efforts::of(&[Effort::Low, Effort::High, Effort::Max]))
                .with_reasoning_history(ReasoningHistory::ToolCalls),
            &[OptionalField::DeveloperRole, OptionalField::TextParts],
        ),
        "https://api-docs.deepseek.com/guides/thinking_mode",
    ),
    openai(
        "groq",
        "https://api.groq.com/openai/v1",
        // `messages[].name` is a 400.
        without(
            ANY.with_token_limit(TokenLimit::MaxCompletionTokens)
                .with_efforts(LOW_TO_HIGH)
                .with_reasoning_history(ReasoningHistory::Remove),
            &[OptionalField::MessageNames],
        ),
        "https://console.groq.com/docs/openai",
    ),
    openai(
        "openrouter",
        "https://openrouter.ai/api/v1",
        ANY.with_efforts(Efforts::of(&[
            Effort::None,
            Effort::Minimal,
            Effort::Low,
            Effort::Medium,
            Effort::High,
            Effort::Xhigh,
        ])),
        "https://openrouter.ai/docs/guides/best-practices/reasoning-tokens",
    ),
    openai(
        "xai",
        "https://api.x.ai/v1",
        ANY.with_token_limit(TokenLimit::MaxCompletionTokens).with_efforts(NONE_TO_HIGH),
        "https://docs.x.ai/developers/model-capabilities/text/reasoning",
    ),
    openai(
        "moonshot",
        "https://api.moonshot.ai/v1",
        // Turns with tool calls must bring their reasoning back; `tool_choice` is `auto` or `none`.
        without(
            ANY.with_reasoning_history(ReasoningHistory::ToolCalls),
            &[OptionalField::DeveloperRole, OptionalField::RequiredToolChoice],
        ),
        "https://platform.moonshot.ai/docs/guide/use-kimi-k2-thinking-model",
    ),
    openai(
        "together",
        "https://api.together.xyz/v1",
        without(MAX_TOKENS.with_efforts(LOW_TO_HIGH), &[OptionalField::DeveloperRole]),
        "https://docs.together.ai/reference/chat-completions-1",
    ),
    openai(
        "fireworks",
        "https://api.fireworks.ai/inference/v1",
        // Unknown fields are refused, `strict` in functions among them.
        without(MAX_TOKENS.with_efforts(NONE_TO_HIGH), &[OptionalField::Strict, OptionalField::DeveloperRole]),
        "https://docs.fireworks.ai/api-reference/post-chatcompletions",
    ),
    openai(
        "cerebras",
        "https://api.cerebras.ai/v1",
        without(
            ANY.with_token_limit(TokenLimit::MaxCompletionTokens)
                .with_efforts(NONE_TO_HIGH)
                .with_reasoning_history(ReasoningHistory::Remove),
            // Only gpt-oss knows the role.
            &[OptionalField::DeveloperRole],
        ),
        "https://inference-docs.cerebras.ai/resources/openai",
    ),
    Preset {
        // There is no version in the path.
        chat_url: Some("{base_url}/chat/completions"),
        ..openai(
            "perplexity",
            "https://api.perplexity.ai",
            without(
                MAX_TOKENS
                    .with_efforts(Efforts::of(&[Effort::Minimal, Effort::Low, Effort::Medium, Effort::High]))
                    .with_reasoning_history(ReasoningHistory::Remove),
                &[OptionalField::DeveloperRole, OptionalField::SystemMessages, OptionalField::StreamOptions],
            ),
            "https://docs.perplexity.ai/docs/sonar/openai-compatibility",
        )
    },
    local(
        "vllm",
        "http://127.0.0.1:8000/v1",
        // Most templates of models do not know the role.
        without(ANY, &[OptionalField::DeveloperRole]),
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
    ),
    local(
        "sglang",
        "http://127.0.0.1:30000/v1",
        without(ANY, &[OptionalField::DeveloperRole]),
        "https://docs.sglang.ai/basic_usage/openai_api_completions.html",
    ),
    local(
        "ollama",
        "http://127.0.0.1:11434/v1",
        // `max_completion_tokens` is ignored, so that an answer would have no limit.
        without(MAX_TOKENS.with_efforts(NONE_TO_HIGH), &[OptionalField::DeveloperRole]),
        "https://docs.ollama.com/api/openai-compatibility",
    ),
    local(
        "llamacpp",
        "http://127.0.0.1:8080/v1",
        // Templates raise an error for a system message behind the first message.
        without(MAX_TOKENS, &[OptionalField::DeveloperRole, OptionalField::SystemMessages]),
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
    ),
    local(
        "lmstudio",
        "http://127.0.0.1:1234/v1",
        without(MAX_TOKENS, &[OptionalField::DeveloperRole]),
        "https://lmstudio.ai/docs/developer/openai-compat",
    ),
    Preset {
        key_header: Some("authorization"),
        routes: &[Route {
            models: "anthropic.",
            backend_type: BackendType::Claude,
            base_url: Some("https://bedrock-mantle.{region}.api.aws"),
            suffix: "/anthropic",
            chat_urls: None,
            anthropic_version: None,
        }],
        ..openai(
            "bedrock",
            "https://bedrock-runtime.{region}.amazonaws.com/openai/v1",
            ANY.with_token_limit(TokenLimit::MaxCompletionTokens).with_efforts(LOW_TO_HIGH),
            "https://docs.aws.amazon.com/bedrock/latest/userguide/bedrock-mantle.html",
        )
    },
    Preset {
        key_header: Some("authorization"),
        chat_url: Some("{base_url}/projects/{project}/locations/{region}/endpoints/openapi/chat/completions"),
        routes: &[
            Route {
                models: "claude",
                backend_type: BackendType::Claude,
                base_url: None,
                suffix: "",
                chat_urls: Some((
                    "{base_url}/projects/{project}/locations/{region}/publishers/anthropic/models/{model}:rawPredict",
                    "{base_url}/projects/{project}/locations/{region}/publishers/anthropic/models/{model}:streamRawPredict",
                )),
                anthropic_version: Some("vertex-2023-10-16"),
            },
            Route {
                models: "gemini",
                backend_type: BackendType::Gemini,
                base_url: None,
                suffix: "",
                chat_urls: Some((
                    "{base_url}/projects/{project}/locations/{region}/publishers/google/models/{model}:generateContent",
                    "{base_url}/projects/{project}/locations/{region}/publishers/google/models/{model}:streamGenerateContent?alt=sse",
                )),
                anthropic_version: None,
            },
        ],
        ..openai(
            "vertex",
            "https://{region}-aiplatform.googleapis.com/v1",
            MAX_TOKENS.with_efforts(LOW_TO_HIGH),
            "https://docs.anthropic.com/en/api/claude-on-vertex-ai",
        )
    },
];

impl Word for &'static Preset {
    fn words() -> impl Iterator<Item = (&'static str, Self)> {
        PRESETS.iter().map(|preset| (preset.name, preset))
    }
}

/// The parts of a request that a provider may refuse, by their keys in `[providers.<id>.accepts]`.
pub const ACCEPTS: [(&str, OptionalField); 9] = [
    ("parallel_tool_calls", OptionalField::ParallelToolCalls),
    ("strict", OptionalField::Strict),
    ("developer", OptionalField::DeveloperRole),
    ("text_parts", OptionalField::TextParts),
    ("user", OptionalField::User),
    ("message_names", OptionalField::MessageNames),
    ("system_messages", OptionalField::SystemMessages),
    ("tool_choice_required", OptionalField::RequiredToolChoice),
    ("stream_options", OptionalField::StreamOptions),
];

/// Returns options as the lines of a file that set them; nothing for those that have their default.
#[must_use]
pub fn lines(options: &RequestOptions) -> Vec<String> {
    let mut lines = Vec::new();
    if options.token_limit() != TokenLimit::default() {
        lines.push(format!("token_limit = \"{}\"", options.token_limit()));
    }
    if options.reasoning_history() != ReasoningHistory::default() {
        lines.push(format!("reasoning_history = \"{}\"", options.reasoning_history()));
    }
    let refused = ACCEPTS.into_iter().filter(|(_, field)| !options.accepts(*field));
    lines.extend(refused.map(|(key, _)| match key {
        "stream_options" => "stream_usage = false".to_owned(),
        key => format!("accepts.{key} = false"),
    }));
    if options.efforts() != Efforts::ALL {
        let names: Vec<_> = options.efforts().iter().map(Effort::name).collect();
        lines.push(format!("accepts.reasoning_effort = {names:?}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_unique_sourced_and_have_addresses() {
        for (at, preset) in PRESETS.iter().enumerate() {
            assert!(!PRESETS[..at].iter().any(|other| other.name == preset.name), "{}", preset.name);
            assert!(preset.source.starts_with("https://") && preset.checked.len() == 10, "{}", preset.name);
            assert_eq!(preset.base_url.is_empty(), preset.name == "azure");
        }
    }

    #[test]
    fn a_route_is_found_by_the_models_name() {
        let bedrock = &PRESETS.iter().find(|preset| preset.name == "bedrock").unwrap().routes[0];
        assert!(bedrock.serves("anthropic.claude-opus-4-8") && bedrock.serves("eu.anthropic.claude-sonnet-5"));
        assert!(!bedrock.serves("openai.gpt-oss-120b"));
    }
}

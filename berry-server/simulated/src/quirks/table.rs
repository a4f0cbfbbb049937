//! The known providers, each with the source of what is said of it.

use super::{ErrorShape, Extra, Part, Quirks, Rule};
use crate::dialect::Dialect;

/// A known provider of OpenAI's format.
const fn openai(name: &'static str, rules: &'static [Rule], errors: ErrorShape, extra: Extra) -> Quirks {
    Quirks { name, dialect: Dialect::OpenAi, rules, errors, extra }
}

const FORBIDDEN: &str = "Extra inputs are not permitted";
/// llama.cpp, vLLM and SGLang pass on the words of a model's template.
const TEMPLATE_ROLE: &str = "Unexpected message role.";

pub(super) static QUIRKS: [Quirks; 21] = [
    // https://platform.openai.com/docs/api-reference/chat/create: reasoning models refuse the older name.
    openai(
        "openai",
        &[
            (
                Part::Member("max_tokens"),
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            ),
            (Part::Reasoning, "Unknown parameter: 'messages[{}].reasoning_content'."),
        ],
        ErrorShape::OpenAi,
        Extra::Nothing,
    ),
    Quirks { dialect: Dialect::Azure, ..openai("azure", &[], ErrorShape::OpenAi, Extra::Nothing) },
    // https://docs.anthropic.com/en/docs/build-with-claude/adaptive-thinking; recorded responses.
    Quirks {
        dialect: Dialect::Claude,
        ..openai(
            "anthropic",
            &[
                (
                    Part::Budget,
                    "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.",
                ),
                (Part::Adaptive, "adaptive thinking is not supported on this model"),
            ],
            ErrorShape::OpenAi,
            Extra::Nothing,
        )
    },
    Quirks { dialect: Dialect::Gemini, ..openai("gemini", &[], ErrorShape::OpenAi, Extra::Nothing) },
    // https://docs.mistral.ai/api/: the schema forbids unknown members; recorded responses.
    openai(
        "mistral",
        &[
            (Part::Member("max_completion_tokens"), FORBIDDEN),
            (Part::Member("stream_options"), FORBIDDEN),
            (Part::Member("user"), FORBIDDEN),
            (Part::Developer, "Input tag 'developer' found using 'role' does not match any of the expected tags"),
            (Part::Name, FORBIDDEN),
            (Part::Reasoning, FORBIDDEN),
            (Part::EffortBeside(&["none", "high"]), "Input should be 'none' or 'high'"),
        ],
        ErrorShape::Pydantic,
        Extra::Mistral,
    ),
    // https://api-docs.deepseek.com/guides/thinking_mode; recorded responses of its deserializer.
    openai(
        "deepseek",
        &[
            (
                Part::Developer,
                "Failed to deserialize the JSON body into the target type: messages[{}].role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`",
            ),
            (
                Part::TextParts,
                "Failed to deserialize the JSON body into the target type: messages[{}].content: invalid type: sequence, expected a string",
            ),
            (Part::CallWithoutReasoning, "The reasoning_content in the thinking mode must be passed back to the API."),
        ],
        ErrorShape::OpenAi,
        Extra::Nothing,
    ),
    // https://console.groq.com/docs/openai: names in messages are a 400; recorded responses.
    openai(
        "groq",
        &[
            (
                Part::Name,
                "'messages.{}' : for 'role:user' the following must be satisfied[('messages.{}' : property 'name' is unsupported)]",
            ),
            (
                Part::Reasoning,
                "'messages.{}' : for 'role:assistant' the following must be satisfied[('messages.{}' : property 'reasoning_content' is unsupported)]",
            ),
            (
                Part::EffortBeside(&["low", "medium", "high"]),
                "`reasoning_effort` must be one of `low`, `medium`, or `high`",
            ),
        ],
        ErrorShape::OpenAi,
        Extra::Groq,
    ),
    // https://openrouter.ai/docs/api-reference/streaming: comments keep the connection open.
    openai("openrouter", &[], ErrorShape::OpenAi, Extra::OpenRouter),
    // https://docs.x.ai/developers/model-capabilities/text/reasoning
    openai(
        "xai",
        &[(
            Part::EffortBeside(&["none", "low", "medium", "high"]),
            "Invalid arguments passed to the model: reasoning_effort must be one of none, low, medium, high",
        )],
        ErrorShape::Text,
        Extra::Nothing,
    ),
    // https://platform.moonshot.ai/docs/guide/use-kimi-k2-thinking-model; recorded responses.
    openai(
        "moonshot",
        &[
            (
                Part::RequiredChoice,
                "Invalid request: tool_choice 'required' is incompatible with thinking enabled, it is not supported",
            ),
            (
                Part::CallWithoutReasoning,
                "thinking is enabled but reasoning_content is missing in assistant tool call message at index {}",
            ),
            (Part::Developer, "Invalid request: unsupported message role 'developer'"),
        ],
        ErrorShape::OpenAi,
        Extra::Nothing,
    ),
    // https://docs.together.ai/reference/chat-completions-1
    openai(
        "together",
        &[(Part::Developer, "Input validation error: messages[{}].role: 'developer' is not supported")],
        ErrorShape::OpenAi,
        Extra::Nothing,
    ),
    // https://docs.fireworks.ai/api-reference/post-chatcompletions: the schema forbids unknown members.
    openai(
        "fireworks",
        &[
            (Part::Strict, "Extra inputs are not permitted, field: 'tools[{}].function.strict'"),
            (Part::Developer, "Extra inputs are not permitted, field: 'messages[{}].role', value: 'developer'"),
        ],
        ErrorShape::Flat,
        Extra::Nothing,
    ),
    // https://inference-docs.cerebras.ai/resources/openai; recorded responses.
    openai(
        "cerebras",
        &[
            (Part::Reasoning, "messages.{}.assistant.reasoning_content: property 'reasoning_content' is unsupported"),
            (Part::Developer, "messages.{}: role 'developer' is not supported"),
        ],
        ErrorShape::Flat,
        Extra::Reasoning,
    ),
    // https://docs.perplexity.ai/docs/sonar/openai-compatibility; recorded responses.
    openai(
        "perplexity",
        &[
            (Part::LateSystem, "Only one system message is supported, at the beginning of the messages"),
            (Part::Developer, "messages[{}].role: 'developer' is not supported"),
        ],
        ErrorShape::OpenAi,
        Extra::Perplexity,
    ),
    // https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    openai("vllm", &[(Part::Developer, TEMPLATE_ROLE)], ErrorShape::Flat, Extra::Vllm),
    // https://docs.sglang.ai/basic_usage/openai_api_completions.html
    openai("sglang", &[(Part::Developer, TEMPLATE_ROLE)], ErrorShape::Flat, Extra::Vllm),
    // https://docs.ollama.com/api/openai-compatibility
    openai("ollama", &[], ErrorShape::OpenAi, Extra::Reasoning),
    // https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md; templates of Qwen models.
    openai(
        "llamacpp",
        &[(Part::LateSystem, "System message must be at the beginning."), (Part::Developer, TEMPLATE_ROLE)],
        ErrorShape::LlamaCpp,
        Extra::LlamaCpp,
    ),
    // https://lmstudio.ai/docs/developer/openai-compat; recorded responses.
    openai(
        "lmstudio",
        &[(Part::Developer, "Invalid 'messages' in payload: role 'developer' is not supported")],
        ErrorShape::Text,
        Extra::Nothing,
    ),
    // https://docs.aws.amazon.com/bedrock/latest/userguide/bedrock-mantle.html
    openai("bedrock", &[], ErrorShape::OpenAi, Extra::Nothing),
    // https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude
    openai("vertex", &[], ErrorShape::OpenAi, Extra::Nothing),
];

//! The meaning of providers' error codes and messages.
//!
//! Codes are compared as a whole. A sentence counts only where it begins as the vendor writes it: a
//! text that a caller can shape, such as a quoted value, must not decide about a backend. Each row
//! names its source; a row without a vendor document comes from the server's own code or from
//! recorded responses in its issue tracker.

use crate::{classify::Class, dialect::Dialect};

/// The cause of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The gateway's account or key, not the request.
    Account,
    /// The provider does not have the model.
    Model,
    /// The request is too long for the model.
    TooLong,
    /// A rate limit of the account.
    RateLimit,
    /// The request alone exceeds a rate limit of the account; another account may take it.
    OverLimitAlone,
    /// The request names something that belongs to another account.
    AccountBound,
    /// The provider failed.
    Server,
    /// The provider's rules forbid the content.
    Content,
}

impl Fault {
    pub(super) const fn class(self) -> Class {
        match self {
            Self::Account => Class::Auth,
            Self::Model => Class::Model,
            Self::TooLong => Class::TooLong,
            Self::RateLimit => Class::RateLimited { retry_after: None },
            // They fail over, and say nothing about the backend.
            Self::OverLimitAlone | Self::AccountBound => Class::EndpointNotServed,
            Self::Server => Class::Server,
            Self::Content => Class::ClientError,
        }
    }
}

/// Values of `code`, `type`, `status` and `details[].reason`, with their source.
const CODES: &[(&str, Fault, &str)] = &[
    // https://platform.openai.com/docs/guides/error-codes
    ("invalid_api_key", Fault::Account, "OpenAI, error codes"),
    ("insufficient_quota", Fault::Account, "OpenAI, error codes"),
    ("billing_hard_limit_reached", Fault::Account, "OpenAI, images API"),
    ("billing_not_active", Fault::Account, "OpenAI, error codes"),
    ("account_deactivated", Fault::Account, "OpenAI, error codes"),
    ("organization_deactivated", Fault::Account, "OpenAI, recorded responses"),
    ("invalid_organization", Fault::Account, "OpenAI, error codes"),
    ("unsupported_country_region_territory", Fault::Account, "OpenAI, error codes"),
    ("model_not_found", Fault::Model, "OpenAI, error codes"),
    ("context_length_exceeded", Fault::TooLong, "OpenAI, error codes"),
    ("invalid_encrypted_content", Fault::AccountBound, "OpenAI, Responses API"),
    ("previous_response_not_found", Fault::AccountBound, "OpenAI, Responses API"),
    // https://docs.anthropic.com/en/api/errors
    ("authentication_error", Fault::Account, "Anthropic, errors; DeepSeek"),
    ("billing_error", Fault::Account, "Anthropic, errors"),
    ("request_too_large", Fault::TooLong, "Anthropic, errors"),
    // https://cloud.google.com/apis/design/errors and google/api/error_reason.proto
    ("API_KEY_INVALID", Fault::Account, "Google, ErrorReason"),
    ("API_KEY_SERVICE_BLOCKED", Fault::Account, "Google, ErrorReason"),
    ("API_KEY_EXPIRED", Fault::Account, "Google, ErrorReason"),
    ("BILLING_DISABLED", Fault::Account, "Google, ErrorReason"),
    ("SERVICE_DISABLED", Fault::Account, "Google, ErrorReason"),
    ("CONSUMER_SUSPENDED", Fault::Account, "Google, ErrorReason"),
    ("CONSUMER_INVALID", Fault::Account, "Google, ErrorReason"),
    ("ACCESS_TOKEN_EXPIRED", Fault::Account, "Google, ErrorReason"),
    // https://learn.microsoft.com/azure/ai-services/openai/reference
    ("DeploymentNotFound", Fault::Model, "Azure OpenAI, reference"),
    // https://console.groq.com/docs/errors and /docs/deprecations
    ("model_decommissioned", Fault::Model, "Groq, deprecations"),
    ("model_terms_required", Fault::Account, "Groq, errors"),
    ("organization_restricted", Fault::Account, "Groq, errors"),
    ("capacity_exceeded", Fault::Server, "Groq, flex processing (498)"),
    // https://help.aliyun.com/zh/model-studio/error-code
    ("Arrearage", Fault::Account, "DashScope, error codes"),
    ("InvalidApiKey", Fault::Account, "DashScope, error codes"),
    ("AccessDenied.Unpurchased", Fault::Account, "DashScope, error codes"),
    ("ModelNotFound", Fault::Model, "DashScope, error codes"),
    ("Model.AccessDenied", Fault::Model, "DashScope, error codes"),
    ("DataInspectionFailed", Fault::Content, "DashScope, error codes"),
    ("data_inspection_failed", Fault::Content, "DashScope, error codes"),
    // https://platform.moonshot.ai/docs/api/chat
    ("exceeded_current_quota_error", Fault::Account, "Moonshot, error codes"),
    ("invalid_authentication_error", Fault::Account, "Moonshot, error codes"),
    ("resource_not_found_error", Fault::Model, "Moonshot, error codes"),
    // https://docs.mistral.ai/api
    ("invalid_model", Fault::Model, "Mistral, recorded responses"),
    // https://api-docs.deepseek.com/quick_start/error_codes
    ("insufficient_balance", Fault::Account, "DeepSeek, error codes"),
    // https://docs.together.ai/docs/error-codes
    ("model_not_available", Fault::Model, "Together, recorded responses"),
    // llama.cpp, tools/server: ERROR_TYPE_EXCEED_CONTEXT_SIZE
    ("exceed_context_size_error", Fault::TooLong, "llama.cpp, server"),
    // https://docs.github.com/rest/models
    ("tokens_limit_reached", Fault::TooLong, "GitHub Models"),
];

/// Codes that count only in this format, since others use the word in a wider sense.
const CODES_BY_DIALECT: &[(Dialect, &str, Fault, &str)] = &[
    // https://ai.google.dev/gemini-api/docs/troubleshooting: location not served, billing not enabled.
    (Dialect::Gemini, "FAILED_PRECONDITION", Fault::Account, "Gemini API, troubleshooting"),
];

/// MiniMax's `base_resp.status_code`: https://platform.minimax.io/docs/api-reference/errorcode
const MINIMAX: &[(i64, Fault)] = &[
    (1002, Fault::RateLimit),
    (1004, Fault::Account),
    (1008, Fault::Account),
    (1026, Fault::Content),
    (1027, Fault::Content),
    (1039, Fault::RateLimit),
    (2013, Fault::Content),
    (2049, Fault::Account),
    (2056, Fault::Account),
];

/// A message that begins with one text and holds another after it.
struct Sentence {
    dialects: &'static [Dialect],
    begins: &'static str,
    holds: &'static str,
    fault: Fault,
}

const OPENAI: &[Dialect] = &[Dialect::OpenAi];
const CLAUDE: &[Dialect] = &[Dialect::Claude];
/// Of vendors with models in both formats.
const BOTH: &[Dialect] = &[Dialect::OpenAi, Dialect::Claude];
const GEMINI: &[Dialect] = &[Dialect::Gemini];

const fn row(dialects: &'static [Dialect], begins: &'static str, holds: &'static str, fault: Fault) -> Sentence {
    Sentence { dialects, begins, holds, fault }
}

const SENTENCES: &[Sentence] = &[
    // OpenAI; vLLM, entrypoints/openai/serving_engine.py
    row(OPENAI, "This model's maximum context length is ", "", Fault::TooLong),
    // vLLM since 0.11, the same file
    row(OPENAI, "'max_tokens' or 'max_completion_tokens' is too large: ", "maximum context length", Fault::TooLong),
    // OpenRouter, recorded responses
    row(OPENAI, "This endpoint's maximum context length is ", "", Fault::TooLong),
    // vLLM since 0.12, entrypoints/renderer.py
    row(OPENAI, "You passed ", "the model's context length is only", Fault::TooLong),
    // vLLM, v1/engine/input_processor.py: `The decoder prompt (length 9) is longer than the maximum model length of 8.`
    row(OPENAI, "The decoder prompt (", "longer than the maximum model length of", Fault::TooLong),
    // SGLang, managers/tokenizer_manager.py
    row(OPENAI, "The input (", "is longer than the model's context length", Fault::TooLong),
    row(OPENAI, "Requested token count exceeds the model's maximum context length", "", Fault::TooLong),
    // llama.cpp, tools/server, before it had a type
    row(OPENAI, "the request exceeds the available context size", "", Fault::TooLong),
    // Mistral, recorded responses
    row(OPENAI, "Prompt contains ", "too large for model with", Fault::TooLong),
    // Fireworks, recorded responses
    row(OPENAI, "The prompt is too long: ", "", Fault::TooLong),
    // xAI, recorded responses
    row(OPENAI, "This model's maximum prompt length is ", "", Fault::TooLong),
    // Text Generation Inference, router/src/validation.rs; Together
    row(OPENAI, "Input validation error: `inputs` ", "must be <=", Fault::TooLong),
    row(OPENAI, "Input validation error: `inputs` must have less than ", " tokens", Fault::TooLong),
    // DashScope, error codes
    row(OPENAI, "Range of input length should be ", "", Fault::TooLong),
    row(OPENAI, "<400> InternalError.Algo.InvalidParameter: Range of input length should be ", "", Fault::TooLong),
    // Moonshot, error codes
    row(OPENAI, "Invalid request: Your request exceeded model token limit", "", Fault::TooLong),
    // Cerebras and Groq, recorded responses
    row(OPENAI, "Please reduce the length of the messages or completion", "", Fault::TooLong),
    // LM Studio, recorded responses
    row(OPENAI, "Trying to keep the first ", "context the overflows", Fault::TooLong),
    row(
        OPENAI,
        "The number of tokens to keep from the initial prompt is greater than the context length",
        "",
        Fault::TooLong,
    ),
    // Ollama, server/routes.go
    row(OPENAI, "the input length exceeds the context length", "", Fault::TooLong),
    row(OPENAI, "model '", "' not found", Fault::Model),
    row(OPENAI, "model \"", "\" not found", Fault::Model),
    // OpenAI and vLLM
    row(OPENAI, "The model `", "` does not exist", Fault::Model),
    row(OPENAI, "The model `", "has been decommissioned", Fault::Model),
    // DeepSeek, recorded responses
    row(OPENAI, "Model Not Exist", "", Fault::Model),
    // Mistral, recorded responses
    row(OPENAI, "Invalid model: ", "", Fault::Model),
    // OpenRouter, errors
    row(OPENAI, "No endpoints found for ", "", Fault::Model),
    row(OPENAI, "Insufficient credits", "", Fault::Account),
    row(OPENAI, "This request requires more credits", "", Fault::Account),
    // xAI, recorded responses
    row(OPENAI, "Incorrect API key provided", "", Fault::Account),
    row(OPENAI, "Your team has either used all available credits", "", Fault::Account),
    row(OPENAI, "Model not found: ", "", Fault::Model),
    // Together, recorded responses
    row(OPENAI, "Unable to access ", "model", Fault::Model),
    // MiniMax, recorded responses
    row(OPENAI, "invalid params, context window exceeds limit", "", Fault::TooLong),
    // OpenAI, recorded responses
    row(OPENAI, "Your input exceeds the context window of this model", "", Fault::TooLong),
    row(OPENAI, "Input tokens exceed the configured limit of ", "", Fault::TooLong),
    // GitHub Copilot, recorded responses
    row(OPENAI, "prompt token count of ", "exceeds the limit of ", Fault::TooLong),
    // Moonshot's coding endpoint, recorded responses
    row(OPENAI, "Your request exceeded model token limit", "", Fault::TooLong),
    row(OPENAI, "Key limit exceeded", "", Fault::Account),
    // DeepSeek, error codes
    row(OPENAI, "Insufficient Balance", "", Fault::Account),
    // DashScope, error codes
    row(OPENAI, "Access denied, please make sure your account is in good standing", "", Fault::Account),
    row(OPENAI, "Model not exist", "", Fault::Model),
    // Fireworks, recorded responses (412)
    row(OPENAI, "Account ", "is suspended, possibly due to reaching the monthly spending limit", Fault::Account),
    // Zhipu and Z.ai, recorded responses (429 with code 1113)
    row(BOTH, "Insufficient balance or no resource package", "", Fault::Account),
    row(BOTH, "余额不足或无可用资源包", "", Fault::Account),
    // Zhipu and Z.ai, error codes (1261)
    row(BOTH, "Prompt exceeds max length", "", Fault::TooLong),
    // OpenAI, images API
    row(OPENAI, "Billing hard limit has been reached", "", Fault::Account),
    // OpenAI, Responses API
    row(OPENAI, "The encrypted content ", "could not be verified", Fault::AccountBound),
    row(OPENAI, "Previous response with id ", "not found", Fault::AccountBound),
    row(OPENAI, "Item with id ", "not found", Fault::AccountBound),
    // Anthropic, recorded responses
    row(CLAUDE, "prompt is too long", "", Fault::TooLong),
    row(CLAUDE, "input length and `max_tokens` exceed context limit", "", Fault::TooLong),
    row(CLAUDE, "Input is too long for requested model", "", Fault::TooLong),
    // Bedrock, API errors of InvokeModel
    row(BOTH, "The provided model identifier is invalid", "", Fault::Model),
    row(CLAUDE, "Invocation of model ID ", "with on-demand throughput isn", Fault::Model),
    row(CLAUDE, "You don't have access to the model with the specified model ID", "", Fault::Model),
    // Anthropic, recorded responses (429): the account has no long context
    row(CLAUDE, "Extra usage is required for long context requests", "", Fault::OverLimitAlone),
    row(CLAUDE, "Your credit balance is too low", "", Fault::Account),
    row(CLAUDE, "You have reached your specified ", "API usage limits", Fault::Account),
    row(CLAUDE, "This organization has been disabled", "", Fault::Account),
    row(CLAUDE, "Your account is disabled", "", Fault::Account),
    // Anthropic, recorded responses: reasoning that another vendor of the format has signed
    row(CLAUDE, "messages.", "Invalid `signature` in `thinking` block", Fault::AccountBound),
    // Gemini API, recorded responses
    row(GEMINI, "The input token count", "exceeds the maximum number of tokens", Fault::TooLong),
    // Vertex, recorded responses
    row(GEMINI, "Unable to submit request because the input token count", "", Fault::TooLong),
    row(GEMINI, "The input token count", "but model only supports up to", Fault::TooLong),
    row(GEMINI, "User location is not supported for the API use", "", Fault::Account),
    row(GEMINI, "API key not valid", "", Fault::Account),
    row(GEMINI, "API key expired", "", Fault::Account),
    // Gemini API, recorded responses (429)
    row(GEMINI, "Your prepayment credits are depleted", "", Fault::Account),
    // Gemini API, recorded responses: reasoning that another project or model has signed
    row(GEMINI, "Corrupted thought signature", "", Fault::AccountBound),
    row(GEMINI, "Thought signature is not valid", "", Fault::AccountBound),
];

/// The prefixes that other servers put before a vendor's sentence.
const PREFIXES: [&str; 3] = [
    // Bedrock, API errors of InvokeModel
    "The model returned the following errors: ",
    "ValidationException: ",
    // LiteLLM, recorded responses
    "litellm.BadRequestError: ",
];

/// The meaning of a code, from any vendor or from this one.
pub(super) fn by_code(dialect: Dialect, code: &str) -> Option<Fault> {
    let of_vendor = CODES_BY_DIALECT.iter().find(|(vendor, known, ..)| *vendor == dialect && *known == code);
    of_vendor.map(|row| row.2).or_else(|| CODES.iter().find(|(known, ..)| *known == code).map(|row| row.1))
}

/// The meaning of MiniMax's number: an unknown one is a failure of the provider, and 0 is no error.
pub(super) fn by_minimax(code: i64) -> Option<Fault> {
    let known = MINIMAX.iter().find(|(known, _)| *known == code).map(|row| row.1);
    (code != 0).then(|| known.unwrap_or(Fault::Server))
}

/// The meaning of a message from a vendor of this format.
pub(super) fn by_sentence(dialect: Dialect, message: &str) -> Option<Fault> {
    let message = PREFIXES.iter().find_map(|prefix| message.strip_prefix(prefix)).unwrap_or(message);
    if message.starts_with("Request too large for ") && OPENAI.contains(&dialect) {
        // https://platform.openai.com/docs/guides/rate-limits; Groq answers so with 413.
        return Some(if asks_for_more_than_the_limit(message) { Fault::OverLimitAlone } else { Fault::RateLimit });
    }
    if OPENAI.contains(&dialect) && message.strip_suffix(" is not a valid model ID").is_some_and(is_one_word) {
        // OpenRouter, recorded responses
        return Some(Fault::Model);
    }
    let says = |row: &&Sentence| {
        row.dialects.contains(&dialect) && message.strip_prefix(row.begins).is_some_and(|rest| rest.contains(row.holds))
    };
    let overflows = || dialect.format().is_context_overflow(message).then_some(Fault::TooLong);
    SENTENCES.iter().find(says).map(|row| row.fault).or_else(overflows)
}

fn is_one_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}

/// Whether `Limit L, Requested R` has a request that could never fit.
fn asks_for_more_than_the_limit(message: &str) -> bool {
    let number = |name: &str| {
        let digits = message.split_once(name)?.1.trim_start();
        digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())].parse::<u64>().ok()
    };
    matches!((number("Limit "), number("Requested ")), (Some(limit), Some(requested)) if requested > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_counts_only_at_the_beginning_and_from_its_vendor() {
        let openai = |text: &str| by_sentence(Dialect::OpenAi, text);
        assert_eq!(openai("This model's maximum context length is 8192 tokens."), Some(Fault::TooLong));
        assert_eq!(openai("invalid value: This model's maximum context length is 8192"), None);
        assert_eq!(openai("prompt is too long: 9 > 8"), None);
        assert_eq!(by_sentence(Dialect::Claude, "prompt is too long: 9 > 8"), Some(Fault::TooLong));
        assert_eq!(openai("The model `x` does not exist or you do not have access to it."), Some(Fault::Model));
        assert_eq!(openai("The model `x` is fine"), None);
        assert_eq!(openai("vendor/x is not a valid model ID"), Some(Fault::Model));
        assert_eq!(openai("You said: x is not a valid model ID"), None);
        let told = "The model returned the following errors: prompt is too long: 9 > 8";
        assert_eq!(by_sentence(Dialect::Claude, told), Some(Fault::TooLong));
    }

    #[test]
    fn knows_the_words_of_accounts_models_and_contexts() {
        let (openai, claude, gemini) = (Dialect::OpenAi, Dialect::Claude, Dialect::Gemini);
        for (dialect, text, fault) in [
            (
                openai,
                "You passed 9000 input tokens and requested 100 output tokens. However, the model's context length is only 8192 tokens",
                Fault::TooLong,
            ),
            (
                openai,
                "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
                Fault::TooLong,
            ),
            (openai, "Input validation error: `inputs` must have less than 4096 tokens. Given: 9000", Fault::TooLong),
            (openai, "Prompt exceeds max length", Fault::TooLong),
            (openai, "Insufficient balance or no resource package. Please recharge.", Fault::Account),
            (claude, "余额不足或无可用资源包,请充值。", Fault::Account),
            (
                openai,
                "Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices.",
                Fault::Account,
            ),
            (openai, "Model not exist.", Fault::Model),
            (claude, "You have reached your specified workspace API usage limits.", Fault::Account),
            (gemini, "Your prepayment credits are depleted. Please go to AI Studio.", Fault::Account),
        ] {
            assert_eq!(by_sentence(dialect, text), Some(fault), "{text}");
        }
        assert_eq!(by_sentence(openai, "Account x is suspended from the list"), None);
    }

    #[test]
    fn distinguishes_a_request_over_the_limit_from_an_exhausted_limit() {
        let says = |text: &str| by_sentence(Dialect::OpenAi, text);
        let of = "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested";
        assert_eq!(says(&format!("{of} 9000")), Some(Fault::OverLimitAlone));
        assert_eq!(says(&format!("{of} 600")), Some(Fault::RateLimit));
        assert_eq!(says("Request too large for gpt-4"), Some(Fault::RateLimit));
        let claude = |text: &str| by_sentence(Dialect::Claude, text);
        let long = "Extra usage is required for long context requests.";
        assert_eq!(claude(long), Some(Fault::OverLimitAlone));
        assert_eq!(claude("This request would exceed your account's rate limit. Please try again later."), None);
    }

    #[test]
    fn rows_are_unique_and_sourced() {
        for (at, (code, _, source)) in CODES.iter().enumerate() {
            assert!(!source.is_empty() && !CODES[..at].iter().any(|row| row.0 == *code), "{code}");
        }
        for (at, row) in SENTENCES.iter().enumerate() {
            let same = |other: &&Sentence| (other.begins, other.holds) == (row.begins, row.holds);
            assert!(SENTENCES[..at].iter().find(same).is_none(), "{}", row.begins);
        }
    }

    #[test]
    fn minimax_numbers() {
        assert_eq!(
            (by_minimax(0), by_minimax(1008), by_minimax(77)),
            (None, Some(Fault::Account), Some(Fault::Server))
        );
    }
}

//! The names of OpenTelemetry's semantic conventions that the gateway uses.
//!
//! The names are those of version 1.42.0 ([`SCHEMA_URL`]). The conventions for generative AI are in development there; a
//! later version that renames them changes this module alone.

/// The schema that the names belong to.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

pub(super) const SERVICE_NAME: &str = "service.name";
pub(super) const SERVICE_VERSION: &str = "service.version";
pub(super) const SERVICE_INSTANCE_ID: &str = "service.instance.id";

pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const ENDUSER_ID: &str = "enduser.id";
pub(super) const HTTP_REQUEST_METHOD: &str = "http.request.method";
pub(super) const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub(super) const HTTP_ROUTE: &str = "http.route";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const URL_PATH: &str = "url.path";
pub(super) const URL_SCHEME: &str = "url.scheme";

pub(super) const OPERATION_NAME: &str = "gen_ai.operation.name";
pub(super) const PROVIDER_NAME: &str = "gen_ai.provider.name";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const REQUEST_STREAM: &str = "gen_ai.request.stream";
pub(super) const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub(super) const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
pub(super) const TOKEN_TYPE: &str = "gen_ai.token.type";
pub(super) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub(super) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub(super) const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
pub(super) const CACHE_CREATION_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
pub(super) const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";

/// The names that no convention has.
pub(super) mod berry {
    pub(in super::super) const ATTEMPT: &str = "berry.attempt";
    pub(in super::super) const ATTEMPTS: &str = "berry.attempts";
    pub(in super::super) const BACKEND: &str = "berry.backend";
    pub(in super::super) const BREAKER: &str = "berry.breaker.state";
    pub(in super::super) const DROPPED_FIELDS: &str = "berry.dropped_fields";
    pub(in super::super) const OUTCOME: &str = "berry.outcome";
    pub(in super::super) const PROVIDER: &str = "berry.provider";
    pub(in super::super) const REASON: &str = "berry.reason";
    pub(in super::super) const REQUEST_ID: &str = "berry.request_id";
    pub(in super::super) const SERVED_MODEL: &str = "berry.served_model";
    pub(in super::super) const STRATEGY: &str = "berry.strategy";
}

/// The names of span events.
pub(super) mod event {
    pub(in super::super) const BREAKER: &str = "breaker";
    pub(in super::super) const FAILOVER: &str = "failover";
    pub(in super::super) const FIRST_TOKEN: &str = "first_token";
    pub(in super::super) const RESUMED: &str = "resumed";
    pub(in super::super) const RETRY: &str = "retry";
}

/// The metrics that have a conventional name, by their own.
pub(super) fn metric_name(own: &'static str) -> &'static str {
    match own {
        "http_request_duration_seconds" => "http.server.request.duration",
        "http_requests_in_flight" => "http.server.active_requests",
        "backend_request_duration_seconds" => "gen_ai.client.operation.duration",
        "backend_time_to_first_token_seconds" => "gen_ai.client.operation.time_to_first_chunk",
        "backend_time_per_output_token_seconds" => "gen_ai.server.time_per_output_token",
        other => other,
    }
}

/// The labels of metrics as attributes: those of conventions where there is one.
pub(super) fn attribute_name(label: &'static str) -> &'static str {
    match label {
        "method" => HTTP_REQUEST_METHOD,
        "path" => HTTP_ROUTE,
        "status" => HTTP_RESPONSE_STATUS_CODE,
        "model" => REQUEST_MODEL,
        "provider" => berry::PROVIDER,
        "kind" => TOKEN_TYPE,
        "class" => ERROR_TYPE,
        other => other,
    }
}

/// The value of [`OPERATION_NAME`] for an endpoint of model requests.
pub(super) fn operation(path: &str) -> &'static str {
    match path.rsplit_once("/v1/").or(path.rsplit_once("/v2/")).map_or(path, |(_, endpoint)| endpoint) {
        "chat/completions" | "messages" | "responses" => "chat",
        "completions" => "text_completion",
        "embeddings" => "embeddings",
        "moderations" => "moderation",
        "rerank" => "rerank",
        _ => "generate_content",
    }
}

/// The value of [`PROVIDER_NAME`] for the host of a provider; `None` for one that the conventions do not name.
pub(super) fn provider_name(host: &str) -> Option<&'static str> {
    const HOSTS: [(&str, &str); 14] = [
        ("openai.com", "openai"),
        ("anthropic.com", "anthropic"),
        ("openai.azure.com", "azure.ai.openai"),
        ("cognitiveservices.azure.com", "azure.ai.openai"),
        ("services.ai.azure.com", "azure.ai.inference"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("amazonaws.com", "aws.bedrock"),
        ("cohere.com", "cohere"),
        ("deepseek.com", "deepseek"),
        ("groq.com", "groq"),
        ("mistral.ai", "mistral_ai"),
        ("perplexity.ai", "perplexity"),
        ("x.ai", "x_ai"),
    ];
    let is_of =
        |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with(['.', '-']));
    HOSTS.iter().find(|(domain, _)| is_of(domain)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_providers_by_their_hosts() {
        for (host, name) in [
            ("api.openai.com", Some("openai")),
            ("my-resource.openai.azure.com", Some("azure.ai.openai")),
            ("us-central1-aiplatform.googleapis.com", Some("gcp.vertex_ai")),
            ("x.ai", Some("x_ai")),
            ("notx.ai", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(provider_name(host), name, "{host}");
        }
    }

    #[test]
    fn names_the_operation_of_every_endpoint() {
        for (path, name) in [
            ("/v1/chat/completions", "chat"),
            ("/v1/messages", "chat"),
            ("/v1/completions", "text_completion"),
            ("/v1/embeddings", "embeddings"),
            ("/v2/rerank", "rerank"),
            ("/v1/images/generations", "generate_content"),
        ] {
            assert_eq!(operation(path), name, "{path}");
        }
    }

    /// The crate of the conventions is generated from them.
    #[test]
    #[expect(deprecated, reason = "the crate marks all GenAI names, which moved to a repository of their own")]
    fn names_are_those_of_the_conventions() {
        use opentelemetry_semantic_conventions::{SCHEMA_URL as THEIRS, attribute as a, metric as m};
        assert_eq!(SCHEMA_URL, THEIRS);
        for (ours, theirs) in [
            (OPERATION_NAME, a::GEN_AI_OPERATION_NAME),
            (PROVIDER_NAME, a::GEN_AI_PROVIDER_NAME),
            (REQUEST_MODEL, a::GEN_AI_REQUEST_MODEL),
            (REQUEST_STREAM, a::GEN_AI_REQUEST_STREAM),
            (RESPONSE_MODEL, a::GEN_AI_RESPONSE_MODEL),
            (TIME_TO_FIRST_CHUNK, a::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK),
            (TOKEN_TYPE, a::GEN_AI_TOKEN_TYPE),
            (INPUT_TOKENS, a::GEN_AI_USAGE_INPUT_TOKENS),
            (OUTPUT_TOKENS, a::GEN_AI_USAGE_OUTPUT_TOKENS),
            (CACHE_READ_TOKENS, a::GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS),
            (CACHE_CREATION_TOKENS, a::GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS),
            (REASONING_TOKENS, a::GEN_AI_USAGE_REASONING_OUTPUT_TOKENS),
            (ERROR_TYPE, a::ERROR_TYPE),
            (ENDUSER_ID, a::ENDUSER_ID),
            (HTTP_REQUEST_METHOD, a::HTTP_REQUEST_METHOD),
            (HTTP_RESPONSE_STATUS_CODE, a::HTTP_RESPONSE_STATUS_CODE),
            (HTTP_ROUTE, a::HTTP_ROUTE),
            (SERVER_ADDRESS, a::SERVER_ADDRESS),
            (SERVER_PORT, a::SERVER_PORT),
            (URL_PATH, a::URL_PATH),
            (URL_SCHEME, a::URL_SCHEME),
            (SERVICE_NAME, "service.name"),
            (SERVICE_VERSION, "service.version"),
            (SERVICE_INSTANCE_ID, "service.instance.id"),
            (metric_name("http_request_duration_seconds"), m::HTTP_SERVER_REQUEST_DURATION),
            (metric_name("http_requests_in_flight"), m::HTTP_SERVER_ACTIVE_REQUESTS),
            (metric_name("backend_request_duration_seconds"), m::GEN_AI_CLIENT_OPERATION_DURATION),
            (crate::observability::metrics::Metric::TokenUsage.name(), m::GEN_AI_CLIENT_TOKEN_USAGE),
            (metric_name("backend_time_to_first_token_seconds"), m::GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK),
            (metric_name("backend_time_per_output_token_seconds"), m::GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN),
        ] {
            assert_eq!(ours, theirs);
        }
    }
}

//! The types of the configuration file: users, providers and models.

use std::num::NonZeroU32;

use http::{HeaderMap, HeaderName};
use indexmap::IndexMap;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;

use berry_tower::backend::{
    AnswerModel, Billing, ClaudeThinking, FallbackPermission, OnUnsupported, OpenAiApi, Probe, RequestOptions,
    Sampling, StreamRecovery,
};
use berry_tower::spend::Price;

use super::database::Database;
use super::key_source::KeySource;
use super::limits::Limits;
use super::options::{BackendType, ResponseStore, Strategy};
use super::presets::Route;
use super::settings::Settings;
use super::store::Store;
use super::teams::Team;
use super::telemetry::Telemetry;

/// A checked configuration. Tables keep the order of the file.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[settings]`
    pub settings: Settings,
    /// `[database]`; without it nothing is recorded, and keys are in the file alone.
    pub database: Option<Database>,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// `[users.<id>]`
    pub users: IndexMap<String, User>,
    /// `[providers.<id>]`
    pub providers: IndexMap<String, Provider>,
    /// `[models.<id>]`
    pub models: IndexMap<String, Model>,
    /// `[responses]`
    pub responses: Responses,
    /// `[teams.<id>]`
    pub teams: IndexMap<String, Team>,
    /// `[prices.<name>]`
    pub prices: IndexMap<String, Price>,
    /// `[store]`
    pub store: Option<Store>,
}

/// `[responses]`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Responses {
    /// Whether `data: [DONE]` ends streams of `/v1/responses`.
    pub done_event: bool,
    /// Where responses are stored.
    pub store: ResponseStore,
    /// The most bytes of all stored responses together.
    pub max_stored_bytes: u64,
}

impl Default for Responses {
    fn default() -> Self {
        Self { done_event: true, store: ResponseStore::Off, max_stored_bytes: 1 << 30 }
    }
}

/// `[users.<id>]`
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// A label for humans; by default the id of the table.
    pub name: String,
    /// The token of the user.
    pub credential: Credential,
    /// Public names or table ids of the models that the user may call; empty = all.
    pub allowed_models: Vec<String>,
    /// Whether the user may make requests.
    pub enabled: bool,
    /// The tags of the backends that the user may use; `admin` also allows `/admin/*`.
    pub tags: Vec<String>,
    /// The time from which the token is rejected.
    pub expires_at: Option<Timestamp>,
    /// `[users.<id>.rate_limit]`
    pub rate_limit: RateLimit,
    /// The id of the user's team.
    pub team: Option<String>,
    /// `[users.<id>.limits]`
    pub limits: Limits,
}

impl User {
    /// Returns whether the user has the tag `admin`.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.tags.iter().any(|tag| tag == "admin")
    }

    /// Returns whether the user may call the model, by its public name or its table id.
    #[must_use]
    pub fn allows(&self, id: &str, name: &str) -> bool {
        let named = |allowed: &String| allowed == id || allowed == name;
        self.allowed_models.is_empty() || self.allowed_models.iter().any(named)
    }
}

/// The token of a user, as text or as a digest.
#[derive(Clone)]
pub enum Credential {
    /// `token`
    Token(SecretString),
    /// `token_sha256`
    Sha256([u8; 32]),
}

impl Credential {
    /// Returns the SHA-256 digest of the token.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        use secrecy::ExposeSecret;
        use sha2::{Digest, Sha256};
        match self {
            Self::Token(token) => Sha256::digest(token.expose_secret()).into(),
            Self::Sha256(digest) => *digest,
        }
    }

    /// Returns the token, unless the file contains only its digest.
    #[must_use]
    pub fn token(&self) -> Option<&SecretString> {
        match self {
            Self::Token(token) => Some(token),
            Self::Sha256(_) => None,
        }
    }
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token([REDACTED])",
            Self::Sha256(_) => "Sha256([REDACTED])",
        })
    }
}

/// `[users.<id>.rate_limit]`. An absent value means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Requests per minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Requests per hour.
    pub requests_per_hour: Option<NonZeroU32>,
    /// Requests per day.
    pub requests_per_day: Option<NonZeroU32>,
    /// Concurrent requests.
    pub max_concurrent_requests: Option<NonZeroU32>,
}

/// `[providers.<id>]`. Values that are absent in the file are copied from `[settings]`.
#[derive(Debug, Clone)]
pub struct Provider {
    /// A label for humans; by default the id of the table.
    pub name: String,
    /// An http or https URL without user, query or fragment, as written.
    pub base_url: String,
    /// The API key; empty = no key is sent.
    pub api_key: SecretString,
    /// The model names of the provider.
    pub models: Vec<String>,
    /// Headers of every request and probe. Their values are marked as sensitive.
    pub headers: HeaderMap,
    /// Whether the provider receives requests.
    pub enabled: bool,
    /// The timeout for the response head of a streamed attempt, in seconds.
    pub timeout_seconds: u64,
    /// The timeout for the response head of another attempt, in seconds.
    pub plain_timeout_seconds: u64,
    /// The timeout for connecting, in seconds.
    pub connect_timeout_seconds: u64,
    /// The maximum number of retries of one request on this provider.
    pub max_retries: u32,
    /// The API of the provider.
    pub backend_type: BackendType,
    /// The API version; always set for the type `azure`.
    pub api_version: Option<String>,
    /// Whether streams request `usage`.
    pub stream_usage: bool,
    /// Whether the client's `user-agent` is appended to the gateway's as a comment.
    pub forward_user_agent: bool,
    /// Whether `traceparent` carries the gateway's span.
    pub propagate_trace: bool,
    /// The maximum number of HTTP/2 connections to the provider.
    pub max_connections: u32,
    /// The row of known providers that the other keys come from.
    pub preset: Option<&'static str>,
    /// Stands for `{region}` in addresses.
    pub region: Option<String>,
    /// Stands for `{project}` in addresses.
    pub project: Option<String>,
    /// The header of the key, where it is not the format's.
    pub key_header: Option<HeaderName>,
    /// The address for plain conversations, where it does not follow from `base_url`.
    pub chat_url: Option<String>,
    /// The address for streamed conversations; `chat_url` without it.
    pub chat_stream_url: Option<String>,
    /// The `anthropic_version` in the body of requests in Anthropic's format.
    pub anthropic_version: Option<String>,
    /// What requests in OpenAI's format may have.
    pub options: RequestOptions,
    /// Where the key comes from, if it is not in the file.
    pub key_source: Option<KeySource>,
    /// Models that are reached in another way.
    pub routes: Vec<ProviderRoute>,
}

/// Another way to reach some of a provider's models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRoute {
    /// The row that it comes from.
    pub route: Route,
    /// The address.
    pub base_url: String,
    /// The addresses for conversations, plain and streamed.
    pub chat_urls: Option<(String, String)>,
}

/// `[models.<id>]`
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The public name, unique over all models.
    pub name: String,
    /// The strategy that picks a backend.
    pub strategy: Strategy,
    /// Whether the model is served.
    pub enabled: bool,
    /// The backends of the model, at least one.
    pub backends: Vec<Backend>,
    /// Public names of the models to try next, in order. They contain no cycle.
    pub fallbacks: Vec<String>,
    /// The endpoints whose requests use this model when they have no `model`; only `moderations`.
    pub default_for: Vec<String>,
    /// How a cut stream is resumed.
    pub stream_recovery: StreamRecovery,
    /// How to handle optional fields that the format of a backend cannot express.
    pub on_unsupported: OnUnsupported,
    /// The name of the model in responses.
    pub answer_model: AnswerModel,
    /// Whether users need permission for the fallbacks that their own requests lead to; `None` as in the settings.
    pub fallback_permission: Option<FallbackPermission>,
}

/// `[[models.<id>.backends]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// The table id of the provider.
    pub provider: String,
    /// One of the provider's `models`.
    pub model: String,
    /// The weight, above 0 and at most 100.
    pub weight: f64,
    /// The priority, 0..=10; lower is preferred.
    pub priority: u8,
    /// Whether the backend receives requests.
    pub enabled: bool,
    /// The tags of users who may use the backend. `premium` marks high cost and does not restrict access.
    pub tags: Vec<String>,
    /// How the provider charges.
    pub billing_mode: Billing,
    /// The kind of health probe.
    pub probe: Probe,
    /// The maximum number of concurrent requests; 0 = no limit.
    pub max_in_flight: u32,
    /// Whether the model continues a prefilled answer.
    pub supports_prefill: bool,
    /// The sampling parameters that a translated request may contain.
    pub sampling: Sampling,
    /// How a translated request enables thinking in a Claude model.
    pub thinking: ClaudeThinking,
    /// Whether text between `<think>` and `</think>` is reasoning.
    pub think_tags: bool,
    /// The format in which an OpenAI-type backend is asked for conversations.
    pub openai_api: OpenAiApi,
    /// What it costs; the table of prices counts if it is absent.
    pub price: Option<Price>,
}

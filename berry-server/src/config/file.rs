//! The configuration file as types: users, providers, models, each key with its unit.

use std::num::NonZeroU32;

use http::HeaderMap;
use indexmap::IndexMap;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;

use berry_tower::backend::{
    Billing, ClaudeThinking, FallbackPermission, OnUnsupported, OpenAiApi, Probe, Sampling, StreamRecovery,
};
use berry_tower::spend::Price;

use super::database::Database;
use super::limits::Limits;
use super::options::{BackendType, Strategy};
use super::settings::Settings;
use super::store::Store;
use super::teams::Team;

/// A whole configuration file, checked. Tables keep the order of the file.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[settings]`
    pub settings: Settings,
    /// `[database]`; without it nothing is recorded, and keys are in the file alone.
    pub database: Option<Database>,
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
}

impl Default for Responses {
    fn default() -> Self {
        Self { done_event: true }
    }
}

/// `[users.<id>]`
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// A label for humans; the table's id when the file gives none.
    pub name: String,
    /// What the user shows.
    pub credential: Credential,
    /// Public names or table ids of models; empty = all.
    pub allowed_models: Vec<String>,
    /// A disabled user is refused.
    pub enabled: bool,
    /// Which tagged backends the user may use; `admin` opens `/admin/*`.
    pub tags: Vec<String>,
    /// The token is refused from this moment on.
    pub expires_at: Option<Timestamp>,
    /// `[users.<id>.rate_limit]`
    pub rate_limit: RateLimit,
    /// The id of the user's team.
    pub team: Option<String>,
    /// `[users.<id>.limits]`
    pub limits: Limits,
}

impl User {
    /// Whether the user has the tag `admin`.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.tags.iter().any(|tag| tag == "admin")
    }

    /// Whether the user's list holds the model, by its public name or its table id.
    #[must_use]
    pub fn allows(&self, id: &str, name: &str) -> bool {
        let named = |allowed: &String| allowed == id || allowed == name;
        self.allowed_models.is_empty() || self.allowed_models.iter().any(named)
    }
}

/// What a user shows: a token that the file holds, or one of which the file holds the digest only.
#[derive(Clone)]
pub enum Credential {
    /// `token`
    Token(SecretString),
    /// `token_sha256`
    Sha256([u8; 32]),
}

impl Credential {
    /// The SHA-256 digest of the token.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        use secrecy::ExposeSecret;
        use sha2::{Digest, Sha256};
        match self {
            Self::Token(token) => Sha256::digest(token.expose_secret()).into(),
            Self::Sha256(digest) => *digest,
        }
    }

    /// The token itself, where the file holds it.
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

/// `[users.<id>.rate_limit]`; what is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Requests in a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Requests in an hour.
    pub requests_per_hour: Option<NonZeroU32>,
    /// Requests in a day.
    pub requests_per_day: Option<NonZeroU32>,
    /// Requests under way at once.
    pub max_concurrent_requests: Option<NonZeroU32>,
}

/// `[providers.<id>]`. What the file leaves out has been filled in from `[settings]`.
#[derive(Debug, Clone)]
pub struct Provider {
    /// A label for humans; the table's id when the file gives none.
    pub name: String,
    /// An http or https URL without user, query or fragment, as written.
    pub base_url: String,
    /// Empty: no key is sent.
    pub api_key: SecretString,
    /// The upstream's names of its models.
    pub models: Vec<String>,
    /// Sent on every call and every probe; the values are marked sensitive.
    pub headers: HeaderMap,
    /// A disabled provider gets no requests.
    pub enabled: bool,
    /// To the head of one streamed attempt, in seconds.
    pub timeout_seconds: u64,
    /// To the head of one plain attempt, in seconds.
    pub plain_timeout_seconds: u64,
    /// To a connection, in seconds.
    pub connect_timeout_seconds: u64,
    /// Attempts after the first on this provider for one request.
    pub max_retries: u32,
    /// The protocol it speaks.
    pub backend_type: BackendType,
    /// Set whenever the type is `azure`.
    pub api_version: Option<String>,
    /// Whether streams are asked for their `usage`.
    pub stream_usage: bool,
    /// Add the caller's `user-agent` to the gateway's, as a comment.
    pub forward_user_agent: bool,
    /// The most HTTP/2 connections to the provider.
    pub max_connections: u32,
}

/// `[models.<id>]`
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The public name, unique over all models.
    pub name: String,
    /// How a backend is picked.
    pub strategy: Strategy,
    /// A disabled model is not served.
    pub enabled: bool,
    /// At least one.
    pub backends: Vec<Backend>,
    /// Public names of other models, tried in order; without cycles.
    pub fallbacks: Vec<String>,
    /// The endpoints whose requests use this model when they name none; only `moderations`.
    pub default_for: Vec<String>,
    /// What becomes of a stream that is cut.
    pub stream_recovery: StreamRecovery,
    /// What happens to optional fields of a request that a backend's format cannot express.
    pub on_unsupported: OnUnsupported,
    /// Whether users need permission for the fallbacks that their own requests lead to; `None` as in the settings.
    pub fallback_permission: Option<FallbackPermission>,
}

/// `[[models.<id>.backends]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// The provider's table id.
    pub provider: String,
    /// One of the provider's `models`.
    pub model: String,
    /// Above 0, at most 100.
    pub weight: f64,
    /// 0..=10; lower is preferred.
    pub priority: u8,
    /// A disabled backend gets no requests.
    pub enabled: bool,
    /// Who may use it; `premium` marks cost and bars nobody.
    pub tags: Vec<String>,
    /// What the provider charges for.
    pub billing_mode: Billing,
    /// How its health is probed.
    pub probe: Probe,
    /// Requests under way at once; 0 = no bound.
    pub max_in_flight: u32,
    /// Whether it continues a given start of an answer.
    pub supports_prefill: bool,
    /// Which sampling parameters a translated request may carry.
    pub sampling: Sampling,
    /// How a translated request tells a Claude model to think.
    pub thinking: ClaudeThinking,
    /// Whether the model writes its thoughts between `<think>` and `</think>`.
    pub think_tags: bool,
    /// The format in which an OpenAI-type backend is asked for conversations.
    pub openai_api: OpenAiApi,
    /// What it costs; the table of prices counts if it is absent.
    pub price: Option<Price>,
}

//! Backends: how a provider is reached, the state that each backend has, the strategies that choose
//! among backends, and the catalogue of models that they serve.

mod catalog;
mod clock;
mod confidence;
mod definition;
mod invalid_provider;
mod key;
#[cfg_attr(not(feature = "client"), allow(dead_code, reason = "only the client reads responses"))]
mod made_ids;
mod model;
mod options;
mod provider;
mod snapshot;
mod state;
pub mod strategy;
mod timeouts;
mod tuning;
mod view;

pub use crate::{
    attempt::BackendId,
    dialect::{ClaudeThinking, Dialect, Effort, Efforts, Sampling},
    health::{HealthChange, Stage},
};
pub use catalog::{Catalog, CatalogRef, CatalogSnapshot, InvalidCatalog};
pub use definition::{Backend, Billing, PREMIUM, Probe};
pub use invalid_provider::InvalidProvider;
pub use key::RotatingKey;
#[cfg(feature = "select")]
pub(crate) use made_ids::IdHash;
pub use model::{AnswerModel, FallbackPermission, Model, OnUnsupported, StreamRecovery};
pub use options::{Lesson, OpenAiApi, OptionalField, ReasoningHistory, RequestOptions, TokenLimit};
pub use provider::{Provider, secret_parts};
pub use snapshot::BackendStateSnapshot;
#[cfg(feature = "select")]
pub(crate) use state::Counted;
pub use state::{BackendState, DEFAULT_COOL_DOWN, ProbeOutcome, Trial};
pub use timeouts::Timeouts;
pub use tuning::{Adjustments, SmartAi, Tuning};
pub use view::View;

//! Backends: how a provider is reached, the state that each backend has, the strategies that choose
//! among backends, and the catalogue of models that they serve.

mod address;
mod catalog;
mod clock;
pub mod confidence;
mod definition;
mod key;
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
    health::{Event as HealthEvent, HealthChange, Recovery, Stage},
};
pub use catalog::{
    AnswerModel, Catalog, CatalogRef, CatalogSnapshot, FallbackPermission, InvalidCatalog, Model, OnUnsupported,
    StreamRecovery,
};
pub use definition::{Backend, Billing, PREMIUM, Probe};
pub use key::RotatingKey;
pub use options::{Lesson, OpenAiApi, OptionalField, ReasoningHistory, RequestOptions, TokenLimit};
pub use provider::{InvalidProvider, Provider, secret_parts};
pub use snapshot::BackendStateSnapshot;
#[cfg(feature = "select")]
pub(crate) use state::Counted;
pub use state::{BackendState, DEFAULT_COOL_DOWN, ProbeOutcome, Trial};
pub use timeouts::Timeouts;
pub use tuning::{Adjustments, SmartAi, Tuning};
pub use view::View;

//! The shape of a response's content.

use super::fault::{Behavior, Fault};
use super::model_request::ModelRequest;

/// The effect of a behaviour on the content of a response, as opposed to its delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) stream: bool,
    pub(super) tokens: Option<usize>,
    pub(super) huge: Option<usize>,
    pub(super) tools: usize,
    pub(super) talks: bool,
    pub(super) reasoning: bool,
    pub(super) no_usage: bool,
    /// The tokens of the prompt that came from a cache.
    pub(super) cached: usize,
    pub(super) refuses: bool,
    pub(super) filtered: bool,
    /// Whether the prompt is refused by policy in a format where that is a response rather than an error.
    pub(super) blocked: bool,
}

impl Shape {
    pub(super) fn of(ask: &ModelRequest, behavior: &Behavior) -> Self {
        Self {
            stream: ask.stream != behavior.has(&Fault::Swap),
            tokens: behavior.tokens,
            huge: behavior.find(|fault| match fault {
                Fault::Huge(bytes) => Some(*bytes),
                _ => None,
            }),
            tools: behavior.tools,
            talks: behavior.talks,
            reasoning: behavior.reasoning,
            no_usage: behavior.has(&Fault::NoUsage),
            cached: behavior.cached,
            refuses: behavior.has(&Fault::Declined),
            filtered: behavior.has(&Fault::Filtered),
            blocked: behavior.has(&Fault::ContentPolicy),
        }
    }
}

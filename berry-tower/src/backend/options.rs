//! Parts of a request that not every provider accepts.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::named::named_enum;

named_enum! {
    /// The format in which a backend of OpenAI's type is asked for conversations.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum OpenAiApi {
        /// The caller's own format where the backend has it, until the backend has shown which one it lacks.
        #[default]
        Auto = "auto",
        /// Chat completions.
        Chat = "chat",
        /// Responses.
        Responses = "responses",
    }
}

/// The format that a backend has been found to need since it was made.
#[derive(Debug, Default)]
pub(super) struct LearntApi(AtomicU8);

impl LearntApi {
    pub(super) fn get(&self) -> OpenAiApi {
        match self.0.load(Ordering::Relaxed) {
            1 => OpenAiApi::Chat,
            2 => OpenAiApi::Responses,
            _ => OpenAiApi::Auto,
        }
    }

    pub(super) fn set(&self, api: OpenAiApi) {
        self.0.store(api as u8, Ordering::Relaxed);
    }
}

/// A part of a request that some providers refuse.
///
/// A backend accepts what its provider accepts, until it has refused it once: see
/// [`Backend::accepts`](super::Backend::accepts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OptionalField {
    /// `stream_options`, by which a stream is asked for its token counts.
    StreamOptions,
    /// `max_completion_tokens`; some providers know the token limit as `max_tokens` only.
    MaxCompletionTokens,
    /// `max_tokens`; newer models know the token limit as `max_completion_tokens` only.
    MaxTokens,
    /// `parallel_tool_calls`.
    ParallelToolCalls,
    /// `reasoning_effort`.
    ReasoningEffort,
    /// `user`.
    User,
    /// `reasoning.summary` of Responses, for which OpenAI wants an organization to be verified.
    ReasoningSummary,
}

impl OptionalField {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The parts of a request that a backend has refused since it was made.
#[derive(Debug, Default)]
pub(super) struct Refusals(AtomicU32);

impl Refusals {
    pub(super) fn contains(&self, field: OptionalField) -> bool {
        self.0.load(Ordering::Relaxed) & field.bit() != 0
    }

    pub(super) fn insert(&self, field: OptionalField) {
        self.0.fetch_or(field.bit(), Ordering::Relaxed);
    }
}

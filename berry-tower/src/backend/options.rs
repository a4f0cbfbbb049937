//! What of OpenAI's format a provider accepts in requests.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use crate::{
    dialect::{ClaudeThinking, Efforts},
    named::named_enum,
};

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
pub(super) struct LearntApi(AtomicU8, AtomicBool);

impl LearntApi {
    pub(super) fn get(&self) -> OpenAiApi {
        match self.0.load(Ordering::Relaxed) {
            1 => OpenAiApi::Chat,
            2 => OpenAiApi::Responses,
            _ => OpenAiApi::Auto,
        }
    }

    pub(super) fn refuses_summary(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }

    pub(super) fn refuse_summary(&self) {
        self.1.store(true, Ordering::Relaxed);
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
    /// `strict` in the functions of `tools`.
    Strict,
    /// Messages with the role `developer`, which is written as `system` instead.
    DeveloperRole,
    /// Text in parts, which is written as one string instead.
    TextParts,
    /// Several system messages, or one that is not the first message; they are joined instead.
    SystemMessages,
    /// A `tool_choice` that requires a call, which is written as `auto` instead.
    RequiredToolChoice,
    /// The authors' names in messages.
    MessageNames,
}

impl OptionalField {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

named_enum! {
    /// The name of the token limit in requests.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum TokenLimit {
        /// The caller's; a translated request has `max_completion_tokens`.
        #[default]
        Unchanged = "unchanged",
        /// `max_tokens`.
        MaxTokens = "max_tokens",
        /// `max_completion_tokens`.
        MaxCompletionTokens = "max_completion_tokens",
    }
}

named_enum! {
    /// What becomes of `reasoning_content` in assistant messages of the history.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum ReasoningHistory {
        /// It stays as the caller sent it; a translated request has none.
        #[default]
        Unchanged = "unchanged",
        /// It is removed.
        Remove = "remove",
        /// Messages with tool calls have it, a blank one if need be; it is removed from all others.
        ToolCalls = "tool_calls",
        /// It is sent in every message that has one, in translated requests, too.
        Keep = "keep",
    }
}

/// What of OpenAI's format a provider accepts, and how a request is written for it.
///
/// By default everything is accepted, and a request stays as the caller sent it.
///
/// ```
/// use berry_tower::backend::{OptionalField, RequestOptions, TokenLimit};
///
/// let options = RequestOptions::new().with_token_limit(TokenLimit::MaxTokens).with_accepted(OptionalField::User, false);
/// assert!(!options.accepts(OptionalField::User));
/// assert!(!options.accepts(OptionalField::MaxCompletionTokens));
/// assert!(options.accepts(OptionalField::Strict));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestOptions {
    refused: u32,
    token_limit: TokenLimit,
    efforts: Efforts,
    reasoning_history: ReasoningHistory,
}

impl RequestOptions {
    /// Returns the options of a provider that accepts everything.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            refused: 0,
            token_limit: TokenLimit::Unchanged,
            efforts: Efforts::ALL,
            reasoning_history: ReasoningHistory::Unchanged,
        }
    }

    /// Sets whether requests may have this field.
    #[must_use]
    pub const fn with_accepted(mut self, field: OptionalField, accepted: bool) -> Self {
        if accepted {
            self.refused &= !field.bit();
        } else {
            self.refused |= field.bit();
        }
        self
    }

    /// Sets the name of the token limit.
    #[must_use]
    pub const fn with_token_limit(mut self, token_limit: TokenLimit) -> Self {
        self.token_limit = token_limit;
        self
    }

    /// Sets the values of `reasoning_effort` that are accepted; others become the nearest of them.
    #[must_use]
    pub const fn with_efforts(mut self, efforts: Efforts) -> Self {
        self.efforts = efforts;
        self
    }

    /// Sets what becomes of `reasoning_content` in the history.
    #[must_use]
    pub const fn with_reasoning_history(mut self, history: ReasoningHistory) -> Self {
        self.reasoning_history = history;
        self
    }

    /// Whether requests may have this field.
    #[must_use]
    pub const fn accepts(&self, field: OptionalField) -> bool {
        let by_limit = match field {
            OptionalField::MaxTokens => matches!(self.token_limit, TokenLimit::MaxCompletionTokens),
            OptionalField::MaxCompletionTokens => matches!(self.token_limit, TokenLimit::MaxTokens),
            OptionalField::ReasoningEffort => self.efforts.is_empty(),
            _ => false,
        };
        self.refused & field.bit() == 0 && !by_limit
    }

    /// The name of the token limit.
    #[must_use]
    pub const fn token_limit(&self) -> TokenLimit {
        self.token_limit
    }

    /// The values of `reasoning_effort` that are accepted.
    #[must_use]
    pub const fn efforts(&self) -> Efforts {
        self.efforts
    }

    /// What becomes of `reasoning_content` in the history.
    #[must_use]
    pub const fn reasoning_history(&self) -> ReasoningHistory {
        self.reasoning_history
    }
}

/// What a backend's refusals have taught about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lesson {
    /// It does not accept this field.
    Refuses(OptionalField),
    /// It accepts these values of `reasoning_effort` only.
    Efforts(Efforts),
    /// A Claude model is to be asked to think in this way.
    Thinking(ClaudeThinking),
    /// `reasoning_content` in the history is to be written in this way.
    ReasoningHistory(ReasoningHistory),
}

/// What a backend has refused since it was made.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    fields: AtomicU32,
    /// Zero while nothing is known.
    efforts: AtomicU8,
    /// One more than the position in [`ClaudeThinking::ALL`]; zero while nothing is known.
    thinking: AtomicU8,
    /// One more than the position in [`ReasoningHistory::ALL`]; zero while nothing is known.
    reasoning_history: AtomicU8,
}

impl Refusals {
    pub(super) fn contains(&self, field: OptionalField) -> bool {
        self.fields.load(Ordering::Relaxed) & field.bit() != 0
    }

    pub(super) fn efforts(&self) -> Option<Efforts> {
        Some(Efforts::from_bits(self.efforts.load(Ordering::Relaxed))).filter(|efforts| !efforts.is_empty())
    }

    pub(super) fn thinking(&self) -> Option<ClaudeThinking> {
        let known = usize::from(self.thinking.load(Ordering::Relaxed));
        ClaudeThinking::ALL.get(known.checked_sub(1)?).copied()
    }

    pub(super) fn reasoning_history(&self) -> Option<ReasoningHistory> {
        let known = usize::from(self.reasoning_history.load(Ordering::Relaxed));
        ReasoningHistory::ALL.get(known.checked_sub(1)?).copied()
    }

    pub(super) fn learn(&self, lesson: Lesson) {
        match lesson {
            Lesson::Refuses(field) => {
                self.fields.fetch_or(field.bit(), Ordering::Relaxed);
            }
            Lesson::Efforts(efforts) => self.efforts.store(efforts.bits(), Ordering::Relaxed),
            Lesson::Thinking(thinking) => self.thinking.store(thinking as u8 + 1, Ordering::Relaxed),
            Lesson::ReasoningHistory(history) => self.reasoning_history.store(history as u8 + 1, Ordering::Relaxed),
        }
    }
}

//! The backend that a request is translated for, and the format that it speaks.

use super::effort::Efforts;
use crate::named::named_enum;

/// The wire format that a provider speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI's format, and that of every provider compatible with it.
    #[default]
    OpenAi,
    /// Anthropic's Messages.
    Claude,
    /// Google's `generateContent`.
    Gemini,
    /// OpenAI's Responses.
    Responses,
}

impl Dialect {
    /// Every format, in the order of [`index`](Self::index).
    pub(super) const ALL: [Self; 4] = [Self::OpenAi, Self::Claude, Self::Gemini, Self::Responses];

    /// The position of the format in tables.
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

named_enum! {
    /// The sampling parameters that a backend accepts. Newer models of Anthropic's refuse `temperature` and
    /// `top_p` together, or either.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Sampling {
        /// `temperature` and `top_p`, as the request has them.
        #[default]
        All = "all",
        /// `temperature`, or `top_p` where the request has no temperature.
        Temperature = "temperature",
        /// Neither.
        None = "none",
    }
}

named_enum! {
    /// The way in which a Claude model is asked to think.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum ClaudeThinking {
        /// By the model's family: newer ones take only adaptive thinking, older ones only a budget.
        #[default]
        Auto = "auto",
        /// With a budget of tokens.
        Budget = "budget",
        /// Adaptively, with an effort.
        Adaptive = "adaptive",
        /// The model is not asked to think.
        Off = "off",
    }
}

/// The backend that a translated request is for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) model: &'a str,
    pub(crate) sampling: Sampling,
    pub(crate) stream: bool,
    pub(crate) usage: bool,
    pub(crate) think_tags: bool,
    pub(crate) thinking: ClaudeThinking,
    pub(crate) provider: &'a str,
    pub(crate) seed: u128,
    pub(crate) reasoning_summary: bool,
    pub(crate) efforts: Efforts,
    pub(crate) reasoning: bool,
    pub(crate) signed_reasoning: bool,
}

impl<'a> Target<'a> {
    /// A plain request to the `model` of a backend that speaks `dialect`.
    #[must_use]
    pub const fn new(dialect: Dialect, model: &'a str) -> Self {
        Self {
            dialect,
            model,
            sampling: Sampling::All,
            stream: false,
            usage: true,
            think_tags: false,
            thinking: ClaudeThinking::Auto,
            provider: "",
            seed: 0,
            reasoning_summary: true,
            efforts: Efforts::ALL,
            reasoning: false,
            signed_reasoning: true,
        }
    }

    /// Sets whether a backend of Responses is asked for summaries of its reasoning; by default it is.
    #[must_use]
    pub const fn with_reasoning_summary(mut self, summary: bool) -> Self {
        self.reasoning_summary = summary;
        self
    }

    /// Sets the id of the backend's provider: reasoning that another backend has signed is left out.
    #[must_use]
    pub const fn with_provider(mut self, provider: &'a str) -> Self {
        self.provider = provider;
        self
    }

    /// Sets the random number from which the ids of a response are made whose format has ids of its own.
    #[must_use]
    pub const fn with_seed(mut self, seed: u128) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the efforts that a Claude model accepts; all by default.
    #[must_use]
    pub const fn with_efforts(mut self, efforts: Efforts) -> Self {
        self.efforts = efforts;
        self
    }

    /// Sets whether a request of OpenAI's format has the reasoning of earlier turns as `reasoning_content`; by
    /// default it has not.
    #[must_use]
    pub const fn with_reasoning(mut self, reasoning: bool) -> Self {
        self.reasoning = reasoning;
        self
    }

    /// Sets whether the request has the reasoning of earlier turns that Anthropic or Google has signed; by default it
    /// has.
    #[must_use]
    pub const fn with_signed_reasoning(mut self, signed: bool) -> Self {
        self.signed_reasoning = signed;
        self
    }

    /// Sets the sampling parameters that the backend accepts; all by default.
    #[must_use]
    pub const fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// Sets the way in which a Claude model is asked to think; by its family by default.
    #[must_use]
    pub const fn with_thinking(mut self, thinking: ClaudeThinking) -> Self {
        self.thinking = thinking;
        self
    }

    /// Sets whether the model writes its thoughts between `<think>` and `</think>`; by default it does not.
    #[must_use]
    pub const fn with_think_tags(mut self, think_tags: bool) -> Self {
        self.think_tags = think_tags;
        self
    }

    /// Sets whether the response is streamed; by default it is not.
    #[must_use]
    pub const fn with_stream(mut self, stream: bool) -> Self {
        self.stream = stream;
        self
    }

    /// Sets whether a stream of OpenAI's format is asked for its token counts; by default it is.
    #[must_use]
    pub const fn with_usage(mut self, usage: bool) -> Self {
        self.usage = usage;
        self
    }
}

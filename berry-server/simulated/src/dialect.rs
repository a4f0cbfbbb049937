//! The wire formats of simulated providers. Each is implemented in a sibling module.

/// A provider's wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI's: chat, completions, responses, embeddings, moderations, images and speech.
    #[default]
    OpenAi,
    /// OpenAI's at Azure's addresses, with Azure's key header, versions and errors.
    Azure,
    /// Anthropic's Messages.
    Claude,
    /// Google's `generateContent` and `streamGenerateContent`.
    Gemini,
}

impl Dialect {
    /// Returns the `backend_type` of such providers in a configuration of the gateway.
    #[must_use]
    pub const fn backend_type(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::Claude => "claude",
            Self::Gemini => "gemini",
        }
    }
}

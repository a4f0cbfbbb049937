//! The error body of an upstream.

use super::Class;
use crate::endpoint::Endpoint;

/// An upstream's error body, parsed once. It is an extension of the response that it came with.
///
/// ```
/// use berry_tower::classify::ErrorBody;
///
/// let error = ErrorBody::default().with_code("context_length_exceeded").with_message("too many tokens");
/// assert!(error.is_too_long());
/// assert_eq!(error.message.as_deref(), Some("too many tokens"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorBody {
    /// The endpoint that was called, if it is a known one.
    pub endpoint: Option<Endpoint>,
    /// `error.type`.
    pub kind: Option<String>,
    /// `error.code`; a number as its decimal digits.
    pub code: Option<String>,
    /// `error.param`.
    pub param: Option<String>,
    /// `error.message`.
    pub message: Option<String>,
    /// The first `reason` in Google's `error.details[]`.
    pub reason: Option<String>,
    /// The class that the reader of the vendor's format found. It goes before status and codes.
    pub class: Option<Class>,
}

impl ErrorBody {
    /// Sets `error.type`.
    #[must_use]
    pub fn with_kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Sets `error.code`.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Sets `error.param`.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Sets `error.message`.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Sets the first `reason` in Google's `error.details[]`.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Sets the class that the reader of the vendor's format found.
    #[must_use]
    pub fn with_class(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    pub(super) fn says(&self, word: &str) -> bool {
        [&self.code, &self.kind, &self.reason].into_iter().flatten().any(|w| w == word)
    }

    /// Whether the request is too long for the model.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.class == Some(Class::TooLong) || self.says("context_length_exceeded")
    }

    /// Whether this one request is larger than a rate limit of tokens allows at all. OpenAI answers
    /// such a request with 429 and the type `tokens`, as it does when the account's tokens are used
    /// up; only the text distinguishes the two.
    #[must_use]
    pub fn is_oversized(&self) -> bool {
        self.says("tokens") && self.message.as_deref().is_some_and(|text| text.starts_with("Request too large"))
    }

    /// Whether the provider's rules forbid the request's content.
    #[must_use]
    pub fn is_content_policy(&self) -> bool {
        ["content_policy_violation", "content_filter", "moderation_blocked", "safety_violation"]
            .iter()
            .any(|w| self.says(w))
    }

    /// Whether the upstream said that it is overloaded, rather than broken.
    #[must_use]
    pub fn is_overload(&self) -> bool {
        ["overloaded_error", "overloaded", "engine_overloaded", "UNAVAILABLE"].iter().any(|w| self.says(w))
    }
}

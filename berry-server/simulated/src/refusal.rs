//! Error responses, independent of the wire format.

use std::borrow::Cow;

/// An error response: its status and the fields of its body.
///
/// The dialect renders it in the provider's error shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The error's `type`.
    pub kind: Cow<'static, str>,
    /// The error's `code`, or null.
    pub code: Option<Cow<'static, str>>,
    /// The field of the request that is wrong, or null.
    pub param: Option<Cow<'static, str>>,
    /// The message.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// Returns an error without `code` and `param`.
    ///
    /// ```
    /// use berry_simulated::Refusal;
    ///
    /// let refusal = Refusal::new(409, "conflict_error", "The file is in use.").code("file_in_use");
    /// assert_eq!(refusal.code.as_deref(), Some("file_in_use"));
    /// ```
    pub fn new(status: u16, kind: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, kind: kind.into(), code: None, param: None, message: message.into() }
    }

    /// Sets the error's `code`.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Sets the error's `param`.
    #[must_use]
    pub fn param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Returns a provider's usual error with this status.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 => Self::bad_key(),
            402 => Self::invalid("Your account has no credit left.").with_status(402),
            403 => Self::new(403, "permission_error", "This key may not use this model.").code("permission_denied"),
            404 => Self::unknown_model("sim"),
            408 => Self::new(408, "timeout", "The request took too long to arrive."),
            429 => Self::new(429, "requests", "Rate limit reached for requests per minute. Please try again later.")
                .code("rate_limit_exceeded"),
            529 => Self::new(529, "overloaded_error", "Overloaded"),
            503 => Self::new(503, "server_error", "The service is unavailable right now."),
            500..=599 => Self::new(status, "server_error", "The server had an error while processing your request."),
            _ => Self::invalid("The request was refused.").with_status(status),
        }
    }

    pub(super) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    pub(super) fn bad_key() -> Self {
        Self::invalid("Incorrect API key provided.").with_status(401).code("invalid_api_key")
    }

    pub(super) fn unknown_model(model: &str) -> Self {
        Self::invalid(format!("The model `{model}` does not exist or you do not have access to it."))
            .with_status(404)
            .code("model_not_found")
            .param("model")
    }

    pub(super) fn context_length() -> Self {
        Self::invalid("This model's maximum context length is 8192 tokens. Please reduce the length of the messages.")
            .code("context_length_exceeded")
            .param("messages")
    }

    pub(super) fn content_policy() -> Self {
        Self::invalid("Your request was rejected as a result of our safety system.").code("content_policy_violation")
    }

    pub(super) fn quota() -> Self {
        Self::new(
            429,
            "insufficient_quota",
            "You exceeded your current quota, please check your plan and billing details.",
        )
        .code("insufficient_quota")
    }

    pub(super) fn previous_response_not_found(id: &str) -> Self {
        Self::invalid(format!("Previous response with id '{id}' not found."))
            .code("previous_response_not_found")
            .param("previous_response_id")
    }

    pub(super) fn tools_need_responses(model: &str) -> Self {
        Self::invalid(format!(
            "Function tools with reasoning_effort are not supported for {model} in /v1/chat/completions. To use function \
             tools, use /v1/responses or set reasoning_effort to 'none'."
        ))
        .param("reasoning_effort")
    }

    pub(super) fn overloaded() -> Self {
        Self::new(503, "overloaded_error", "The engine is currently overloaded, please try again later.")
            .code("server_is_overloaded")
    }

    pub(super) fn unsupported(field: &'static str, advice: &str) -> Self {
        Self::invalid(format!("Unsupported parameter: '{field}' is not supported with this model.{advice}"))
            .code("unsupported_parameter")
            .param(field)
    }

    pub(super) fn broken() -> Self {
        Self::new(500, "server_error", "The server had an error while processing your request. Sorry about that!")
    }
}

//! The shape of refusals: that of the API that was called.

use berry_tower::render::{AnthropicErrors, ApiErrors, Refusal, Render, RequestSummary};
use bytes::Bytes;
use http::Response;

/// Whose shape a refusal has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Errors {
    OpenAi,
    Anthropic,
}

impl Render for Errors {
    fn render(&self, refusal: Refusal, request: &RequestSummary) -> Response<Bytes> {
        match self {
            // Anthropic's for a caller with `anthropic-version`.
            Self::OpenAi => ApiErrors.render(refusal, request),
            Self::Anthropic => AnthropicErrors.render(refusal, request),
        }
    }
}

//! The JSON shape of error responses: that of the API that was called.

use berry_tower::render::{AnthropicErrors, ApiErrors, Refusal, Render, RequestSummary};
use bytes::Bytes;
use http::Response;

/// The API whose error shape a refusal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorShape {
    /// OpenAI's, or Anthropic's for a caller that sends `anthropic-version`.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

impl Render for ErrorShape {
    fn render(&self, refusal: Refusal, request: &RequestSummary) -> Response<Bytes> {
        match self {
            Self::OpenAi => ApiErrors.render(refusal, request),
            Self::Anthropic => AnthropicErrors.render(refusal, request),
        }
    }
}

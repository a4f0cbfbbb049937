//! The shape of refusals: that of the API that was called.

use berry_tower::render::{AnthropicErrors, OpenAiErrors, Refusal, Render};
use bytes::Bytes;
use http::{HeaderValue, Response};

/// Whose shape a refusal has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Errors {
    OpenAi,
    Anthropic,
}

impl Render for Errors {
    fn render(&self, refusal: Refusal, request_id: Option<&HeaderValue>) -> Response<Bytes> {
        match self {
            Self::OpenAi => OpenAiErrors.render(refusal, request_id),
            Self::Anthropic => AnthropicErrors.render(refusal, request_id),
        }
    }
}

//! The JSON shape of error responses: that of the API that was called.

use berry_tower::render::{AnthropicErrors, OpenAiErrors, Refusal, Render};
use bytes::Bytes;
use http::{HeaderValue, Response};

/// The API whose error shape a refusal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorShape {
    OpenAi,
    Anthropic,
}

impl Render for ErrorShape {
    fn render(&self, refusal: Refusal, request_id: Option<&HeaderValue>) -> Response<Bytes> {
        match self {
            Self::OpenAi => OpenAiErrors.render(refusal, request_id),
            Self::Anthropic => AnthropicErrors.render(refusal, request_id),
        }
    }
}

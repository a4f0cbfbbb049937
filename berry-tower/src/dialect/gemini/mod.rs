//! Google's `generateContent`, as providers speak it.
//!
//! Tool calls travel with their ids, so that parallel calls of one tool find their results; a call without an
//! id gets one made of the response's. A `thoughtSignature` goes to the caller in `extra_content.google` of
//! the call, or of the message where it belongs to a text, and comes back from there. Thoughts themselves are
//! not sent back: the signature stands for them.

mod decode_response;
mod decode_stream;
mod encode_request;
mod request;
mod response;

use std::borrow::Cow;

pub(super) use decode_stream::ResponseDecoder;
pub(super) use encode_request::GeminiRequest;
pub(super) use request::{
    Blob, Content, FileData, FunctionCall, FunctionCallingConfig, FunctionDeclaration, FunctionResponse,
    GenerationConfig, MediaResolution, Mode, Part, Request, Role, ThinkingConfig, Tool, ToolConfig,
};
pub(super) use response::{Candidate, LogprobsResult, Response, Status, Token, UsageMetadata};

use super::{
    hub,
    unsupported::UnsupportedField,
    wire_format::{EncodedRequest, WireFormat},
};
use crate::endpoint::Endpoint;

/// Google's format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gemini;

impl WireFormat for Gemini {
    fn version_segment(&self) -> &'static str {
        "/v1beta"
    }

    fn key_header(&self) -> (&'static str, &'static str) {
        ("x-goog-api-key", "")
    }

    fn has_endpoint(&self, _endpoint: Endpoint) -> bool {
        false
    }

    fn path(&self, _endpoint: Endpoint, model: &str, is_stream: bool) -> Cow<'static, str> {
        let method = if is_stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        format!("/models/{model}:{method}").into()
    }

    fn has_stream_address(&self) -> bool {
        true
    }

    fn is_context_overflow(&self, message: &str) -> bool {
        message.starts_with("The input token count")
    }

    fn encode_request(&self, request: &hub::Request) -> Result<Box<dyn EncodedRequest>, UnsupportedField> {
        Ok(Box::new(GeminiRequest::from_hub(request)?))
    }
}

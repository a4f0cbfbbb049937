//! OpenAI's Responses, as callers and as providers speak them.

mod custom_input;
mod decode_request;
mod decode_response;
mod decode_stream;
mod encode_request;
mod encode_response;
mod encode_stream;
pub(super) mod envelope;
mod events;
mod grammar;
mod items;
mod own_reasoning;
mod request;
mod said;
mod tool_names;

use std::borrow::Cow;

use super::{
    codec::EncodeResponse,
    hub,
    unsupported::UnsupportedField,
    wire_format::{CallerFormat, EncodeOptions, EncodedRequest, WireFormat},
};
use crate::endpoint::Endpoint;

pub(crate) use envelope::{Seal, seal_key};
pub use grammar::{GrammarViolation, ResponseGrammar};
pub(crate) use own_reasoning::{without_encrypted_reasoning, without_own_reasoning};

/// OpenAI's Responses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Responses;

impl WireFormat for Responses {
    fn key_header(&self) -> (&'static str, &'static str) {
        ("authorization", "Bearer ")
    }

    fn has_endpoint(&self, endpoint: Endpoint) -> bool {
        !matches!(endpoint, Endpoint::Messages | Endpoint::ChatCompletions)
    }

    fn path(&self, endpoint: Endpoint, _model: &str, _is_stream: bool) -> Cow<'static, str> {
        if self.has_endpoint(endpoint) { endpoint.path() } else { Endpoint::Responses.path() }.into()
    }

    fn encode_request(&self, request: &hub::Request) -> Result<Box<dyn EncodedRequest>, UnsupportedField> {
        Ok(Box::new(encode_request::encode_request(request)?))
    }

    fn caller(&self) -> Option<&'static dyn CallerFormat> {
        Some(&Responses)
    }
}

impl CallerFormat for Responses {
    fn endpoint(&self) -> Endpoint {
        Endpoint::Responses
    }

    fn decode_request(&self, body: &[u8], seals: &[Seal]) -> Result<hub::Request, UnsupportedField> {
        decode_request::decode_request(body, seals)
    }

    fn param_path(&self, param: &str, request: &hub::Request, _body: &[u8]) -> String {
        decode_request::param_path(param, request)
    }

    fn response_encoder(&self, request: &hub::Request, options: EncodeOptions) -> Box<dyn EncodeResponse> {
        Box::new(encode_stream::ResponseEncoder::new(request.caller.clone(), options))
    }
}

//! OpenAI's chat completions, as callers and as providers speak them.

mod decode_request;
mod decode_response;
mod decode_stream;
mod encode_request;
mod encode_response;
mod signatures;
mod think_tags;

use std::borrow::Cow;

pub(super) use decode_response::usage;
#[cfg(test)]
pub(super) use decode_stream::ResponseDecoder;
pub(super) use encode_response::ResponseEncoder;
pub(crate) use signatures::without_signatures;

use super::{
    codec::EncodeResponse,
    hub,
    responses::envelope::Seal,
    unsupported::UnsupportedField,
    wire_format::{CallerFormat, EncodeOptions, EncodedRequest, WireFormat},
};
use crate::endpoint::Endpoint;

/// OpenAI's format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chat;

impl WireFormat for Chat {
    fn key_header(&self) -> (&'static str, &'static str) {
        ("authorization", "Bearer ")
    }

    fn has_endpoint(&self, endpoint: Endpoint) -> bool {
        !matches!(endpoint, Endpoint::Messages | Endpoint::Responses)
    }

    fn path(&self, endpoint: Endpoint, _model: &str, _is_stream: bool) -> Cow<'static, str> {
        if self.has_endpoint(endpoint) { endpoint.path() } else { Endpoint::ChatCompletions.path() }.into()
    }

    fn has_usage_option(&self) -> bool {
        true
    }

    fn encode_request(&self, request: &hub::Request) -> Result<Box<dyn EncodedRequest>, UnsupportedField> {
        Ok(Box::new(encode_request::encode_request(request)?))
    }

    fn caller(&self) -> Option<&'static dyn CallerFormat> {
        Some(&Chat)
    }
}

impl CallerFormat for Chat {
    fn endpoint(&self) -> Endpoint {
        Endpoint::ChatCompletions
    }

    fn decode_request(&self, body: &[u8], _seals: &[Seal]) -> Result<hub::Request, UnsupportedField> {
        decode_request::decode_request(body)
    }

    fn response_encoder(&self, _request: &hub::Request, _options: EncodeOptions) -> Box<dyn EncodeResponse> {
        Box::new(ResponseEncoder)
    }
}

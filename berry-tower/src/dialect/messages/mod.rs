//! Anthropic's Messages, as callers and as providers speak them.
//!
//! Objects keep their unrecognised members in `other`; blocks, sources and tools of an unknown kind are kept
//! whole.

mod content;
mod decode_request;
mod decode_response;
mod decode_stream;
mod encode_request;
mod encode_response;
mod encode_stream;
mod event;
mod foreign_thinking;
mod request;
mod response;

use std::borrow::Cow;

pub(super) use content::{Block, Content, Source};
pub(super) use decode_request::to_hub;
pub(super) use decode_stream::ResponseDecoder;
pub(super) use encode_request::MessagesRequest;
pub(super) use encode_stream::ResponseEncoder;
pub(super) use event::{Delta, Event, EventError, MessageDelta};
pub(crate) use foreign_thinking::{
    may_contain_foreign_thinking, may_lack_thinking, without_foreign_thinking, without_thinking,
};
pub(super) use request::{
    CustomTool, Message, Metadata, OutputConfig, OutputFormat, Request, Role, Thinking, Tool, ToolChoice,
};
pub(super) use response::{Response, StopReason, Usage};

use super::{
    codec::EncodeResponse,
    hub,
    responses::envelope::Seal,
    unsupported::UnsupportedField,
    wire_format::{CallerFormat, EncodeOptions, EncodedRequest, WireFormat},
};
use crate::endpoint::Endpoint;

/// Unrecognised members, kept so that they can be forwarded.
pub(super) type Other = super::value::Object;

/// Anthropic's format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages;

impl WireFormat for Messages {
    fn key_header(&self) -> (&'static str, &'static str) {
        ("x-api-key", "")
    }

    fn default_headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("anthropic-version", "2023-06-01")]
    }

    fn has_endpoint(&self, endpoint: Endpoint) -> bool {
        endpoint == Endpoint::Messages
    }

    fn path(&self, _endpoint: Endpoint, _model: &str, _is_stream: bool) -> Cow<'static, str> {
        Endpoint::Messages.path().into()
    }

    fn accepts_trailing_space_in_prefill(&self) -> bool {
        false
    }

    fn is_context_overflow(&self, message: &str) -> bool {
        message.starts_with("prompt is too long")
    }

    fn encode_request(&self, request: &hub::Request) -> Result<Box<dyn EncodedRequest>, UnsupportedField> {
        Ok(Box::new(MessagesRequest::from_hub(request)?))
    }

    fn caller(&self) -> Option<&'static dyn CallerFormat> {
        Some(&Messages)
    }
}

impl CallerFormat for Messages {
    fn endpoint(&self) -> Endpoint {
        Endpoint::Messages
    }

    fn decode_request(&self, body: &[u8], seals: &[Seal]) -> Result<hub::Request, UnsupportedField> {
        to_hub(&Request::parse(body)?, seals)
    }

    fn param_path(&self, param: &str, _request: &hub::Request, body: &[u8]) -> String {
        Request::parse(body).map_or_else(|_| param.to_owned(), |request| decode_request::param_path(param, &request))
    }

    fn response_encoder(&self, _request: &hub::Request, options: EncodeOptions) -> Box<dyn EncodeResponse> {
        Box::new(ResponseEncoder::new(options.seal))
    }
}

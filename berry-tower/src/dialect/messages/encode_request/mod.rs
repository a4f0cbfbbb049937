//! Encodes a request in Anthropic's format.

mod content;
mod request;
mod structured_output;
mod thinking;
mod tools;
mod turns;
mod unrecognised;

use bytes::Bytes;
use serde::Serialize;

use super::ResponseDecoder;
use crate::dialect::{
    codec::DecodeResponse,
    messages,
    target::{Sampling, Target},
    wire_format::{DecodeOptions, EncodedRequest},
};
use thinking::Thought;

/// A request in Anthropic's format, and what a decoder must know to read the response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MessagesRequest {
    /// The members that do not depend on the backend.
    wire: messages::Request,
    thinking: Thought,
    output_config: Option<messages::OutputConfig>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    /// The tool whose input is the output.
    json_tool: Option<Box<str>>,
    /// The optional fields that are left out.
    dropped: Vec<String>,
}

/// A body: the members that depend on the backend, and the rest.
#[derive(Serialize)]
struct Written<'a> {
    model: &'a str,
    #[serde(flatten)]
    wire: &'a messages::Request,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<messages::Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<messages::OutputConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

impl EncodedRequest for MessagesRequest {
    fn body(&self, target: &Target<'_>) -> Bytes {
        let (temperature, top_p) = match target.sampling {
            Sampling::All => (self.temperature, self.top_p),
            Sampling::Temperature if self.temperature.is_some() => (self.temperature, None),
            Sampling::Temperature => (None, self.top_p),
            Sampling::None => (None, None),
        };
        let (thinking, output_config) = self.thinking.for_backend(target, self.output_config.clone());
        let (model, stream) = (target.model, target.stream);
        let written = Written { model, wire: &self.wire, thinking, output_config, temperature, top_p, stream };
        // Only a map whose keys are no texts could fail, and there is none.
        serde_json::to_vec(&written).unwrap_or_default().into()
    }

    fn dropped(&self) -> &[String] {
        &self.dropped
    }

    fn response_decoder(&self, options: DecodeOptions) -> Box<dyn DecodeResponse> {
        Box::new(ResponseDecoder::new(self.json_tool.clone(), options.created))
    }
}

//! Encodes a request in Google's format.

mod generation_config;
mod media;
mod tools;
mod turns;

use bytes::Bytes;

use super::{Content, Part, Request, ResponseDecoder};
use crate::dialect::{
    capabilities,
    codec::DecodeResponse,
    hub,
    target::Target,
    unsupported::{Rejector, UnsupportedField},
    wire_format::{DecodeOptions, EncodedRequest},
};

/// Rejects members that this format lacks.
const UNKNOWN: Rejector = Rejector::new("Google's format");

/// A request in Google's format.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GeminiRequest {
    body: Request,
    model: String,
    turns: usize,
    /// The optional fields that are left out.
    dropped: Vec<String>,
}

impl GeminiRequest {
    /// Encodes a request.
    ///
    /// # Errors
    /// The field that Google's format cannot express.
    pub(crate) fn from_hub(chat: &hub::Request) -> Result<Self, UnsupportedField> {
        let mut dropped = Vec::new();
        UNKNOWN.members("", &chat.other, capabilities::chat, &mut dropped)?;
        if let Some(options) = &chat.stream_options {
            UNKNOWN.members("stream_options", &options.other, capabilities::chat, &mut dropped)?;
        }
        let (system, contents) = turns::contents(&chat.messages)?;
        let (tools, tool_config) = tools::tools(chat, &mut dropped)?;
        let body = Request {
            system_instruction: system.map(|text| Content { role: None, parts: vec![Part::text(text)] }),
            contents,
            tools,
            tool_config,
            generation_config: generation_config::generation(chat)?,
        };
        Ok(Self { body, model: chat.model.clone(), turns: chat.messages.len(), dropped })
    }

    /// The request as types.
    #[cfg(test)]
    pub(crate) fn request(&self) -> &Request {
        &self.body
    }
}

impl EncodedRequest for GeminiRequest {
    // The model is in the address, and so is whether the response is streamed.
    fn body(&self, _target: &Target<'_>) -> Bytes {
        // Only a map whose keys are no texts could fail, and there is none.
        serde_json::to_vec(&self.body).unwrap_or_default().into()
    }

    fn dropped(&self) -> &[String] {
        &self.dropped
    }

    fn response_decoder(&self, options: DecodeOptions) -> Box<dyn DecodeResponse> {
        let choices = self.body.generation_config.as_ref().and_then(|config| config.candidate_count);
        Box::new(ResponseDecoder::new(choices.unwrap_or(1), options.created, self.model.clone(), self.turns))
    }
}

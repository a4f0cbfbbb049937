//! A chat request, written for Google.

mod generation_config;
mod media;
mod tools;
mod turns;

use bytes::Bytes;

use super::{Content, Part, Request, ResponseDecoder};
use crate::dialect::{
    capabilities::HINTS,
    codec::DecodeResponse,
    format::{DecodeOptions, EncodedRequest, Target},
    hub,
    unsupported::{Rejector, UnsupportedField},
    value::Value,
};

/// How members that have no word in this format are refused.
const UNKNOWN: Rejector = Rejector::new("Google's format");

/// A request in Google's format.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GeminiRequest {
    body: Request,
    model: String,
    turns: usize,
}

impl GeminiRequest {
    /// Encodes a request.
    ///
    /// # Errors
    /// The field that Google's format cannot express.
    pub(crate) fn from_hub(chat: &hub::Request) -> Result<Self, UnsupportedField> {
        refuse_unknown(chat)?;
        let (system, contents) = turns::contents(&chat.messages)?;
        if contents.is_empty() {
            return Err(UnsupportedField::new("messages", "Google's format needs a message of the user"));
        }
        let (tools, tool_config) = tools::tools(chat)?;
        let body = Request {
            system_instruction: system.map(|text| Content { role: None, parts: vec![Part::text(text)] }),
            contents,
            tools,
            tool_config,
            generation_config: generation_config::generation(chat)?,
        };
        Ok(Self { body, model: chat.model.clone(), turns: chat.messages.len() })
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

    fn response_decoder(&self, options: DecodeOptions) -> Box<dyn DecodeResponse> {
        let choices = self.body.generation_config.as_ref().and_then(|config| config.candidate_count);
        Box::new(ResponseDecoder::new(choices.unwrap_or(1), options.created, self.model.clone(), self.turns))
    }
}

fn refuse_unknown(chat: &hub::Request) -> Result<(), UnsupportedField> {
    let neutral = |name: &str, value: &Value| match name {
        "modalities" => value.as_array().is_some_and(|them| them.iter().all(|it| it == "text")),
        "verbosity" => value == "medium",
        _ => HINTS.contains(&name),
    };
    UNKNOWN.members("", chat.other.iter().filter(|(name, value)| !neutral(name, value)))?;
    let options = chat.stream_options.iter().flat_map(|options| &options.other);
    UNKNOWN.members("stream_options", options)
}

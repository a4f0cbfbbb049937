//! The translators: streams mean what plain responses mean, and what is sent is valid.

#![allow(clippy::unwrap_used, reason = "tests may panic, and so may their helpers")]

mod chat_requests;
mod claude_fixtures;
mod claude_requests;
mod claude_rules;
mod claude_streams;
mod fixtures;
mod fold;
mod foreign;
mod gemini_requests;
mod gemini_streams;
mod lenient;
mod messages_answers;
mod messages_requests;
mod perturbed;
mod responses;
mod responses_streams;
mod wire;

use bytes::Bytes;

use super::{
    chat::Chat,
    hub,
    target::{Dialect, Sampling, Target},
    unsupported::UnsupportedField,
    wire_format::{DecodeOptions, EncodedRequest, WireFormat},
};

/// Encodes a request for OpenAI.
fn chat_body(request: &hub::Request, model: &str, stream: bool) -> Result<Bytes, UnsupportedField> {
    let request = Chat.encode_request(request)?;
    Ok(request.body(&Target::new(Dialect::OpenAi, model).with_stream(stream)))
}

/// The options of a decoder at a time in seconds since 1970.
fn decoding(created: u64) -> DecodeOptions {
    DecodeOptions { created, ..DecodeOptions::default() }
}

/// The body of an encoded request.
fn body_of(request: &dyn EncodedRequest, model: &str, sampling: Sampling, stream: bool) -> Bytes {
    request.body(&Target::new(Dialect::Claude, model).with_sampling(sampling).with_stream(stream))
}

//! Translation between wire formats: a caller speaks one, a backend may speak another.
//!
//! A [`Conversation`] is one request of a caller. It encodes the request for a backend of any format and
//! returns a [`ResponseTranslator`], which translates the response back. Where both speak the same format
//! nothing of this runs.
//!
//! ```
//! use berry_tower::{dialect::{Conversation, Dialect, Target}, endpoint::Endpoint};
//!
//! let question = r#"{"model":"any","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]}"#;
//! let conversation = Conversation::new(Endpoint::ChatCompletions, question.into());
//! assert_eq!(
//!     conversation.encode(&Target::new(Dialect::Claude, "claude-x")).unwrap(),
//!     r#"{"model":"claude-x","messages":[{"role":"user","content":"Hi"}],"max_tokens":4096,"system":"Be brief."}"#
//! );
//!
//! let body = br#"{"id":"msg_1","model":"claude-x","content":[{"type":"text","text":"Hello!"}],"stop_reason":"end_turn"}"#;
//! let mut translator = conversation.translator(&Target::new(Dialect::Claude, "claude-x"), 1_700_000_000).unwrap();
//! let response = translator.translate_response(body).unwrap();
//! assert!(String::from_utf8(response).unwrap().contains(r#""content":"Hello!""#));
//! ```
//!
//! # How it works
//!
//! All formats meet in the types of `hub`, which are OpenAI's chat completions. A request is decoded into
//! `hub::Request` by the caller's format and encoded by the backend's; the response is decoded into the hub's
//! types by the backend's format and encoded by the caller's. Each format is one folder and one
//! implementation of `wire_format::WireFormat`.
//!
//! The translation is pure: it has no clock, no randomness and no I/O. What a format cannot express is never
//! dropped silently; see `capabilities`.

mod capabilities;
mod chat;
mod codec;
mod conversation;
mod data_url;
mod effort;
mod embedded;
mod format;
mod gemini;
mod hub;
mod lenient;
mod messages;
mod responses;
mod surrogates;
mod target;
mod tool_results;
mod unsupported;
mod value;
mod wire_format;

#[cfg(test)]
mod tests;

pub use codec::Malformed;
pub use conversation::{Conversation, Dropped, ResponseTranslator};
pub use effort::{Effort, Efforts};
pub use target::{ClaudeThinking, Dialect, Sampling, Target};
pub use unsupported::UnsupportedField;

pub(crate) use chat::without_signatures;
pub(crate) use messages::{
    may_contain_foreign_thinking, may_lack_thinking, without_foreign_thinking, without_thinking,
};
pub use responses::{GrammarViolation, ResponseGrammar};
pub(crate) use responses::{Seal, seal_key, without_encrypted_reasoning, without_own_reasoning};

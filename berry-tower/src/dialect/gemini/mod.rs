//! Google's `generateContent` behind the gateway: chat requests written for it, its answers read.
//!
//! Calls travel with their ids, so that parallel calls of one tool find their results; a call that came
//! without one gets an id made of the answer's. A `thoughtSignature` goes to the client in
//! `extra_content.google` of the call, or of the message where it stands with a text, and comes back
//! from there. Thoughts themselves are told and not sent again: the signature stands for them.

mod answer;
mod config;
mod media;
mod pieces;
mod reader;
mod request;
mod tools;
mod turns;
mod wire;

pub use answer::{Answer, Candidate, LogprobsResult, PromptFeedback, Status, Token, TopCandidates, UsageMetadata};
pub use reader::Reader;
pub use request::Request;
pub use wire::{
    Blob, Body, Content, FileData, FunctionCall, FunctionCallingConfig, FunctionDeclaration, FunctionResponse,
    GenerationConfig, MediaResolution, Mode, Part, Role, ThinkingConfig, Tool, ToolConfig,
};

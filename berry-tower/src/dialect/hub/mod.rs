//! The common representation that all formats are translated through: OpenAI's chat completions as types.
//!
//! Every object keeps its unrecognised members in `other`, so that a format that has them gets them and any
//! other can name them.

mod caller;
mod chunk;
mod content;
mod message;
mod request;
mod response;
mod response_message;

pub(super) use caller::{CallerFacts, MessagePath, ToolName};
pub(super) use chunk::{Chunk, ChunkChoice, Delta, FunctionDelta, ToolCallDelta};
pub(super) use content::{Content, File, ImageUrl, Part, is_reasoning};
pub(super) use message::{CalledFunction, ExtraContent, Google, Message, Origin, Role, Thought, ToolCall};
pub(super) use request::{
    Function, FunctionKind, JsonSchema, NamedFunction, Request, ResponseFormat, Stop, StreamOptions, Tool, ToolChoice,
    ToolMode, tokens,
};
pub(super) use response::{CachedTokens, Choice, FinishReason, ReasoningTokens, Response, Usage};

/// Unrecognised members, kept so that they can be forwarded.
pub(super) type Other = super::value::Object;

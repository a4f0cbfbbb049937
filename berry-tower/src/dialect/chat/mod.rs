//! OpenAI's chat completions as types: what all formats are translated through.
//!
//! Every object keeps the members that it does not know in `other`, so that a format that can take
//! them gets them and any other can name them.

mod answer;
mod chunk;
mod content;
mod foreign;
mod openai;
mod reader;
mod request;
mod spoken;
mod writer;

use serde_json::{Map, Value};

pub use answer::{Answer, CachedTokens, Choice, FinishReason, ReasoningTokens, Usage};
pub use chunk::{Chunk, ChunkChoice, Delta, FunctionDelta, ToolCallDelta};
pub use content::{Content, File, ImageUrl, InputAudio, Part};
pub use foreign::without_signatures;
pub use reader::Reader;
pub use request::{
    CalledFunction, ExtraContent, Function, FunctionKind, Google, JsonSchema, Message, NamedFunction, Request,
    ResponseFormat, Role, Stop, StreamOptions, Thought, Tool, ToolCall, ToolChoice, ToolMode,
};
pub use writer::Writer;

/// Members that are not in the types.
pub type Other = Map<String, Value>;

/// The members of a chat request that are mere hints – for what the answer is like, or for the
/// provider's caches and books, which the answer does not depend on: a backend that has no words for
/// one answers without it.
pub const HINTS: [&str; 10] = [
    "seed",
    "logit_bias",
    "user",
    "service_tier",
    "prediction",
    "store",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
];

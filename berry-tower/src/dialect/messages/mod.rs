//! Anthropic's Messages as types: what its callers send, and what its models are sent and answer.
//!
//! Objects keep the members that they do not know in `other`; blocks, sources and tools of a kind
//! that is not in the types are kept whole.

mod answer;
mod block;
mod event;
mod request;

pub use answer::{Answer, StopReason, Usage};
pub use block::{Block, Content, Source};
pub use event::{Delta, Event, MessageDelta, WireError};
pub use request::{
    CustomKind, CustomTool, Message, Metadata, OutputConfig, OutputFormat, Request, Role, Thinking, Tool, ToolChoice,
};

/// Members that are not in the types.
pub type Other = super::chat::Other;

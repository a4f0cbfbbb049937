//! Anthropic's Messages as types – what its callers send, and what its models are sent and answer – and
//! as a format in front of the gateway: requests read into the hub's types, answers written.
//!
//! Objects keep the members that they do not know in `other`; blocks, sources and tools of a kind
//! that is not in the types are kept whole.

mod answer;
mod block;
mod event;
mod foreign;
mod front;
mod place;
mod request;
mod told;
mod turns;
mod writer;

pub use answer::{Answer, StopReason, Usage};
pub use block::{Block, Content, Source};
pub use event::{Delta, Event, MessageDelta, WireError};
pub use foreign::{foreign_thoughts, without_foreign_thoughts};
pub use front::to_chat;
pub(super) use place::place;
pub use request::{
    CustomKind, CustomTool, Message, Metadata, OutputConfig, OutputFormat, Request, Role, Thinking, Tool, ToolChoice,
};
pub use writer::Writer;

/// Members that are not in the types.
pub type Other = super::chat::Other;

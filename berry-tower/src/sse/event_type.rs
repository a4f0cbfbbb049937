//! The event types that the grammars distinguish.

/// The type of an event, from its data or from its line `event`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EventType {
    /// No type.
    #[default]
    None,
    /// An unrecognised type.
    Unknown,
    Error,
    Ping,
    /// `response.created`, `response.queued`, `response.in_progress`.
    ResponsePreamble,
    /// A piece of output of the Responses API.
    ResponseDelta,
    /// `response.output_item.done`.
    ItemDone,
    /// Any other event of the Responses API.
    ResponsePart,
    /// `response.completed`, `response.incomplete`.
    ResponseEnd,
    ResponseFailed,
    MessageStart,
    BlockStart,
    BlockDelta,
    MessageDelta,
    MessageStop,
}

impl EventType {
    /// Reads a type's name, of which the first 64 bytes are enough.
    pub(crate) fn read(name: &[u8]) -> Self {
        match name {
            b"" => Self::None,
            b"error" => Self::Error,
            b"ping" => Self::Ping,
            b"response.created" | b"response.queued" | b"response.in_progress" => Self::ResponsePreamble,
            b"response.completed" | b"response.incomplete" => Self::ResponseEnd,
            b"response.failed" => Self::ResponseFailed,
            b"message_start" => Self::MessageStart,
            b"content_block_start" => Self::BlockStart,
            b"content_block_delta" => Self::BlockDelta,
            b"message_delta" => Self::MessageDelta,
            b"message_stop" => Self::MessageStop,
            b"response.output_item.done" => Self::ItemDone,
            _ if name.starts_with(b"response.") && name.ends_with(b".delta") => Self::ResponseDelta,
            _ if name.starts_with(b"response.") => Self::ResponsePart,
            _ => Self::Unknown,
        }
    }
}

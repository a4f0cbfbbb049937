//! The JSON members that matter in an event or in a plain response.

use super::counts::Count;

/// A member of the JSON object that matters.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Node {
    #[default]
    Other,
    Top,
    /// The top of a plain response.
    Plain,
    Type,
    /// `message`: an object in `message_start`, a text in a flat `error` event.
    Message,
    /// `message` beside the error of a plain response.
    PlainMessage,
    /// `code` at the top, in a flat `error` event.
    Code,
    Choices,
    Choice,
    /// `object` at the top: `error` in some servers' errors.
    Object,
    /// `detail` or `msg` at the top, which are errors where there are no choices.
    Detail,
    /// MiniMax's verdict on the request.
    BaseResponse,
    BaseStatus,
    /// An object that holds `usage`.
    UsageHolder,
    Index,
    Finish,
    ChoiceDelta,
    /// Bears output when it is not empty: in a choice, and in the Messages API in a block's beginning and
    /// in its deltas.
    Output,
    BlockOutput,
    DeltaOutput,
    Response,
    EventDelta,
    Stop,
    Block,
    BlockType,
    Usage,
    NestedUsage,
    Details,
    Count(Count),
    Error,
    ResponseError,
    ErrorText,
    ErrorKind,
    ErrorCode,
}

impl Node {
    pub(super) fn bears_output(self) -> bool {
        matches!(self, Self::Output | Self::BlockOutput | Self::DeltaOutput)
    }

    /// Whether the elements of this node matter.
    pub(super) fn tells_of_elements(self) -> bool {
        self == Self::Choices || self.bears_output()
    }

    /// Whether the text at this node is needed.
    pub(super) fn wants_text(self) -> bool {
        matches!(
            self,
            Self::Type
                | Self::BlockType
                | Self::Message
                | Self::Finish
                | Self::Index
                | Self::Object
                | Self::Detail
                | Self::BaseStatus
                | Self::Count(_)
                | Self::PlainMessage
                | Self::Code
                | Self::Error
                | Self::ResponseError
                | Self::ErrorText
                | Self::ErrorKind
                | Self::ErrorCode
        )
    }

    /// The member `name` of this object.
    pub(super) fn child(self, name: &[u8]) -> Self {
        match (self, name) {
            (Self::Top, b"type") => Self::Type,
            (Self::Top, b"choices") => Self::Choices,
            (Self::Top, b"error") => Self::Error,
            (Self::Top, b"usage") => Self::Usage,
            (Self::Top, b"response") => Self::Response,
            (Self::Top, b"message") => Self::Message,
            (Self::Top, b"code") => Self::Code,
            (Self::Top, b"delta") => Self::EventDelta,
            (Self::Top, b"content_block") => Self::Block,
            (Self::Top, b"x_groq") => Self::UsageHolder,
            (Self::Top, b"object") => Self::Object,
            (Self::Top, b"detail" | b"msg") => Self::Detail,
            (Self::Top, b"base_resp") => Self::BaseResponse,
            (Self::BaseResponse, b"status_code") => Self::BaseStatus,
            (Self::BaseResponse, b"status_msg") => Self::ErrorText,
            (Self::Plain, b"error") => Self::Error,
            (Self::Plain, b"usage") => Self::Usage,
            (Self::Plain, b"message") => Self::PlainMessage,
            (Self::Plain, b"code") => Self::Code,
            (Self::Choice, b"index") => Self::Index,
            (Self::Choice, b"finish_reason") => Self::Finish,
            (Self::Choice, b"delta") => Self::ChoiceDelta,
            (Self::Choice, b"text") => Self::Output,
            (Self::Choice | Self::UsageHolder, b"usage") => Self::NestedUsage,
            (
                Self::ChoiceDelta,
                b"content" | b"tool_calls" | b"function_call" | b"refusal" | b"reasoning" | b"reasoning_content"
                | b"reasoning_details" | b"audio",
            ) => Self::Output,
            (Self::Response, b"error") => Self::ResponseError,
            (Self::Response | Self::Message, b"usage") => Self::NestedUsage,
            (Self::EventDelta, b"stop_reason") => Self::Stop,
            (Self::EventDelta, b"type" | b"stop_sequence") => Self::Other,
            (Self::EventDelta, _) => Self::DeltaOutput,
            (Self::Block, b"type") => Self::BlockType,
            (Self::Block, b"text" | b"thinking") => Self::BlockOutput,
            (Self::Usage | Self::NestedUsage, _) => Self::usage_child(name),
            (Self::Details, b"cached_tokens") => Self::Count(Count::Cached),
            (Self::Details, b"cache_write_tokens") => Self::Count(Count::CacheWrite),
            (Self::Details, b"reasoning_tokens") => Self::Count(Count::Reasoning),
            (Self::Error | Self::ResponseError, b"message") => Self::ErrorText,
            (Self::Error | Self::ResponseError, b"type") => Self::ErrorKind,
            (Self::Error | Self::ResponseError, b"code") => Self::ErrorCode,
            _ => Self::Other,
        }
    }

    fn usage_child(name: &[u8]) -> Self {
        match name {
            b"prompt_tokens" => Self::Count(Count::Prompt),
            b"input_tokens" => Self::Count(Count::Input),
            b"completion_tokens" | b"output_tokens" => Self::Count(Count::Output),
            b"prompt_cache_hit_tokens" | b"cached_tokens" => Self::Count(Count::Cached),
            b"cache_read_input_tokens" => Self::Count(Count::CacheRead),
            b"cache_creation_input_tokens" => Self::Count(Count::CacheCreation),
            b"prompt_tokens_details"
            | b"input_tokens_details"
            | b"completion_tokens_details"
            | b"output_tokens_details" => Self::Details,
            _ => Self::Other,
        }
    }
}

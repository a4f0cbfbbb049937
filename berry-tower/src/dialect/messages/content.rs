//! The content of messages.

use serde::{Deserialize, Serialize};

use super::Other;
use crate::dialect::{lenient, value::Value};

/// A content: a text, or blocks.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged, expecting = "it is a text or a list of blocks")]
pub(crate) enum Content {
    /// A text.
    Text(String),
    /// Blocks in order.
    Blocks(Vec<Block>),
}

/// A block of a content.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Block {
    /// A text; Anthropic refuses an empty one.
    Text {
        /// The text.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        text: String,
        /// Unrecognised members, such as `cache_control` and `citations`.
        #[serde(flatten)]
        other: Other,
    },
    /// A picture.
    Image {
        /// The URL.
        source: Source,
        /// Unrecognised members, such as `cache_control`.
        #[serde(flatten)]
        other: Other,
    },
    /// A document.
    Document {
        /// The URL.
        source: Source,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// Unrecognised members, such as `cache_control`, `citations` and `context`.
        #[serde(flatten)]
        other: Other,
    },
    /// A call of a tool.
    ToolUse {
        /// The id to which the result refers.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        id: String,
        /// The tool's name.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        name: String,
        /// The input, an object; `null` if it is missing.
        #[serde(default)]
        input: Value,
        /// Unrecognised members, such as `cache_control`.
        #[serde(flatten)]
        other: Other,
    },
    /// The result of a call.
    ToolResult {
        /// The id of the tool call.
        tool_use_id: String,
        /// The result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<Content>,
        /// Whether the tool failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_error: Option<bool>,
        /// Unrecognised members, such as `cache_control`.
        #[serde(flatten)]
        other: Other,
    },
    /// The model's reasoning.
    Thinking {
        /// The reasoning.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        thinking: String,
        /// Anthropic's signature of the reasoning; empty at the beginning of a stream's block.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        signature: String,
    },
    /// The model's reasoning, encrypted for Anthropic.
    RedactedThinking {
        /// The encrypted reasoning.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        data: String,
    },
    /// An unrecognised block.
    #[serde(untagged)]
    Other(Value),
}

/// The source of a picture or a document.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Source {
    /// Inline data.
    Base64 {
        /// `image/png`, `application/pdf`, …
        media_type: String,
        /// The data in base64.
        data: String,
    },
    /// A URL.
    Url {
        /// `https:`.
        url: String,
    },
    /// Inline text.
    Text {
        /// `text/plain`.
        media_type: String,
        /// The text.
        data: String,
    },
    /// An unrecognised source, such as an uploaded file.
    #[serde(untagged)]
    Other(Value),
}

//! What messages are made of.

use serde::{Deserialize, Serialize};

use super::Other;
use crate::dialect::{lenient, value::Value};

/// A content: a text, or blocks.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
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
        /// Such as `cache_control`, `citations`.
        #[serde(flatten)]
        other: Other,
    },
    /// A picture.
    Image {
        /// Where it is.
        source: Source,
        /// Such as `cache_control`.
        #[serde(flatten)]
        other: Other,
    },
    /// A document.
    Document {
        /// Where it is.
        source: Source,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// Such as `cache_control`, `citations`, `context`.
        #[serde(flatten)]
        other: Other,
    },
    /// A call of a tool.
    ToolUse {
        /// What the result refers to.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        id: String,
        /// The tool's name.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        name: String,
        /// Its input, an object; `null` where it is missing.
        #[serde(default)]
        input: Value,
        /// Such as `cache_control`.
        #[serde(flatten)]
        other: Other,
    },
    /// The result of a call.
    ToolResult {
        /// Of which call.
        tool_use_id: String,
        /// The result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<Content>,
        /// Whether the tool failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_error: Option<bool>,
        /// Such as `cache_control`.
        #[serde(flatten)]
        other: Other,
    },
    /// What the model thought.
    Thinking {
        /// The thoughts.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        thinking: String,
        /// Anthropic's proof that it thought so; empty where a stream's block begins.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        signature: String,
    },
    /// What the model thought, for Anthropic's eyes only.
    RedactedThinking {
        /// The thoughts, encrypted.
        #[serde(default, deserialize_with = "lenient::text_or_null")]
        data: String,
    },
    /// A block that is not in the types.
    #[serde(untagged)]
    Other(Value),
}

/// Where a picture or a document is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Source {
    /// Here.
    Base64 {
        /// `image/png`, `application/pdf`, …
        media_type: String,
        /// In base64.
        data: String,
    },
    /// Elsewhere.
    Url {
        /// `https:`.
        url: String,
    },
    /// Here, as a text.
    Text {
        /// `text/plain`.
        media_type: String,
        /// The text.
        data: String,
    },
    /// A place that is not in the types, such as a file that was uploaded.
    #[serde(untagged)]
    Other(Value),
}

//! The content of messages.

use serde::{Deserialize, Serialize};

use super::Other;
use crate::dialect::value::Value;

/// The content of a message: a text, or parts.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged, expecting = "it is a text or a list of parts")]
pub(crate) enum Content {
    /// A text.
    Text(String),
    /// Parts in order.
    Parts(Vec<Part>),
}

impl Content {
    /// Returns parts that are all mere texts as one text: not every server takes lists.
    pub(crate) fn joined(self) -> Self {
        let Self::Parts(parts) = self else { return self };
        let text = |part: &Part| match part {
            Part::Text { text, other } if other.is_empty() => Some(text.clone()),
            _ => None,
        };
        match parts.iter().map(text).collect::<Option<Vec<_>>>() {
            Some(texts) if !texts.is_empty() => Self::Text(texts.join("\n")),
            _ => Self::Parts(parts),
        }
    }
}

/// A part of a content.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part {
    /// A text.
    Text {
        /// The text.
        text: String,
        /// Unrecognised members, such as `cache_control`.
        #[serde(flatten)]
        other: Other,
    },
    /// A picture.
    ImageUrl {
        /// The URL.
        image_url: ImageUrl,
        /// Unrecognised members.
        #[serde(flatten)]
        other: Other,
    },
    /// Speech or sound.
    InputAudio {
        /// The sound.
        input_audio: InputAudio,
        /// Unrecognised members.
        #[serde(flatten)]
        other: Other,
    },
    /// A document.
    File {
        /// The document.
        file: File,
        /// Unrecognised members.
        #[serde(flatten)]
        other: Other,
    },
    /// The assistant's refusal.
    Refusal {
        /// The message.
        refusal: String,
    },
    /// An unrecognised part.
    #[serde(untagged)]
    Other(Value),
}

/// A picture.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(from = "WrittenUrl")]
pub(crate) struct ImageUrl {
    /// `https:`, or `data:` with the picture itself in base64.
    pub(crate) url: String,
    /// The detail: `low`, `high`, `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

/// A picture as clients write it: some write the mere URL.
#[derive(Deserialize)]
#[serde(untagged, expecting = "it is an object with a `url`")]
enum WrittenUrl {
    Url(String),
    Object { url: String, detail: Option<String> },
}

impl From<WrittenUrl> for ImageUrl {
    fn from(written: WrittenUrl) -> Self {
        match written {
            WrittenUrl::Url(url) => Self { url, detail: None },
            WrittenUrl::Object { url, detail } => Self { url, detail },
        }
    }
}

/// A sound.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct InputAudio {
    /// The data in base64.
    pub(crate) data: String,
    /// `wav`, `mp3`.
    pub(crate) format: String,
}

/// A document.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct File {
    /// A `data:` URL with the document in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file_data: Option<String>,
    /// The id of a file that was uploaded to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file_id: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filename: Option<String>,
    /// `https:`, in place of the data; no member of a chat request.
    #[serde(skip)]
    pub(crate) url: Option<String>,
}

/// Whether an unknown part holds reasoning, which is not sent back.
pub(crate) fn is_reasoning(part: &Value) -> bool {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    matches!(kind, "thinking" | "reasoning" | "redacted_thinking" | "reference")
}

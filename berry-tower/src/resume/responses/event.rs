//! Reads the events of a stream of Responses.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::resume::chunk::CONTENT;

/// The channels of texts beside that of messages, as in chunks of chat completions.
const REASONING: u8 = 0;
const REFUSAL: u8 = 3;

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// The response begins.
    Begin {
        id: Value,
        created: Value,
    },
    /// Nothing that matters to a comparison.
    Ignored,
    /// An item with this id begins.
    Item(ItemKind, String),
    /// A part of a message or a summary begins.
    Part,
    /// A piece of text, by its channel.
    Text(u8, String),
    TextDone,
    PartDone,
    /// The finished item.
    ItemDone(Value),
    /// The response ends.
    End,
    /// Something that cannot be compared.
    Opaque,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemKind {
    Message,
    Reasoning,
    /// A call, or a tool that the provider runs.
    Other,
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) number: Option<u64>,
    /// The position of the item that it is about.
    pub(super) at: Option<usize>,
    pub(super) token: Token,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    sequence_number: Option<u64>,
    output_index: Option<usize>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    created_at: Value,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    id: Option<String>,
}

impl Event {
    /// Reads an event; returns `None` for anything else.
    pub(super) fn read(data: &str) -> Option<Self> {
        let raw: Raw<'_> = serde_json::from_str(data).ok()?;
        let token = raw.token();
        Some(Self { number: raw.sequence_number, at: raw.output_index, token })
    }
}

impl Raw<'_> {
    fn token(&self) -> Token {
        match self.kind.as_deref().unwrap_or_default() {
            "response.created" | "response.in_progress" | "response.queued" => self.begin().unwrap_or(Token::Ignored),
            "response.output_item.added" => self.item_added().unwrap_or(Token::Opaque),
            "response.output_item.done" => {
                let item = self.item.and_then(|item| serde_json::from_str(item.get()).ok());
                item.map_or(Token::Opaque, Token::ItemDone)
            }
            "response.content_part.added" | "response.reasoning_summary_part.added" => Token::Part,
            "response.content_part.done" | "response.reasoning_summary_part.done" => Token::PartDone,
            "response.output_text.delta" => self.text(CONTENT),
            "response.refusal.delta" => self.text(REFUSAL),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => self.text(REASONING),
            "response.output_text.done"
            | "response.refusal.done"
            | "response.reasoning_summary_text.done"
            | "response.reasoning_text.done" => Token::TextDone,
            "response.completed" | "response.incomplete" | "response.failed" => Token::End,
            // An event that is about no item says nothing of the output.
            _ if self.output_index.is_none() => Token::Ignored,
            _ => Token::Opaque,
        }
    }

    fn begin(&self) -> Option<Token> {
        let Head { id, created_at } = serde_json::from_str(self.response?.get()).ok()?;
        Some(Token::Begin { id, created: created_at })
    }

    fn item_added(&self) -> Option<Token> {
        let item: Item<'_> = serde_json::from_str(self.item?.get()).ok()?;
        let kind = match item.kind.as_deref() {
            Some("message") => ItemKind::Message,
            Some("reasoning") => ItemKind::Reasoning,
            _ => ItemKind::Other,
        };
        Some(Token::Item(kind, item.id?))
    }

    fn text(&self, channel: u8) -> Token {
        if self.logprobs.is_some_and(|it| !matches!(it.get(), "[]" | "null")) {
            return Token::Opaque;
        }
        let text = self.delta.map(|delta| serde_json::from_str(delta.get()));
        text.and_then(Result::ok).map_or(Token::Opaque, |text| Token::Text(channel, text))
    }
}

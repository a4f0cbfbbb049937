//! Encodes the parts of a content as blocks.

use super::unrecognised::{UNKNOWN, mark, marked};
use crate::dialect::{
    data_url::DataUrl,
    hub::{self, Part, Thought, is_reasoning},
    messages::{Block, Content, Other, Source},
    unsupported::UnsupportedField,
    value::Value,
};

/// The position of a content and what it may hold.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The index of the message.
    pub(super) message: usize,
    /// Whether only text is allowed, as for assistants and system prompts.
    pub(super) text_only: bool,
}

/// Encodes a content as blocks. Texts without a visible character are skipped, since Anthropic refuses them.
pub(super) fn blocks(content: Option<&hub::Content>, place: Place) -> Result<Vec<Block>, UnsupportedField> {
    match content {
        None => Ok(Vec::new()),
        Some(hub::Content::Text(text)) => Ok(text_block(text, Other::default()).into_iter().collect()),
        Some(hub::Content::Parts(parts)) => {
            parts.iter().enumerate().filter_map(|(i, part)| block(part, i, place).transpose()).collect()
        }
    }
}

pub(super) fn text_block(text: &str, other: Other) -> Option<Block> {
    (!text.trim().is_empty()).then(|| Block::Text { text: text.to_owned(), other })
}

fn block(part: &Part, i: usize, place: Place) -> Result<Option<Block>, UnsupportedField> {
    let at = |what: &str| format!("messages[{}].content[{i}].{what}", place.message);
    let keep = |other| marked(mark(other));
    if place.text_only && matches!(part, Part::ImageUrl { .. } | Part::File { .. }) {
        return Err(UnsupportedField::new(at("type"), "Anthropic takes only text here"));
    }
    match part {
        Part::Text { text, other } => Ok(text_block(text, keep(other))),
        Part::Refusal { refusal } => Ok(text_block(refusal, Other::default())),
        Part::ImageUrl { image_url, other } => {
            let source = image(&image_url.url).map_err(|why| UnsupportedField::new(at("image_url.url"), why))?;
            Ok(Some(Block::Image { source, other: keep(other) }))
        }
        Part::File { file, other } => {
            if file.file_id.is_some() {
                return Err(UnsupportedField::new(at("file.file_id"), "the file lies with another provider"));
            }
            if let Some(url) = file.url.as_deref().filter(|_| file.file_data.is_none()) {
                let title = file.filename.clone().filter(|name| !name.is_empty());
                let source = Source::Url { url: url.to_owned() };
                return Ok(Some(Block::Document { source, title, other: keep(other) }));
            }
            let data = file
                .file_data
                .as_deref()
                .ok_or_else(|| UnsupportedField::new(at("file.file_data"), "it is missing"))?;
            let source = document(data).ok_or_else(|| {
                let reason = "only a PDF or a text file in a data: URL can be translated";
                UnsupportedField::new(at("file.file_data"), reason)
            })?;
            let title = file.filename.clone().filter(|name| !name.is_empty());
            Ok(Some(Block::Document { source, title, other: keep(other) }))
        }
        Part::InputAudio { .. } => Err(UnsupportedField::new(at("type"), "Anthropic's models do not listen")),
        // Clients echo the reasoning of assistant turns as parts.
        Part::Other(part) if place.text_only && is_reasoning(part) => Ok(None),
        Part::Other(_) => Err(UNKNOWN.reject(at("type"))),
    }
}

/// Moves a message's `cache_control` to its last block.
pub(super) fn mark_last(blocks: &mut [Block], mark: Option<&Value>) {
    let Some(
        Block::Text { other, .. }
        | Block::Image { other, .. }
        | Block::Document { other, .. }
        | Block::ToolUse { other, .. },
    ) = blocks.last_mut()
    else {
        return;
    };
    if let Some(mark) = mark {
        other.entry("cache_control".to_owned()).or_insert_with(|| mark.clone());
    }
}

/// Returns a content, as a text if it is one block of text.
pub(super) fn short(mut blocks: Vec<Block>) -> Content {
    match &mut blocks[..] {
        [Block::Text { text, other }] if other.is_empty() => Content::Text(std::mem::take(text)),
        _ => Content::Blocks(blocks),
    }
}

/// Joins texts with blank lines, unless one of them has members of its own.
pub(super) fn system(blocks: Vec<Block>) -> Option<Content> {
    if blocks.is_empty() {
        return None;
    }
    let texts: Option<Vec<&str>> = blocks
        .iter()
        .map(|block| match block {
            Block::Text { text, other } if other.is_empty() => Some(text.as_str()),
            _ => None,
        })
        .collect();
    match texts {
        Some(texts) => Some(Content::Text(texts.join("\n\n"))),
        None => Some(Content::Blocks(blocks)),
    }
}

/// Encodes reasoning; `None` if it is not signed.
pub(super) fn thought(thought: &Thought) -> Option<Block> {
    match thought {
        Thought::Thinking { thinking, signature } => (!signature.is_empty())
            .then(|| Block::Thinking { thinking: thinking.clone(), signature: signature.clone() }),
        Thought::RedactedThinking { data } => {
            (!data.is_empty()).then(|| Block::RedactedThinking { data: data.clone() })
        }
    }
}

fn image(url: &str) -> Result<Source, &'static str> {
    if url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")) {
        return Ok(Source::Url { url: url.to_owned() });
    }
    let DataUrl { mime_type, data } = full(url).ok_or("it must be an https: URL, or a data: URL in base64")?;
    let media_type = match mime_type.to_ascii_lowercase().as_str() {
        "image/jpeg" | "image/jpg" => "image/jpeg",
        "image/png" => "image/png",
        "image/gif" => "image/gif",
        "image/webp" => "image/webp",
        _ => return Err("Anthropic takes JPEG, PNG, GIF and WebP"),
    };
    Ok(Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() })
}

/// Encodes a PDF file, or one of text, which Anthropic takes as it reads.
fn document(url: &str) -> Option<Source> {
    let url = full(url)?;
    if url.mime_type.eq_ignore_ascii_case("application/pdf") {
        return Some(Source::Base64 { media_type: "application/pdf".to_owned(), data: url.data.to_owned() });
    }
    Some(Source::Text { media_type: "text/plain".to_owned(), data: url.text()? })
}

fn full(url: &str) -> Option<DataUrl<'_>> {
    DataUrl::parse(url).filter(|url| !url.data.is_empty())
}

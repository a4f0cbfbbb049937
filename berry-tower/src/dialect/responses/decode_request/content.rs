//! Decodes the contents of messages and of tool outputs.

use super::UNKNOWN;
use crate::dialect::{
    hub,
    unsupported::UnsupportedField,
    value::{Object, Value},
};

/// Decodes a content: a text, or parts.
///
/// # Errors
/// The part that other formats cannot express.
pub(super) fn content(value: Option<&Value>, path: &str) -> Result<hub::Content, UnsupportedField> {
    match value {
        None | Some(Value::Null) => Ok(hub::Content::Text(String::new())),
        Some(Value::String(text)) => Ok(hub::Content::Text(text.clone())),
        Some(Value::Array(parts)) => {
            let parts = parts.iter().enumerate().map(|(at, it)| part(it, &format!("{path}[{at}]")));
            Ok(joined(parts.collect::<Result<_, _>>()?))
        }
        Some(Value::Object(_)) | Some(Value::Bool(_) | Value::Number(_)) => {
            Err(UnsupportedField::new(path, "it is a text or a list of parts"))
        }
    }
}

/// Returns parts as a content: one text as a text.
fn joined(mut parts: Vec<hub::Part>) -> hub::Content {
    match &mut parts[..] {
        [] => hub::Content::Text(String::new()),
        [hub::Part::Text { text, other }] if other.is_empty() => hub::Content::Text(std::mem::take(text)),
        _ => hub::Content::Parts(parts),
    }
}

fn part(part: &Value, path: &str) -> Result<hub::Part, UnsupportedField> {
    let text = |name: &str| part.get(name).and_then(Value::as_str);
    let other = Object::default;
    if let Some(text) = part.as_str() {
        return Ok(hub::Part::Text { text: text.to_owned(), other: other() });
    }
    match text("type") {
        Some("input_text" | "output_text" | "text" | "summary_text" | "reasoning_text") => {
            let text = text("text").ok_or_else(|| UnsupportedField::new(format!("{path}.text"), "it is required"))?;
            Ok(hub::Part::Text { text: text.to_owned(), other: other() })
        }
        Some("refusal") => Ok(hub::Part::Refusal { refusal: text("refusal").unwrap_or_default().to_owned() }),
        Some("input_image") => {
            // Chat requests have the URL in an object.
            let url = part.get("image_url").and_then(|url| url.get("url").unwrap_or(url).as_str());
            let Some(url) = url else { return Err(stored(part, "image_url", path)) };
            let detail = text("detail").map(str::to_owned);
            Ok(hub::Part::ImageUrl { image_url: hub::ImageUrl { url: url.to_owned(), detail }, other: other() })
        }
        Some("input_file") => file(part, path),
        Some("input_audio") => {
            let sound = part.get("input_audio").and_then(Value::read);
            let sound = sound.ok_or_else(|| UnsupportedField::new(format!("{path}.input_audio"), "it is required"))?;
            Ok(hub::Part::InputAudio { input_audio: sound, other: other() })
        }
        _ => Err(UNKNOWN.reject(format!("{path}.type"))),
    }
}

/// Rejects a part whose data is stored at a provider, or missing.
fn stored(part: &Value, wanted: &str, path: &str) -> UnsupportedField {
    match part.get("file_id").filter(|id| !id.is_null()) {
        Some(_) => UNKNOWN.reject(format!("{path}.file_id")),
        None => UnsupportedField::new(format!("{path}.{wanted}"), "it is required"),
    }
}

fn file(part: &Value, path: &str) -> Result<hub::Part, UnsupportedField> {
    let text = |name: &str| part.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let filename = text("filename").map(str::to_owned);
    let (file_data, url) = match (text("file_data"), text("file_url")) {
        (Some(data), _) if data.starts_with("data:") => (Some(data.to_owned()), None),
        (Some(data), _) => {
            let kind = media_type(filename.as_deref().unwrap_or_default());
            (Some(format!("data:{kind};base64,{data}")), None)
        }
        (None, Some(url)) => (None, Some(url.to_owned())),
        (None, None) => return Err(stored(part, "file_data", path)),
    };
    let file = hub::File { file_data, file_id: None, filename, url };
    Ok(hub::Part::File { file, other: Object::default() })
}

/// The media type of a file without one, by its name.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).as_deref() {
        Some("txt" | "md" | "csv" | "log") => "text/plain",
        Some("json") => "application/json",
        Some("html" | "htm") => "text/html",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        _ => "application/pdf",
    }
}

/// Returns the texts of a reasoning item's summary, or else of its content.
pub(super) fn reasoning_text(item: &Value) -> String {
    let texts = |name: &str| {
        let parts = item.get(name).and_then(Value::as_array).unwrap_or_default();
        let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
        texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n")
    };
    let summary = texts("summary");
    if summary.is_empty() { texts("content") } else { summary }
}

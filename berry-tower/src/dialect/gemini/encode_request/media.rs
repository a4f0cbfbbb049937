//! Encodes pictures, audio and documents.

use super::UNKNOWN;
use crate::dialect::{
    data_url::DataUrl,
    gemini::{Blob, FileData, Part},
    hub,
    unsupported::UnsupportedField,
};

/// Encodes a part that is not text.
pub(super) fn part(part: &hub::Part, path: &str) -> Result<Part, UnsupportedField> {
    match part {
        hub::Part::ImageUrl { image_url, .. } => picture(&image_url.url, &format!("{path}.image_url.url")),
        hub::Part::InputAudio { input_audio, .. } => {
            let mime_type = match input_audio.format.as_str() {
                format @ ("wav" | "mp3" | "aiff" | "aac" | "ogg" | "flac") => format!("audio/{format}"),
                _ => return Err(UNKNOWN.reject(format!("{path}.input_audio.format"))),
            };
            Ok(inline(mime_type, input_audio.data.clone()))
        }
        hub::Part::File { file, .. } => {
            if file.file_id.is_some() {
                return Err(UnsupportedField::new(
                    format!("{path}.file.file_id"),
                    "a file that was uploaded to another provider",
                ));
            }
            if let Some(url) = file.url.as_deref().filter(|_| file.file_data.is_none()) {
                let file = FileData { mime_type: by_ending(url).map(str::to_owned), file_uri: url.to_owned() };
                return Ok(Part { file_data: Some(file), ..Part::default() });
            }
            // The name says nothing that the document does not, and OpenAI wants one with every file.
            let path = format!("{path}.file.file_data");
            match file.file_data.as_deref().and_then(DataUrl::parse) {
                Some(url) => taken(url, &path),
                None => Err(UnsupportedField::new(path, "is no `data:` URL in base64 with a type")),
            }
        }
        hub::Part::Text { .. } | hub::Part::Refusal { .. } | hub::Part::Other(_) => {
            Err(UNKNOWN.reject(format!("{path}.type")))
        }
    }
}

fn picture(url: &str, path: &str) -> Result<Part, UnsupportedField> {
    if let Some(url) = DataUrl::parse(url) {
        return taken(url, path);
    }
    if !url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
        return Err(UnsupportedField::new(path, "is neither `https:` nor a `data:` URL in base64 with a type"));
    }
    // Google reads the type from the file where the request does not state it.
    let file = FileData { mime_type: by_ending(url).map(str::to_owned), file_uri: url.to_owned() };
    Ok(Part { file_data: Some(file), ..Part::default() })
}

fn by_ending(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        _ => return None,
    })
}

/// Encodes inline media of a type that Google accepts.
fn taken(url: DataUrl<'_>, path: &str) -> Result<Part, UnsupportedField> {
    const PICTURES: [&str; 5] = ["png", "jpeg", "webp", "heic", "heif"];
    let mime_type = url.mime_type.to_ascii_lowercase();
    // A common mistake.
    let mime_type = if mime_type == "image/jpg" { "image/jpeg".to_owned() } else { mime_type };
    let is_taken = match mime_type.split_once('/') {
        Some(("image", kind)) => PICTURES.contains(&kind),
        Some(("application", kind)) => kind == "pdf",
        Some((kind, _)) => matches!(kind, "audio" | "video" | "text"),
        None => false,
    };
    if is_taken {
        Ok(inline(mime_type, url.data.to_owned()))
    } else {
        Err(UnsupportedField::new(path, format!("Google's models do not read {mime_type}")))
    }
}

fn inline(mime_type: String, data: String) -> Part {
    Part { inline_data: Some(Blob { mime_type, data }), ..Part::default() }
}

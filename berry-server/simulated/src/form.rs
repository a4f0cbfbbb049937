//! Multipart forms, read into the JSON object that the other endpoints get.

use super::refusal::Refusal;
use serde_json::{Map, Value, json};

/// Reads a form. Its boundary is the first line of the body. A file becomes an object with its name and its length.
pub(super) fn read(body: &[u8]) -> Result<Value, Refusal> {
    let invalid = || Refusal::invalid("We could not parse the multipart form of your request.");
    let line = find(body, b"\r\n").ok_or_else(invalid)?;
    let boundary = &body[..line];
    if !boundary.starts_with(b"--") {
        return Err(invalid());
    }
    let delimiter = [b"\r\n", boundary].concat();
    let mut fields = Map::new();
    let mut rest = &body[line..];
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let end = find(part, &delimiter).ok_or_else(invalid)?;
        let content = find(part, b"\r\n\r\n").filter(|content| *content < end).ok_or_else(invalid)?;
        let headers = String::from_utf8_lossy(&part[..content]);
        let (name, filename) = (parameter(&headers, "name"), parameter(&headers, "filename"));
        let name = name.ok_or_else(invalid)?;
        let data = &part[content + 4..end];
        let value = match filename {
            Some(filename) => json!({ "filename": filename, "bytes": data.len() }),
            None => String::from_utf8_lossy(data).into(),
        };
        fields.insert(name, value);
        rest = &part[end + delimiter.len()..];
    }
    if rest.starts_with(b"--") { Ok(Value::Object(fields)) } else { Err(invalid()) }
}

/// Returns a quoted or bare parameter of the part's `content-disposition`.
fn parameter(headers: &str, name: &str) -> Option<String> {
    let line = headers.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let value = line.split(';').find_map(|param| param.trim().strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

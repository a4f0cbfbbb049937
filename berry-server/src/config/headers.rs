//! Reads the tables of headers that are sent to a provider or a collector.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::reader::Table;

/// Headers that the HTTP client sets; other values would break requests.
const FRAMING: [HeaderName; 3] = [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// Reads a table of headers, whose values are marked sensitive.
pub(super) fn read(t: &mut Table<'_>, key: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, text, path) in t.string_entries(key) {
        let Ok(name) = HeaderName::try_from(name) else {
            t.reader.error(&path, "is no header name (letters, digits and `-`)");
            continue;
        };
        let Ok(mut value) = HeaderValue::try_from(text) else {
            t.reader.error(&path, "a header's value must not hold line breaks or control characters");
            continue;
        };
        if value.to_str().is_err() {
            t.reader.error(&path, "a header's value must be visible ASCII");
        }
        if FRAMING.contains(&name) {
            t.reader.error(&path, "is set by the gateway for each call; remove it");
        }
        value.set_sensitive(true);
        if headers.insert(name, value).is_some() {
            t.reader.error(&path, "is set twice: header names do not distinguish case");
        }
    }
    headers
}

//! The request reader accepts only what a parser accepts, finds the same members, and edits nothing but what it is
//! asked to edit.
#![no_main]

use berry_tower::inspect::Requested;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fn without(mut value: Value, key: &str) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.remove(key);
    }
    value
}

fuzz_target!(|input: &[u8]| {
    let body = Bytes::copy_from_slice(input);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=b"));
    if let Ok(form) = Requested::read_request("/v1/audio/transcriptions", &headers, &body) {
        let edited = form.with_model(&body, "other");
        let again = Requested::read_request("/v1/audio/transcriptions", &headers, &edited).expect("an edited form");
        assert_eq!(&*again.model, "other");
    }

    let Ok(requested) = Requested::read(&body) else { return };
    // The parser has limits of its own: on nesting, and on numbers.
    let Ok(value) = serde_json::from_slice::<Value>(&body) else { return };
    assert_eq!(value["model"].as_str(), Some(&*requested.model));
    assert_eq!(value.get("stream").and_then(Value::as_bool).unwrap_or(false), requested.stream);

    let name = "an \"other\" name";
    let edited: Value = serde_json::from_slice(&requested.with_model(&body, name)).expect("JSON");
    assert_eq!(edited["model"], name);
    assert_eq!(without(edited, "model"), without(value.clone(), "model"));

    let edited: Value = serde_json::from_slice(&requested.with_usage(&body, &requested.model)).expect("JSON");
    assert_eq!(without(edited, "stream_options"), without(value, "stream_options"));
});

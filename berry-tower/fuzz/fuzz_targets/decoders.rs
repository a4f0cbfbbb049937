//! No decoder panics, and what the translation writes is valid JSON, whatever a caller or a provider sends.
//!
//! The first byte says which formats meet. A line feed after a line feed separates the request from the response, and
//! the events of a streamed response from each other.
#![no_main]

use berry_tower::{
    dialect::{Conversation, Dialect, Target},
    endpoint::Endpoint,
};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const ENDPOINTS: [Endpoint; 3] = [Endpoint::ChatCompletions, Endpoint::Messages, Endpoint::Responses];
const DIALECTS: [Dialect; 4] = [Dialect::OpenAi, Dialect::Claude, Dialect::Gemini, Dialect::Responses];

fuzz_target!(|input: &[u8]| {
    let Some((&how, input)) = input.split_first() else { return };
    let endpoint = ENDPOINTS[usize::from(how & 3) % ENDPOINTS.len()];
    let dialect = DIALECTS[usize::from(how >> 2 & 3)];
    let at = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(input.len());
    let (request, response) = input.split_at(at);
    let stream = how & 128 != 0;
    let target = Target::new(dialect, "m").with_stream(stream);
    let conversation = Conversation::new(endpoint, Bytes::copy_from_slice(request));
    let Ok(encoded) = conversation.encode(&target) else { return };
    serde_json::from_slice::<Value>(&encoded).expect("a request in JSON");
    let Ok(mut translator) = conversation.translator(&target, 1) else { return };
    if !stream {
        if let Ok(translated) = translator.translate_response(response) {
            serde_json::from_slice::<Value>(&translated).expect("a response in JSON");
        }
        return;
    }
    let Ok(events) = std::str::from_utf8(response) else { return };
    let mut out = Vec::new();
    for event in events.split("\n\n").filter(|event| !event.is_empty()) {
        let (name, data) = event.split_once('\n').unwrap_or(("", event));
        let _ = translator.translate_event(name, data, &mut out);
    }
    translator.translate_end(how & 64 != 0, &mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        serde_json::from_str::<Value>(data).expect("an event in JSON");
    }
});

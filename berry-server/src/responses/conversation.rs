//! The conversation of a request and its response, as input items.

use serde_json::{Map, Value, json};

/// What the store needs to know of a request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) body: Map<String, Value>,
}

impl Request {
    /// Reads a request; `None` if it is no object, which the layers behind refuse.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().map(|body| Self { body })
    }

    /// Whether the response is to be stored, which is the default of the API.
    pub(super) fn stores(&self) -> bool {
        self.body.get("store") != Some(&Value::Bool(false))
    }

    pub(super) fn previous(&self) -> Option<&str> {
        self.body.get("previous_response_id")?.as_str()
    }

    /// Puts an earlier conversation before the input, in place of its id.
    pub(super) fn continue_from(&mut self, items: Vec<Value>) {
        let mut input = portable(items);
        input.extend(self.take_input());
        self.body.insert("input".to_owned(), input.into());
        self.body.remove("previous_response_id");
    }

    /// Returns the conversation after a response, as the text of its items.
    pub(super) fn with_output(mut self, output: &Value) -> String {
        let mut items = self.take_input();
        items.extend(output.as_array().into_iter().flatten().cloned());
        Value::from(items).to_string()
    }

    /// Takes the input out, as items.
    fn take_input(&mut self) -> Vec<Value> {
        match self.body.remove("input") {
            Some(Value::Array(items)) => items,
            Some(Value::String(text)) => vec![json!({"type": "message", "role": "user", "content": text})],
            _ => Vec::new(),
        }
    }
}

/// An upper bound of the memory that a JSON text takes once it is parsed: its strings, and 32 bytes for each value,
/// twice, since lists grow by doubling. An object takes room for eleven members at once.
pub(super) fn parsed_bytes(json: &[u8]) -> usize {
    let count = |byte: u8| json.iter().filter(|it| **it == byte).count();
    json.len() + 64 * count(b',') + 128 * count(b'[') + 704 * count(b'{')
}

/// Makes items ones that any backend accepts: without ids, by which only their maker knows them, and without reasoning
/// that has no content of its own.
fn portable(items: Vec<Value>) -> Vec<Value> {
    let mut out = Vec::with_capacity(items.len());
    for mut item in items {
        let is_empty = item["type"] == "reasoning" && item["encrypted_content"].is_null();
        if is_empty || item["type"] == "item_reference" {
            continue;
        }
        if let Some(fields) = item.as_object_mut() {
            if fields.get("type").is_none_or(|kind| kind != "reasoning") {
                fields.remove("id");
            }
            fields.remove("status");
        }
        out.push(item);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continues_an_earlier_conversation() {
        let mut request =
            Request::read(br#"{"model":"m","input":"And now?","previous_response_id":"resp_1"}"#).unwrap();
        assert!(request.stores());
        assert_eq!(request.previous(), Some("resp_1"));
        request.continue_from(vec![
            json!({"role": "user", "content": "Hi"}),
            json!({"type": "reasoning", "id": "rs_1", "summary": []}),
            json!({"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "x"}),
            json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": []}),
        ]);
        assert_eq!(
            Value::from(request.body),
            json!({"model": "m", "input": [
                {"role": "user", "content": "Hi"},
                {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "x"},
                {"type": "message", "role": "assistant", "content": []},
                {"type": "message", "role": "user", "content": "And now?"},
            ]})
        );
    }

    #[test]
    fn parsed_values_are_counted_with_the_room_that_they_take() {
        let value = size_of::<Value>();
        let list = format!("[{}0]", "0,".repeat(1000));
        assert!(parsed_bytes(list.as_bytes()) >= 2 * 1001 * value);
        let objects = format!("[{}0]", r#"{"":0},"#.repeat(1000));
        let entries = 11 * (size_of::<String>() + value);
        assert!(parsed_bytes(objects.as_bytes()) >= 1000 * entries);
        // Text is counted about once.
        assert!(parsed_bytes("word ".repeat(1000).as_bytes()) < 6000);
    }
}

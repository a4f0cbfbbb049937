//! JSON texts within JSON strings, such as the arguments of a tool call.
//!
//! The reader of a request body counts them as one value each, so their trees are bounded here.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    hub::{Content, Message, Part, Role},
    value::{Object, Value},
};

/// The most values of the tree that is made of one text.
const MOST: usize = 250_000;

/// Parses a JSON text; `None` if it is none, or one of too many values.
pub(super) fn value(text: &str) -> Option<Value> {
    // A value takes at least two bytes.
    if text.len() / 2 > MOST && count(text, MOST).is_none_or(|count| count > MOST) {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Parses a JSON object; `None` if the text is none, or one of too many values.
pub(super) fn object(text: &str) -> Option<Object> {
    match value(text) {
        Some(Value::Object(members)) => Some(*members),
        _ => None,
    }
}

/// Counts the values in the texts of a conversation that an encoder may [parse](value). A count above `most` is not
/// exact.
pub(super) fn count_in(messages: &[Message], most: usize) -> usize {
    let bytes: usize = messages.iter().flat_map(texts).map(|text| text.len() / 2 + 1).sum();
    if bytes <= most {
        return bytes;
    }
    let mut sum = 0;
    for text in messages.iter().flat_map(texts).filter(|text| text.trim_start().starts_with(['{', '['])) {
        sum += count(&text, most - sum).unwrap_or(0);
        if sum > most {
            break;
        }
    }
    sum
}

/// The texts of a message that may be JSON: the arguments of its calls, and what a tool says.
fn texts(message: &Message) -> impl Iterator<Item = Cow<'_, str>> {
    let calls = message.tool_calls.iter().flatten().map(|call| call.function.arguments.as_str().into());
    let content = message.content.as_ref().filter(|_| matches!(message.role, Role::Tool | Role::Function));
    let text = content.map(|content| match content {
        Content::Text(text) => text.as_str().into(),
        // An encoder may join them.
        Content::Parts(parts) => parts.iter().filter_map(text_of).collect::<String>().into(),
    });
    calls.chain(text)
}

fn text_of(part: &Part) -> Option<&str> {
    if let Part::Text { text, .. } = part { Some(text) } else { None }
}

/// Counts the values of a JSON text, up to one more than `most`; `None` if it is not JSON.
fn count(text: &str, most: usize) -> Option<usize> {
    let mut count = 0;
    let mut json = serde_json::Deserializer::from_str(text);
    let counted = Count { count: &mut count, most }.deserialize(&mut json).and_then(|()| json.end());
    (counted.is_ok() || count > most).then_some(count)
}

/// Counts values without keeping them.
struct Count<'a> {
    count: &'a mut usize,
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.count += 1;
        if *self.count > self.most {
            return Err(D::Error::custom("too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Count { count: self.count, most: self.most })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Count { count: self.count, most: self.most })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_values_of_a_text() {
        for (text, values) in [("1", 1), (r#"{"a":[1,"x",{"b":null}],"c":-1.5e3,"d":true}"#, 8), ("[]", 1)] {
            assert_eq!(count(text, 100), Some(values), "{text}");
        }
        assert_eq!(count("[1,2,3", 100), None);
        assert_eq!(count("[] []", 100), None);
        assert_eq!(count("[1,2,3", 2), Some(3), "no further than needed");
    }

    #[test]
    fn parses_no_text_of_too_many_values() {
        let wide = |values: usize| format!(r#"{{"a":[0{}]}}"#, ",0".repeat(values - 3));
        assert!(object(&wide(MOST)).is_some());
        assert!(object(&wide(MOST + 1)).is_none());
        assert!(object(&wide(MOST).replace(']', "")).is_none(), "it is not JSON");
        assert!(object(&format!(r#"{{"a":"{}"}}"#, "x".repeat(3 * MOST))).is_some(), "one long value");
        assert!(object("[]").is_none());
    }

    #[test]
    fn counts_what_calls_and_tools_say() {
        let messages: Vec<Message> = serde_json::from_value(serde_json::json!([
            {"role": "user", "content": "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"},
            {"role": "assistant", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"a\":[1,2,3,4,5,6,7,8]}"}},
            ]},
            {"role": "tool", "tool_call_id": "a", "content": [
                {"type": "text", "text": "{\"b\":[1,2,3,"}, {"type": "text", "text": "4,5,6]}"},
            ]},
        ]))
        .unwrap();
        assert_eq!(count_in(&messages, 18), 18);
        assert!(count_in(&messages, 17) > 17);
    }
}

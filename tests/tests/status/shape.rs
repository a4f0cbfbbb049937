//! Compares an answer with a sketch of it: the same keys, no more and no fewer, of the right types.

use serde_json::Value;

/// Panics with the path of the first difference.
///
/// A sketch is made of objects (`{"*": …}` is a map with any keys, at least one), lists of one
/// element (at least one such), and names of types, of which `|` separates several: `string`,
/// `time`, `bool`, `count`, `number`, `null`, `[string]`.
pub(crate) fn assert_shape(value: &Value, sketch: &Value) {
    compare("", value, sketch);
}

fn compare(path: &str, value: &Value, sketch: &Value) {
    match (value, sketch) {
        (Value::Object(found), Value::Object(wanted)) if wanted.contains_key("*") => {
            assert!(!found.is_empty(), "{path} is empty");
            for (key, value) in found {
                compare(&format!("{path}.{key}"), value, &wanted["*"]);
            }
        }
        (Value::Object(found), Value::Object(wanted)) => {
            let keys = |object: &serde_json::Map<String, Value>| {
                let mut keys: Vec<String> = object.keys().cloned().collect();
                keys.sort();
                keys
            };
            assert_eq!(keys(found), keys(wanted), "the keys of `{path}`");
            for (key, value) in found {
                compare(&format!("{path}.{key}"), value, &wanted[key]);
            }
        }
        (Value::Array(found), Value::Array(wanted)) => {
            assert!(!found.is_empty(), "{path} is empty");
            for (i, value) in found.iter().enumerate() {
                compare(&format!("{path}[{i}]"), value, &wanted[0]);
            }
        }
        (value, Value::String(types)) => {
            assert!(types.split('|').any(|name| is(value, name)), "{path}: {value} is no {types}");
        }
        _ => panic!("{path}: {value} is not like {sketch}"),
    }
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.as_str().is_some_and(|text| !text.is_empty()),
        "time" => value.as_str().is_some_and(is_time),
        "bool" => value.is_boolean(),
        "count" => value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        "[string]" => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
        _ => panic!("{name} is no type"),
    }
}

/// RFC 3339 in UTC.
fn is_time(text: &str) -> bool {
    let fits = |(have, want): (u8, u8)| if want == b'0' { have.is_ascii_digit() } else { have == want };
    let (date, rest) = text.split_at_checked(19).unwrap_or_default();
    let fraction = rest.strip_suffix('Z').map(|rest| rest.strip_prefix('.').unwrap_or(rest));
    date.len() == 19
        && date.bytes().zip(*b"0000-00-00T00:00:00").all(fits)
        && fraction.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
}

#[test]
fn detects_a_difference() {
    use serde_json::json;
    let differs = |value: Value, sketch: Value| std::panic::catch_unwind(|| assert_shape(&value, &sketch)).is_err();
    assert!(!differs(json!({ "a": [{ "b": 1 }], "c": null }), json!({ "a": [{ "b": "count" }], "c": "time|null" })));
    assert!(differs(json!({ "a": 1 }), json!({ "a": "count", "b": "null" })), "a key is missing");
    assert!(differs(json!({ "a": 1, "b": 2 }), json!({ "a": "count" })), "a key is too many");
    assert!(differs(json!({ "a": "2026-01-01 00:00:00" }), json!({ "a": "time" })));
    assert!(differs(json!({ "a": "2026-01-01T00:00:00+01:00" }), json!({ "a": "time" })));
    assert!(!differs(json!({ "a": "2026-01-01T00:00:00.5Z" }), json!({ "a": "time" })));
    assert!(differs(json!({}), json!({ "*": "count" })));
}

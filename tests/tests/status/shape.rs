//! Compares a JSON value with the shape that it must have: exactly these keys, with these types.

use serde_json::Value;

/// Asserts that a value has the given shape. Panics with the path of the first difference.
///
/// A shape consists of objects (`{"*": …}` is a map with at least one entry and any keys), lists of
/// one element (a list of at least one such value), and names of types, separated by `|`: `string`,
/// `time`, `bool`, `count`, `number`, `null`, `[string]`.
pub(crate) fn assert_shape(value: &Value, shape: &Value) {
    compare("", value, shape);
}

fn compare(path: &str, value: &Value, shape: &Value) {
    match (value, shape) {
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
            assert!(types.split('|').any(|name| is(value, name)), "{path}: {value} is not of type {types}");
        }
        _ => panic!("{path}: {value} does not match {shape}"),
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
        _ => panic!("unknown type {name}"),
    }
}

/// Returns whether a text is an RFC 3339 time in UTC.
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
    let differs = |value: Value, shape: Value| std::panic::catch_unwind(|| assert_shape(&value, &shape)).is_err();
    assert!(!differs(json!({ "a": [{ "b": 1 }], "c": null }), json!({ "a": [{ "b": "count" }], "c": "time|null" })));
    assert!(differs(json!({ "a": 1 }), json!({ "a": "count", "b": "null" })), "a key is missing");
    assert!(differs(json!({ "a": 1, "b": 2 }), json!({ "a": "count" })), "an extra key");
    assert!(differs(json!({ "a": "2026-01-01 00:00:00" }), json!({ "a": "time" })));
    assert!(differs(json!({ "a": "2026-01-01T00:00:00+01:00" }), json!({ "a": "time" })));
    assert!(!differs(json!({ "a": "2026-01-01T00:00:00.5Z" }), json!({ "a": "time" })));
    assert!(differs(json!({}), json!({ "*": "count" })));
}

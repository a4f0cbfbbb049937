//! `Inspect`: it reads the same values as a JSON parser, and changes only the model and the usage option.

use berry_tower::inspect::{Requested, Unreadable};
use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value, json};

/// Returns any JSON value of at most four levels.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((any::<String>(), inner), 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn stream_options() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        Just(None),
        Just(Some(json!({}))),
        Just(Some(json!(null))),
        Just(Some(json!({"include_usage": true}))),
        value().prop_map(|v| Some(json!({"include_usage": v, "b": 1}))),
        value().prop_map(|v| Some(json!({"a": v}))),
    ]
}

/// Whether a name differs from a known one only in case or by Unicode folding; such a body is refused.
fn is_other_spelling(name: &str) -> bool {
    let folded = name.to_uppercase().to_lowercase();
    let known = ["model", "stream", "stream_options", "n", "messages", "input", "tools"];
    known.contains(&folded.as_str()) && !known.contains(&name)
}

/// Returns a request body with its members in any order, compact or pretty-printed.
fn body() -> impl Strategy<Value = (Map<String, Value>, Bytes)> {
    let known = ("[^\u{0}]{1,12}", any::<bool>(), stream_options(), 0..5_u32);
    (known, vec((any::<String>(), value()), 0..5), any::<bool>()).prop_map(
        |((model, stream, options, n), more, pretty)| {
            let more = more.into_iter().filter(|(name, _)| !is_other_spelling(name));
            let mut members: Map<String, Value> = more.collect();
            members.insert("model".into(), model.into());
            members.insert("stream".into(), stream.into());
            members.insert("n".into(), n.into());
            options.map(|options| members.insert("stream_options".into(), options));
            let text = if pretty { serde_json::to_vec_pretty(&members) } else { serde_json::to_vec(&members) };
            (members, text.unwrap().into())
        },
    )
}

/// Escapes every character of a string.
fn escaped(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_rejected(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Requested::read(&bytes.into());
    }

    /// Almost valid JSON reaches more branches of the parser.
    #[test]
    fn agrees_with_a_json_parser_on_malformed_text(text in r#"[ ]?\{("(model|n|x|\\u006eodel)"[ ]?:[ ]?("[a-z]"|[0-9]|\[\{\}\]|tru?e),?){0,4}\}?[ ,]?"#) {
        let parsed = serde_json::from_str::<Map<String, Value>>(&text);
        match (Requested::read(&Bytes::from(text.clone())), parsed) {
            (Ok(requested), Ok(map)) => prop_assert_eq!(&*requested.model, map["model"].as_str().unwrap()),
            (Ok(_), Err(e)) => prop_assert!(false, "accepted invalid JSON: {e}"),
            (Err(Unreadable::NotAnObject(_)), parsed) => prop_assert!(parsed.is_err()),
            (Err(_), parsed) => prop_assert!(parsed.is_ok()),
        }
    }

    #[test]
    fn reads_the_values_of_the_body((members, body) in body()) {
        let requested = Requested::read(&body).unwrap();
        prop_assert_eq!(&*requested.model, members["model"].as_str().unwrap());
        prop_assert_eq!(requested.stream, members["stream"] == true);
        prop_assert_eq!(u64::from(requested.choices), members["n"].as_u64().unwrap());
        let at = &body[requested.model_at.clone()];
        prop_assert_eq!(&serde_json::from_slice::<Value>(at).unwrap(), &members["model"]);
        let includes_usage = members.get("stream_options").is_some_and(|o| o["include_usage"] == true);
        prop_assert_eq!(requested.stream_options.include_usage, includes_usage);
    }

    /// The changed body is the same JSON except for the model and the usage option.
    #[test]
    fn change_keeps_all_other_members((mut members, body) in body(), name in any::<String>()) {
        let requested = Requested::read(&body).unwrap();
        members.insert("model".into(), name.clone().into());
        let renamed: Value = serde_json::from_slice(&requested.with_model(&body, &name)).unwrap();
        prop_assert_eq!(&renamed, &Value::Object(members.clone()));

        let options = members.entry("stream_options").or_insert(Value::Null);
        if options.is_null() {
            *options = json!({});
        }
        options["include_usage"] = true.into();
        let with_usage = requested.with_usage(&body, &name);
        prop_assert_eq!(&serde_json::from_slice::<Value>(&with_usage).unwrap(), &Value::Object(members));
        let reread = Requested::read(&with_usage).unwrap_or_else(|e| {
            assert!(name.is_empty(), "{e}");
            requested.clone()
        });
        prop_assert!(reread.stream_options.include_usage || name.is_empty());
    }

    /// A duplicate key is detected even when it is escaped. Another spelling of a known key is refused for that.
    #[test]
    fn detects_a_duplicate_key_with_escapes(key in "[^\u{0}]{1,8}", more in 0..60_usize) {
        let plain = serde_json::to_string(&key).unwrap();
        let others: String = (0..more).map(|i| format!(r#""{i} other":{i},"#)).collect();
        let body = format!(r#"{{{plain}:"a",{others}"{}":"b"}}"#, escaped(&key));
        match Requested::read(&Bytes::from(body)) {
            Err(Unreadable::AmbiguousKey { known, .. }) => {
                prop_assert!(key != known && key.to_lowercase() == known, "{key} is no other spelling of {known}");
            }
            result => prop_assert_eq!(result, Err(Unreadable::DuplicateKey(key))),
        }
    }
}

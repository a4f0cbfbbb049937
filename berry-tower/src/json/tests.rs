//! What is one JSON object, and what is read from it, against `serde_json`.

use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::{collection, sample};

use super::object_check::{NotAnObject, ObjectCheck, PlainFacts};
use crate::sse::tests::reference::{Tree, is_object};
use crate::sse::{ErrorEvent, Usage};

fn check(parts: &[&[u8]]) -> Result<PlainFacts, NotAnObject> {
    let mut check = ObjectCheck::new();
    for part in parts {
        let _ = check.push(part);
    }
    check.finish()
}

#[test]
fn accepts_one_complete_object() {
    for body in [
        "{}",
        " \r\n\t{ } \n",
        r#"{"a":[1,-0.5e+3,{"b":null}],"c":"\u00e9\n\\\"}{","d":[[],{}],"e":true,"f":0}"#,
        r#"{"":{"":""},"lone":"\ud800"}"#,
    ] {
        assert_eq!(check(&[body.as_bytes()]), Ok(PlainFacts::default()), "{body}");
    }
}

#[test]
fn rejects_anything_but_one_object() {
    for body in [
        "",
        " ",
        "[]",
        "null",
        "\"{}\"",
        "{",
        "}",
        "{}}",
        "{} x",
        "{}{}",
        "{]",
        "[}",
        "{\"a\":[}]}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{\"a\" 1}",
        "{\"a\":[1,]}",
        "{\"a\":[,1]}",
        "{\"a\":\"",
        "{\"a\":\"\\",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":-}",
        "{\"a\":1e}",
        "{\"a\":+1}",
        "{\"a\":NaN}",
        "{\"a\":tru}",
        "{\"a\":truee}",
        "{\"a\":nul",
        "{'a':1}",
        "{\"a\":1 \"b\":2}",
        "<html>",
        "\u{feff}{}",
    ] {
        assert_eq!(check(&[body.as_bytes()]), Err(NotAnObject), "{body}");
    }
    for bytes in [&b"{\"a\":\"\xff\"}"[..], b"{\"a\":\"\xc3\"}", b"{\"\xe2\x82\":1}", b"{\"a\":\"\xc3\\n\"}"] {
        assert_eq!(check(&[bytes]), Err(NotAnObject));
    }
}

#[test]
fn limits_nesting() {
    let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    for (depth, fits) in [(126, true), (127, false)] {
        let body = nested(depth);
        assert_eq!(check(&[body.as_bytes()]).is_ok(), fits);
        assert_eq!(check(&body.as_bytes().chunks(1).collect::<Vec<_>>()).is_ok(), fits);
    }
}

#[test]
fn accepts_white_space_after_an_object() {
    let of = |parts: &[&str]| check(&parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
    let whole = of(&[r#"{"usage":{"input_tokens":1},"error":7}"#]);
    assert!(whole.as_ref().is_ok_and(|facts| facts.usage.is_some() && facts.error.is_some()));
    assert_eq!(of(&[r#"{"usage":{"input_tokens":1},"error":7}"#, "", " \n"]), whole);
    assert_eq!(of(&["", " ", r#"{"usage":{"input_tokens":1},"#, r#""error":7}"#, "\t"]), whole);
    for parts in [["{}", "x"], ["{}", "{}"], [" {", "}}"], ["{} ", ","], ["{}", "\u{a0}"]] {
        assert_eq!(of(&parts), Err(NotAnObject), "{parts:?}");
    }
    let mut check = ObjectCheck::new();
    assert!(check.push(b"{}").is_ok() && check.is_whole());
    assert!(check.push(b"x").is_err() && !check.is_whole());
    assert!(check.push(b" ").is_err() && check.finish().is_err(), "what is spoiled stays so");
}

#[test]
fn reads_usage_in_every_shape() {
    let of = |body: &str| check(&[body.as_bytes()]).unwrap().usage;
    let chat = r#"{"choices":[{"usage":{"prompt_tokens":1}}],"usage":{"prompt_tokens":12,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}"#;
    assert_eq!(of(chat), Some(Usage { input: 12, output: 5, cached: 4, ..Usage::default() }));
    let responses = r#"{"usage":{"input_tokens":12,"input_tokens_details":{"cached_tokens":3},"output_tokens":6}}"#;
    assert_eq!(of(responses), Some(Usage { input: 12, output: 6, cached: 3, ..Usage::default() }));
    let messages = r#"{"usage":{"input_tokens":2,"cache_read_input_tokens":10,"cache_creation_input_tokens":1,"output_tokens":6}}"#;
    assert_eq!(of(messages), Some(Usage { input: 13, output: 6, cached: 10, cache_write: 1, ..Usage::default() }));
    assert_eq!(
        of(r#"{"usage":{"input_tokens":"1"}}"#),
        Some(Usage { input: 1, output: 0, cached: 0, ..Usage::default() })
    );
    for none in [
        r#"{"usage":null}"#,
        r#"{"usage":{}}"#,
        r#"{"usage":[{"input_tokens":1}]}"#,
        r#"{"usage":{"input_tokens":"x"}}"#,
    ] {
        assert_eq!(of(none), None, "{none}");
    }
}

#[test]
fn reports_an_error_unless_it_is_null() {
    let of = |body: &str| check(&[body.as_bytes()]).unwrap().error;
    assert_eq!(of(r#"{"error":null,"x":{"error":{"message":"deep"}}}"#), None);
    let object = of(r#"{"error":{"message":"\ud83d\ude00 no","type":"t","code":"c","param":null}}"#);
    let told =
        ErrorEvent { message: Some("\u{1f600} no".to_owned()), kind: Some("t".to_owned()), code: Some("c".to_owned()) };
    assert_eq!(object, Some(told));
    for bare in [r#"{"error":{}}"#, r#"{"error":false}"#, r#"{"error":[]}"#] {
        assert_eq!(of(bare), Some(ErrorEvent::default()), "{bare}");
    }
    for (text, begin) in [("é\\n", "é\né\n"), ("é", "éé"), ("ab", "abab"), ("\\ud83d", "\u{fffd}")] {
        let long = format!("{{\"error\":\"{}\"}}", text.repeat(100_000));
        let message = of(&long).unwrap().message.unwrap();
        assert!(message.starts_with(begin) && message.len() < 2100);
        let parts: Vec<_> = long.as_bytes().chunks(1000).collect();
        assert_eq!(check(&parts).unwrap().error.unwrap().message.unwrap(), message);
    }
}

/// JSON, or nearly.
fn body() -> impl Strategy<Value = String> {
    let scalar = sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "-1.5e9",
        "12",
        "\"\"",
        "\"x\"",
        "\"\\u00e9\\\\\"",
        "\"é€😀\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\\n\\udc00\"",
        "\"a text of more than sixteen bytes\"",
        "\"and one, with \\\"quotes\\\", of more than sixty-four bytes: long enough for the wider steps\"",
        "\"und länger als vierundsechzig Bytes, mit Umlauten und 中文, an jeder Stelle zerschnitten\"",
        "01",
        "tru",
        "\"\\x\"",
        "\"",
        "\u{1}",
    ])
    .prop_map(str::to_owned);
    let value = scalar.prop_recursive(5, 40, 6, |inner| {
        let name = sample::select(vec![
            "error",
            "message",
            "type",
            "code",
            "usage",
            "prompt_tokens",
            "input_tokens",
            "output_tokens",
            "prompt_tokens_details",
            "cached_tokens",
            "choices",
            "a",
            "\\u0065rror",
        ]);
        let member = (name, inner.clone()).prop_map(|(name, value)| format!("\"{name}\" : {value}"));
        prop_oneof![
            1 => collection::vec(inner, 0..4).prop_map(|v| format!("[{}]", v.join(", "))),
            3 => collection::vec(member, 0..5).prop_map(|v| format!("{{{}}}", v.join(","))),
        ]
    });
    (value, prop_oneof![9 => Just(""), 1 => Just("}")]).prop_map(|(value, end)| value + end)
}

proptest! {
    #[test]
    fn verdict_on_a_long_string_does_not_depend_on_cuts(
        pieces in collection::vec(sample::select(vec![
            "x", "some words ", "\\n", "\\\"", "\\\\", "\\u00e9", "\\ud83d", "é", "中文",
        ]), 0..100),
        spoil in any::<Option<(sample::Index, u8)>>(),
        cuts in collection::vec(any::<sample::Index>(), 0..5),
    ) {
        let mut bytes = format!("{{\"a\":\"{}\"}}", pieces.concat()).into_bytes();
        if let Some((at, byte)) = spoil {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let parts: Vec<_> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        let whole = check(&[&bytes]);
        prop_assert_eq!(whole.is_ok(), is_object(&bytes));
        prop_assert_eq!(&whole, &check(&parts));
        prop_assert_eq!(&whole, &check(&bytes.chunks(1).collect::<Vec<_>>()));
    }

    #[test]
    fn agrees_with_serde_json_for_any_cuts(
        body in body(),
        cut in any::<Option<sample::Index>>(),
        spoil in any::<Option<(sample::Index, u8)>>(),
        cuts in collection::vec(any::<sample::Index>(), 0..20),
    ) {
        let mut bytes = body.into_bytes();
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() * 3 + 1));
        }
        if let Some((at, byte)) = spoil.filter(|_| bytes.len() > 40) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let parts: Vec<_> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        let facts = check(&[&bytes]);
        prop_assert_eq!(&facts, &check(&parts));
        prop_assert_eq!(&facts, &check(&bytes.chunks(1).collect::<Vec<_>>()));
        prop_assert_eq!(facts.is_ok(), is_object(&bytes));
        let tree = serde_json::from_slice::<Tree>(&bytes);
        if let (Ok(facts), Ok(tree)) = (facts, tree) && !tree.has_twins() {
            prop_assert_eq!(facts.usage, tree.usage());
            prop_assert_eq!(facts.error, tree.error());
        }
    }
}

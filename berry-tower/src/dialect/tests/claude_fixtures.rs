//! The examples in `tests/fixtures/claude`: each file of the caller's side or of Anthropic's has its
//! counterpart beside it, under the same name.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::dialect::{
    chat,
    codec::{DecodeResponse, EncodeResponse},
    hub, messages,
    target::Sampling,
    wire_format::EncodedRequest,
};
use serde_json::Value;

use super::{
    claude_rules::assert_valid,
    wire::{Cuts, read},
};

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/claude").join(kind)
}

/// The names of the examples in a folder. Every file is one that the tests know.
fn names(kind: &str, known: &[&str]) -> BTreeSet<String> {
    let files = fs::read_dir(folder(kind)).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<_> = files
        .map(|file| {
            let (name, rest) = file.split_once('.').unwrap();
            assert!(known.contains(&rest), "{kind}/{file}: what is it?");
            name.to_owned()
        })
        .collect();
    assert!(!names.is_empty());
    names
}

fn file(kind: &str, name: &str, rest: &str) -> Option<String> {
    fs::read_to_string(folder(kind).join(format!("{name}.{rest}"))).ok()
}

/// Formats a JSON text with the members in their order.
fn pretty(text: &[u8]) -> String {
    let value: crate::dialect::value::Value = serde_json::from_slice(text).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn translated(question: &str) -> Result<messages::MessagesRequest, String> {
    let question = hub::Request::parse(question.as_bytes()).unwrap();
    messages::MessagesRequest::from_hub(&question).map_err(|error| error.param)
}

/// What reads the answer: to the question beside it, or to any.
fn reader(kind: &str, name: &str) -> Box<dyn DecodeResponse> {
    let any = r#"{"model":"any","messages":[{"role":"user","content":"Hi"}]}"#;
    let question = file(kind, name, "request.json").unwrap_or_else(|| any.to_owned());
    translated(&question).unwrap().response_decoder(super::decoding(1_700_000_000))
}

#[test]
fn requests() {
    for name in names("requests", &["chat.json", "claude.json", "refused.txt"]) {
        let request = translated(&file("requests", &name, "chat.json").expect(&name));
        match (file("requests", &name, "claude.json"), file("requests", &name, "refused.txt")) {
            (Some(expected), None) => {
                let written = super::body_of(&request.expect(&name), "claude-x", Sampling::All, false);
                // As texts: the order of members is of meaning in schemas.
                assert_eq!(pretty(&written), expected.trim_end(), "{name}");
                assert_valid(&json(std::str::from_utf8(&written).unwrap()));
            }
            (None, Some(param)) => assert_eq!(request.expect_err(&name), param.trim_end(), "{name}"),
            _ => panic!("{name}: it is either translated or refused"),
        }
    }
}

#[test]
fn answers() {
    for name in names("answers", &["claude.json", "chat.json", "request.json"]) {
        let body = file("answers", &name, "claude.json").expect(&name);
        let answer = reader("answers", &name).decode_response(body.as_bytes()).expect(&name);
        let written = pretty(&chat::ResponseEncoder.encode_response(answer));
        assert_eq!(written, file("answers", &name, "chat.json").expect(&name).trim_end(), "{name}");
    }
}

#[test]
fn streams() {
    for name in names("streams", &["claude.sse", "chat.sse", "request.json"]) {
        let bytes = file("streams", &name, "claude.sse").expect(&name);
        let (items, malformed) = read(&mut *reader("streams", &name), bytes.as_bytes(), &Cuts::Everywhere);
        assert_eq!(malformed > 0, name == "malformed", "{name}");
        let mut written = Vec::new();
        for item in items {
            chat::ResponseEncoder.encode_item(item, &mut written);
        }
        let expected = file("streams", &name, "chat.sse").expect(&name);
        assert_eq!(String::from_utf8(written).unwrap(), expected, "{name}");
    }
}

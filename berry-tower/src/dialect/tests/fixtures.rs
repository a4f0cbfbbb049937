//! Examples of the wire, written after the providers' documentation. Every file of the folders is run: what
//! it is an example of stands in its name, and it holds both sides.

use std::{fs, path::Path};

use crate::dialect::{
    chat::{self, ResponseEncoder},
    codec::{DecodeResponse, EncodeResponse},
    gemini, hub, messages,
    wire_format::EncodedRequest,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{Cuts, read};

/// What comes in, and what it comes to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    /// The chat request that is answered.
    #[serde(default)]
    request: Option<Value>,
    /// Its members keep their order.
    from: crate::dialect::value::Value,
    #[serde(default)]
    to: Option<Value>,
    /// The field that cannot be expressed.
    #[serde(default)]
    refused: Option<String>,
}

/// What reads a stream and what writes it.
type Ends = (Box<dyn DecodeResponse>, Box<dyn EncodeResponse>);

/// How one side is translated into the other.
struct Pairs {
    folder: &'static str,
    request: fn(&[u8]) -> Result<Vec<u8>, String>,
    answer: fn(&Pair, &[u8]) -> Option<Vec<u8>>,
    stream: fn() -> Ends,
}

impl Pairs {
    fn run(&self) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(self.folder);
        let mut kinds = [0; 3];
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let (name, text) = (path.file_name().unwrap().to_str().unwrap(), fs::read_to_string(&path).unwrap());
            let (_, kind) = name.split_once('.').unwrap();
            match kind {
                "request.json" => self.request(name, &text),
                "answer.json" => self.answer(name, &text),
                "stream" => self.stream(name, &text),
                _ => panic!("{name}: an example of nothing"),
            }
            kinds[["request.json", "answer.json", "stream"].iter().position(|it| *it == kind).unwrap()] += 1;
        }
        assert!(kinds.iter().all(|files| *files > 5), "{kinds:?}");
    }

    fn request(&self, name: &str, text: &str) {
        let pair: Pair = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let told = (self.request)(pair.from.to_string().as_bytes());
        let told = told.map(|body| serde_json::from_slice::<Value>(&body).unwrap());
        let wanted = match (pair.to, pair.refused) {
            (Some(to), None) => Ok(to),
            (None, Some(param)) => Err(param),
            _ => panic!("{name}: holds one side"),
        };
        assert_eq!(told, wanted, "{name}");
    }

    fn answer(&self, name: &str, text: &str) {
        let pair: Pair = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let told = (self.answer)(&pair, pair.from.to_string().as_bytes());
        let told = told.map(|body| serde_json::from_slice::<Value>(&body).unwrap());
        assert_eq!(told, pair.to, "{name}");
    }

    fn stream(&self, name: &str, text: &str) {
        let (from, to) = text.split_once("=====\n").unwrap_or_else(|| panic!("{name}: holds one side"));
        for cuts in [Cuts::At(Vec::new()), Cuts::Everywhere] {
            let (mut reader, mut writer) = (self.stream)();
            let (items, _) = read(reader.as_mut(), from.as_bytes(), &cuts);
            let mut out = Vec::new();
            items.into_iter().for_each(|item| writer.encode_item(item, &mut out));
            assert_eq!(String::from_utf8(out).unwrap(), to, "{name}");
        }
    }
}

/// What a reader makes of a plain answer, as a caller gets it.
fn answered(reader: &mut dyn DecodeResponse, writer: &mut dyn EncodeResponse, body: &[u8]) -> Option<Vec<u8>> {
    Some(writer.encode_response(reader.decode_response(body).ok()?))
}

fn ask_gemini(request: Option<&Value>) -> Box<dyn DecodeResponse> {
    let usual = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    let request = hub::Request::parse(request.unwrap_or(&usual).to_string().as_bytes()).unwrap();
    gemini::GeminiRequest::from_hub(&request).unwrap().response_decoder(super::decoding(1_700_000_000))
}

#[test]
fn examples_of_gemini() {
    let request = |body: &[u8]| {
        let written = hub::Request::parse(body).and_then(|request| gemini::GeminiRequest::from_hub(&request));
        written
            .map(|request| super::body_of(&request, "m", crate::dialect::Sampling::All, false).into())
            .map_err(|error| error.param)
    };
    let answer =
        |pair: &Pair, body: &[u8]| answered(&mut *ask_gemini(pair.request.as_ref()), &mut ResponseEncoder, body);
    let stream = || (ask_gemini(None), Box::new(ResponseEncoder) as Box<dyn EncodeResponse>);
    Pairs { folder: "gemini", request, answer, stream }.run();
}

#[test]
fn examples_of_messages() {
    let request = |body: &[u8]| {
        let read = messages::Request::parse(body).and_then(|request| messages::to_hub(&request, &[]));
        read.map(|request| serde_json::to_vec(&request).unwrap()).map_err(|error| error.param)
    };
    let answer = |_: &Pair, body: &[u8]| {
        answered(&mut chat::ResponseDecoder::new(1, false), &mut messages::ResponseEncoder::default(), body)
    };
    let stream = || {
        let reader = Box::new(chat::ResponseDecoder::new(1, false)) as Box<dyn DecodeResponse>;
        (reader, Box::new(messages::ResponseEncoder::default()) as Box<dyn EncodeResponse>)
    };
    Pairs { folder: "messages", request, answer, stream }.run();
}

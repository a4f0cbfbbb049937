//! Examples of the wire, written after the providers' documentation. Every file of the folders is run: what
//! it is an example of stands in its name, and it holds both sides.

use std::{fs, path::Path};

use berry_tower::dialect::{
    Read, Write,
    chat::{self, Writer},
    gemini, messages,
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
    from: Value,
    #[serde(default)]
    to: Option<Value>,
    /// The field that cannot be expressed.
    #[serde(default)]
    refused: Option<String>,
}

/// What reads a stream and what writes it.
type Ends = (Box<dyn Read>, Box<dyn Write>);

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
            items.into_iter().for_each(|item| writer.item(item, &mut out));
            assert_eq!(String::from_utf8(out).unwrap(), to, "{name}");
        }
    }
}

/// What a reader makes of a plain answer, as a caller gets it.
fn answered(reader: &mut dyn Read, writer: &mut dyn Write, body: &[u8]) -> Option<Vec<u8>> {
    Some(writer.answer(reader.answer(body).ok()?))
}

fn ask_gemini(request: Option<&Value>) -> gemini::Reader {
    let usual = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    let request = chat::Request::read(request.unwrap_or(&usual).to_string().as_bytes()).unwrap();
    gemini::Request::from_chat(&request).unwrap().reader(1_700_000_000)
}

#[test]
fn examples_of_gemini() {
    let request = |body: &[u8]| {
        let written = chat::Request::read(body).and_then(|request| gemini::Request::from_chat(&request));
        written.map(|request| request.write().into()).map_err(|error| error.param)
    };
    let answer = |pair: &Pair, body: &[u8]| answered(&mut ask_gemini(pair.request.as_ref()), &mut Writer, body);
    let stream = || (Box::new(ask_gemini(None)) as Box<dyn Read>, Box::new(Writer) as Box<dyn Write>);
    Pairs { folder: "gemini", request, answer, stream }.run();
}

#[test]
fn examples_of_messages() {
    let request = |body: &[u8]| {
        let read = messages::Request::read(body).and_then(|request| messages::to_chat(&request));
        read.map(|request| serde_json::to_vec(&request).unwrap()).map_err(|error| error.param)
    };
    let answer = |_: &Pair, body: &[u8]| answered(&mut chat::Reader::new(1), &mut messages::Writer::default(), body);
    let stream = || {
        let reader = Box::new(chat::Reader::new(1)) as Box<dyn Read>;
        (reader, Box::new(messages::Writer::default()) as Box<dyn Write>)
    };
    Pairs { folder: "messages", request, answer, stream }.run();
}

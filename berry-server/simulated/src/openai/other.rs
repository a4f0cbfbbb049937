//! Embeddings, moderations, images, speech, transcripts and reranking.

use crate::base64;
use crate::model_request::{Kind, ModelRequest};
use crate::piece::{Piece, Role, event};
use crate::valid_response::ValidResponse;
use crate::wire::quoted;
use crate::words::{Voice, count};
use serde_json::{Value, json};

/// The default length of a vector, which is shorter than real ones for convenience in tests.
const DIMENSIONS: usize = 16;
const MAX_DIMENSIONS: usize = 4096;
/// An image of one grey pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";
const MAX_IMAGES: usize = 10;
/// The bytes of speech per word, and the minimum.
const SOUND_PER_WORD: usize = 1024;

const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

pub(super) fn answer(kind: Kind, ask: &ModelRequest, voice: &Voice, seed: u64) -> ValidResponse {
    match kind {
        Kind::Moderations => ValidResponse::json(moderations(ask, seed)),
        Kind::Images | Kind::ImageEdits | Kind::ImageVariations => ValidResponse::json(images(ask, voice)),
        Kind::Transcriptions | Kind::Translations => transcript(ask),
        Kind::Rerank => ValidResponse::json(rerank(ask, seed)),
        Kind::Speech => speech(ask),
        _ => ValidResponse::json(embeddings(ask)),
    }
}

/// Returns the inputs: a single one or an array. An array of numbers is one tokenized input.
fn inputs(ask: &ModelRequest) -> Vec<&Value> {
    match &ask.body["input"] {
        Value::Array(all) if !all.first().is_some_and(Value::is_number) => all.iter().collect(),
        one => vec![one],
    }
}

fn embeddings(ask: &ModelRequest) -> String {
    let dimensions = ask.number("dimensions").unwrap_or(DIMENSIONS).clamp(1, MAX_DIMENSIONS);
    let in_base64 = ask.text("encoding_format") == "base64";
    let inputs = inputs(ask);
    let vectors: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(&input.to_string(), dimensions);
            let vector = if in_base64 {
                let bytes: Vec<_> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                quoted(&base64::encode(&bytes))
            } else {
                json!(vector).to_string()
            };
            format!(r#"{{"object":"embedding","index":{index},"embedding":{vector}}}"#)
        })
        .collect();
    let tokens = |input: &&Value| match input {
        Value::Array(tokens) => tokens.len(),
        text => count(text.as_str().unwrap_or("")),
    };
    let tokens: usize = inputs.iter().map(tokens).sum();
    format!(
        r#"{{"object":"list","data":[{}],"model":{},"usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#,
        vectors.join(","),
        quoted(&ask.model),
    )
}

/// Returns numbers between −1 and 1 that depend only on the text.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut state = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // The upper bits of this generator are the most random, and 16 bits fit a float exactly.
        f32::from((state >> 48) as u16) / 32_768.0 - 1.0
    };
    (0..dimensions).map(|_| next()).collect()
}

fn moderations(ask: &ModelRequest, seed: u64) -> String {
    let of_all = |value: Value| {
        let all = CATEGORIES.iter().map(|name| ((*name).to_owned(), value.clone()));
        all.collect::<Value>()
    };
    let result = json!({
        "flagged": false,
        "categories": of_all(json!(false)),
        "category_scores": of_all(json!(0.0001)),
        "category_applied_input_types": of_all(json!(["text"])),
    });
    let results = vec![result; inputs(ask).len()];
    json!({"id": format!("modr-{seed:016x}"), "model": ask.model, "results": results}).to_string()
}

fn images(ask: &ModelRequest, voice: &Voice) -> String {
    let image = json!({"b64_json": PNG, "revised_prompt": ask.text("prompt")});
    let images = vec![image; ask.number("n").unwrap_or(1).clamp(1, MAX_IMAGES)];
    json!({"created": voice.created, "data": images}).to_string()
}

/// Returns the text of a transcript, which states the name and length of the file.
fn transcript_text(ask: &ModelRequest) -> String {
    let file = &ask.body["file"];
    format!("{} has {} bytes.", file["filename"].as_str().unwrap_or("The file"), file["bytes"])
}

/// Returns a transcript as JSON, text or subtitles.
fn transcript(ask: &ModelRequest) -> ValidResponse {
    let text = transcript_text(ask);
    let body = match ask.text("response_format") {
        "text" => format!("{text}\n"),
        "srt" => format!("1\n00:00:00,000 --> 00:00:01,000\n{text}\n"),
        "vtt" => format!("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{text}\n"),
        _ => return ValidResponse::json(json!({ "text": text }).to_string()),
    };
    ValidResponse { content_type: "text/plain; charset=utf-8", ..ValidResponse::json(body) }
}

/// Returns a transcript as a stream of events.
pub(super) fn transcript_events(ask: &ModelRequest) -> ValidResponse {
    let text = transcript_text(ask);
    let delta = |word: &str| {
        let delta = quoted(word);
        event(Role::Token, format!(r#"{{"type":"transcript.text.delta","delta":{delta}}}"#))
    };
    let mut events: Vec<Piece> = text.split_inclusive(' ').map(delta).collect();
    let text = quoted(&text);
    events.push(event(Role::Finish, format!(r#"{{"type":"transcript.text.done","text":{text}}}"#)));
    ValidResponse::events(events)
}

/// Returns the documents in the order of the request with decreasing scores.
fn rerank(ask: &ModelRequest, seed: u64) -> String {
    let documents = ask.body["documents"].as_array().map_or(0, Vec::len);
    let results = ask.number("top_n").unwrap_or(documents).min(documents);
    let result = |index: usize| json!({ "index": index, "relevance_score": 1.0 / (index + 1) as f64 });
    let results: Vec<_> = (0..results).map(result).collect();
    json!({ "id": format!("rerank-{seed:016x}"), "model": ask.model, "results": results }).to_string()
}

/// Returns binary data in several pieces, as speech is streamed.
fn speech(ask: &ModelRequest) -> ValidResponse {
    let content_type = match ask.text("response_format") {
        "wav" => "audio/wav",
        "opus" => "audio/opus",
        "aac" => "audio/aac",
        "flac" => "audio/flac",
        "pcm" => "audio/pcm",
        _ => "audio/mpeg",
    };
    let piece = |number: usize| {
        let mut sound: Vec<u8> = (0..SOUND_PER_WORD).map(|i| (i * 7 + number) as u8).collect();
        if number == 0 && content_type == "audio/mpeg" {
            sound[..3].copy_from_slice(b"ID3");
        }
        Piece::new(Role::Token, sound)
    };
    ValidResponse { content_type, pieces: (0..count(ask.text("input")).max(1)).map(piece).collect(), is_stream: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_depend_only_on_the_text() {
        assert_eq!(vector("a", 8), vector("a", 8));
        assert_ne!(vector("a", 8), vector("b", 8));
        assert!(vector("a", 4096).iter().all(|x| (-1.0..1.0).contains(x)));
    }
}

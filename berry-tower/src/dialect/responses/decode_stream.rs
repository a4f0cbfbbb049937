//! Decodes the stream of a backend.

mod items;

use self::items::{Found, Item, Kind};
use super::decode_response;
use crate::dialect::{
    chat,
    codec::{DecodeResponse, Malformed, StreamEnd, StreamItem},
    hub::{Chunk, ChunkChoice, Delta, FunctionDelta, Response, Role, ToolCallDelta, Usage},
    lenient,
    value::Value,
};

/// The longest event that is compared with the one before it, in bytes.
const MOST_COMPARED: usize = 4096;

/// Decodes the response to one request.
///
/// The end of an item and the end of the response repeat what came in pieces. They are compared with the pieces: what is
/// missing is emitted, and a stream that lost a piece in the middle fails.
#[derive(Debug, Default)]
pub(super) struct ResponseDecoder {
    id: String,
    model: String,
    created: u64,
    items: Vec<Item>,
    calls: u32,
    has_begun: bool,
    has_reasoning: bool,
    is_over: bool,
    /// The last event, by which one that was sent twice is recognised.
    last: String,
}

/// What separates two paragraphs of reasoning.
const PARAGRAPH: &str = "\n\n";

/// A piece of the output.
enum Piece {
    Text(String, Option<Value>),
    Refusal(String),
    Reasoning(String),
}

/// An event whose data is not of the format.
const NOT_RESPONSES: Malformed = Malformed("an event that is none of Responses");

impl ResponseDecoder {
    fn decode(&mut self, name: &str, event: &Value, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        if event.as_object().is_none() {
            return Err(NOT_RESPONSES);
        }
        let kind = event.get("type").and_then(Value::as_str).filter(|kind| !kind.is_empty()).unwrap_or(name);
        if matches!(kind, "error" | "response.failed" | "response.cancelled") || !lenient::is_blank(event.get("error"))
        {
            self.fail(event, out);
            return Ok(());
        }
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => self.begin(event.get("response"), out),
            "response.output_item.added" => {
                self.added(event, out)?;
            }
            "response.output_item.done" => self.item_done(event, out)?,
            "response.output_text.delta" => {
                let logprobs = event.get("logprobs").filter(|it| !lenient::is_blank(Some(it)));
                let logprobs = logprobs.map(|it| Value::object([("content", it.clone())]));
                self.piece(event, Kind::Message, |text| Piece::Text(text, logprobs), out)?;
            }
            "response.refusal.delta" => self.piece(event, Kind::Message, Piece::Refusal, out)?,
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" | "response.reasoning.delta" => {
                self.piece(event, Kind::Reasoning, Piece::Reasoning, out)?;
            }
            "response.output_text.done" => self.part_done(event, "text", Kind::Message, out)?,
            "response.refusal.done" => self.part_done(event, "refusal", Kind::Message, out)?,
            "response.reasoning_summary_text.done" | "response.reasoning_text.done" => {
                self.part_done(event, "text", Kind::Reasoning, out)?;
            }
            "response.function_call_arguments.delta" => self.arguments_delta(event, out)?,
            "response.function_call_arguments.done" => self.arguments_done(event, out)?,
            "response.custom_tool_call_input.delta" | "response.custom_tool_call_input.done" => {
                return Err(decode_response::CUSTOM);
            }
            "response.output_audio.delta" | "response.audio.delta" => {
                return Err(Malformed("audio, which cannot be translated"));
            }
            "response.completed" | "response.incomplete" => self.finish(event, out)?,
            // Events that repeat what has come, or tell of tools that the provider runs.
            _ => {}
        }
        Ok(())
    }

    fn fail(&mut self, event: &Value, out: &mut Vec<StreamItem>) {
        self.is_over = true;
        out.push(StreamItem::Error(decode_response::error(event)));
    }

    fn begin(&mut self, response: Option<&Value>, out: &mut Vec<StreamItem>) {
        let text = |name: &str| response.and_then(|response| lenient::text(response.get(name)));
        if self.id.is_empty() {
            self.id = text("id").unwrap_or_default();
        }
        if self.model.is_empty() {
            self.model = text("model").unwrap_or_default();
        }
        let created = response.and_then(|response| lenient::whole(response.get("created_at")));
        self.created = created.unwrap_or(self.created);
        if !std::mem::replace(&mut self.has_begun, true) {
            self.give(Delta { role: Some(Role::Assistant), ..Delta::default() }, None, out);
        }
    }

    /// Handles a piece of text, a refusal or reasoning.
    fn piece(
        &mut self,
        event: &Value,
        kind: Kind,
        piece: impl FnOnce(String) -> Piece,
        out: &mut Vec<StreamItem>,
    ) -> Result<(), Malformed> {
        let text = delta(event)?;
        if text.is_empty() {
            return Ok(());
        }
        let at = self.find_or_add(event, kind)?;
        let item = &mut self.items[at];
        if kind == Kind::Reasoning {
            let part = lenient::whole(event.get("summary_index").or_else(|| event.get("content_index")));
            if item.begin_part(part) {
                item.said.add(PARAGRAPH);
                self.say(Piece::Reasoning(PARAGRAPH.to_owned()), out);
            } else {
                self.separate(at, out);
            }
        }
        self.items[at].said.add(&text);
        self.say(piece(text), out);
        Ok(())
    }

    /// Separates the reasoning of an item that begins from that of the items before it.
    fn separate(&mut self, at: usize, out: &mut Vec<StreamItem>) {
        if self.has_reasoning && self.items[at].said.is_empty() {
            self.say(Piece::Reasoning(PARAGRAPH.to_owned()), out);
        }
    }

    /// Handles the whole of a part: it counts where no piece of its item has come.
    fn part_done(&mut self, event: &Value, name: &str, kind: Kind, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        let Some(text) = lenient::text(event.get(name)) else { return Ok(()) };
        let at = self.find_or_add(event, kind)?;
        if self.items[at].said.is_empty() && !self.items[at].is_done {
            if kind == Kind::Reasoning {
                self.separate(at, out);
            }
            self.items[at].said.add(&text);
            let piece = match name {
                "refusal" => Piece::Refusal(text),
                _ if kind == Kind::Reasoning => Piece::Reasoning(text),
                _ => Piece::Text(text, None),
            };
            self.say(piece, out);
        }
        Ok(())
    }

    fn arguments_delta(&mut self, event: &Value, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        let arguments = delta(event)?;
        let number = self.call_mut(event)?.push(&arguments)?;
        if !arguments.is_empty() {
            self.arguments(number, arguments, out);
        }
        Ok(())
    }

    fn arguments_done(&mut self, event: &Value, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        let Some(whole) = decode_response::arguments(event)? else { return Ok(()) };
        let (number, rest) = self.call_mut(event)?.complete(&whole)?;
        if !rest.is_empty() {
            self.arguments(number, rest, out);
        }
        Ok(())
    }

    fn arguments(&mut self, number: u32, arguments: String, out: &mut Vec<StreamItem>) {
        let function = FunctionDelta { name: None, arguments: Some(arguments) };
        let call = ToolCallDelta { index: number, function: Some(function), ..ToolCallDelta::default() };
        self.give(Delta { tool_calls: Some(vec![call]), ..Delta::default() }, None, out);
    }

    /// Finishes an item. What of it has not come in pieces is emitted.
    fn item_done(&mut self, event: &Value, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        let at = self.added(event, out)?;
        let item = event.get("item").unwrap_or(event);
        if std::mem::replace(&mut self.items[at].is_done, true) {
            return Ok(());
        }
        match self.items[at].kind {
            Kind::Message => {
                let parts = decode_response::parts(item)?;
                let whole: String = parts.iter().map(|(text, _)| &**text).collect();
                let rest = self.items[at].said.rest(&whole)?.len();
                let mut skipped = whole.len() - rest;
                for (mut text, is_refusal) in parts {
                    let known = skipped.min(text.len());
                    skipped -= known;
                    text.drain(..known);
                    self.say(if is_refusal { Piece::Refusal(text) } else { Piece::Text(text, None) }, out);
                }
            }
            Kind::Reasoning => {
                let whole = decode_response::reasoning_text(item);
                let rest = self.items[at].said.rest(&whole)?.to_owned();
                if !rest.is_empty() {
                    self.separate(at, out);
                }
                self.say(Piece::Reasoning(rest), out);
            }
            Kind::Call(_) => {
                let call = decode_response::call(item)?;
                let (number, rest) = self.items[at].finish_call(&call)?;
                if !rest.is_empty() {
                    self.arguments(number, rest, out);
                }
            }
            Kind::Hosted => decode_response::check_hosted(item)?,
        }
        Ok(())
    }

    fn say(&mut self, piece: Piece, out: &mut Vec<StreamItem>) {
        let (mut delta, mut logprobs) = (Delta::default(), None);
        let text = match piece {
            Piece::Text(text, of_tokens) => {
                logprobs = of_tokens;
                delta.content.insert(text)
            }
            Piece::Refusal(text) => delta.refusal.insert(text),
            Piece::Reasoning(text) => delta.reasoning_content.insert(text),
        };
        if text.is_empty() {
            return;
        }
        self.begin(None, out);
        self.has_reasoning |= delta.reasoning_content.is_some();
        self.give(delta, logprobs, out);
    }

    fn give(&self, delta: Delta, logprobs: Option<Value>, out: &mut Vec<StreamItem>) {
        self.chunk(vec![ChunkChoice { delta, logprobs, ..ChunkChoice::default() }], None, out);
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>, out: &mut Vec<StreamItem>) {
        out.push(StreamItem::Chunk(Chunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage,
            ..Chunk::default()
        }));
    }

    fn finish(&mut self, event: &Value, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        let response = event.get("response").filter(|it| it.as_object().is_some());
        let response = response.ok_or(Malformed("an end without a response"))?;
        if decode_response::has_failed(response) {
            self.fail(event, out);
            return Ok(());
        }
        self.begin(Some(response), out);
        let output = lenient::list(response.get("output"), Malformed("an output that is no list"))?;
        // Without positions it is unknown whether an item of the output has already come.
        let is_numbered = self.items.iter().all(Item::has_position);
        for (at, item) in output.iter().enumerate().filter(|(_, item)| !lenient::is_blank(Some(item))) {
            let event = Value::object([("item", item.clone()), ("output_index", (at as u64).into())]);
            if is_numbered || !matches!(self.find(&event), Found::None) {
                self.item_done(&event, out)?;
            }
        }
        let finish_reason = decode_response::finish(response, self.calls > 0);
        if self.items.iter().any(|item| item.is_cut(&finish_reason)) {
            return Err(Malformed("a tool call that is not complete"));
        }
        self.chunk(vec![ChunkChoice { finish_reason: Some(finish_reason), ..ChunkChoice::default() }], None, out);
        if let Some(usage) = chat::usage(response.get("usage")) {
            self.chunk(Vec::new(), Some(usage), out);
        }
        self.is_over = true;
        out.push(StreamItem::Done);
        Ok(())
    }

    /// Whether an event repeats the last one. Without numbers, two equal events may both be meant.
    fn is_repeated(&mut self, data: &str, event: &Value) -> bool {
        let is_numbered = lenient::whole(event.get("sequence_number")).is_some_and(|number| number > 0);
        let is_repeated = is_numbered && self.last == data;
        self.last.clear();
        if data.len() <= MOST_COMPARED {
            self.last.push_str(data);
        }
        is_repeated
    }
}

/// Returns the piece of text in an event.
fn delta(event: &Value) -> Result<String, Malformed> {
    match event.get("delta") {
        value if lenient::is_blank(value) => Ok(String::new()),
        value => lenient::text(value).ok_or(Malformed("a piece that is no text")),
    }
}

impl DecodeResponse for ResponseDecoder {
    fn decode_response(&mut self, body: &[u8]) -> Result<Response, Malformed> {
        decode_response::decode_response(body)
    }

    fn decode_event(&mut self, name: &str, data: &str, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        if self.is_over || data.trim() == "[DONE]" {
            return Ok(());
        }
        let event: Value = serde_json::from_str(data).map_err(|_| NOT_RESPONSES)?;
        if self.is_repeated(data, &event) {
            return Ok(());
        }
        if let Err(malformed) = self.decode(name, &event, out) {
            self.is_over = true;
            out.push(lenient::broken(malformed));
        }
        Ok(())
    }

    fn decode_end(&mut self, _end: StreamEnd, _out: &mut Vec<StreamItem>) {
        self.is_over = true;
    }
}

//! Decodes the stream of a backend.

use super::decode_response::{self, CUSTOM};
use crate::dialect::{
    chat,
    codec::{DecodeResponse, Malformed, StreamEnd, StreamItem},
    hub::{Chunk, ChunkChoice, Delta, FunctionDelta, FunctionKind, Response, Role, ToolCallDelta, Usage},
    lenient,
    value::Value,
};

/// The most items of a response.
const MOST: usize = 1024;

/// Decodes the response to one request.
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
}

/// An item of the response.
#[derive(Debug)]
struct Item {
    id: String,
    at: Option<u64>,
    kind: Kind,
    /// Whether a piece of it has come.
    has_piece: bool,
    is_done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Message,
    Reasoning,
    /// A call, by its number.
    Call(u32),
    /// An item that is skipped.
    Hosted,
}

/// A piece of the output.
enum Piece {
    Text(String, Option<Value>),
    Refusal(String),
    Reasoning(String),
}

impl ResponseDecoder {
    fn decode(&mut self, event: &Value, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        if event.as_object().is_none() {
            return Err(Malformed("an event that is none of Responses"));
        }
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        let is_failed = matches!(kind, "error" | "response.failed" | "response.cancelled");
        if is_failed || kind.is_empty() && !lenient::is_blank(event.get("error")) {
            self.is_over = true;
            out.push(StreamItem::Error(decode_response::error(event)));
            return Ok(());
        }
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => self.begin(event.get("response"), out),
            "response.output_item.added" => {
                self.added(event, out)?;
            }
            "response.output_item.done" => return self.item_done(event, out),
            "response.output_text.delta" => {
                let logprobs = event.get("logprobs").filter(|it| !lenient::is_blank(Some(it)));
                let logprobs = logprobs.map(|it| Value::object([("content", it.clone())]));
                return self.piece(event, Kind::Message, |text| Piece::Text(text, logprobs), out);
            }
            "response.refusal.delta" => return self.piece(event, Kind::Message, Piece::Refusal, out),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" | "response.reasoning.delta" => {
                return self.piece(event, Kind::Reasoning, Piece::Reasoning, out);
            }
            "response.reasoning_summary_part.added"
                if self.has_reasoning && lenient::whole(event.get("summary_index")).is_some_and(|index| index > 0) =>
            {
                self.say(Piece::Reasoning("\n\n".to_owned()), out);
            }
            "response.function_call_arguments.delta" => {
                let number = self.call(event)?;
                let arguments = delta(event)?;
                if !arguments.is_empty() {
                    self.arguments(number, arguments, out);
                }
            }
            "response.custom_tool_call_input.delta" | "response.custom_tool_call_input.done" => return Err(CUSTOM),
            "response.completed" | "response.incomplete" => return self.finish(event.get("response"), out),
            // Events that repeat what has come, or tell of tools that the provider runs.
            _ => {}
        }
        Ok(())
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

    /// Finds the item that an event is about.
    fn find(&self, event: &Value) -> Option<usize> {
        let item = event.get("item").unwrap_or(event);
        let id = lenient::text(event.get("item_id")).or_else(|| lenient::text(item.get("id")));
        let at = lenient::whole(event.get("output_index"));
        let by_id = id.and_then(|id| self.items.iter().position(|item| item.id == id));
        by_id.or_else(|| self.items.iter().position(|item| at.is_some() && item.at == at))
    }

    /// Adds an item; returns its position.
    fn added(&mut self, event: &Value, out: &mut Vec<StreamItem>) -> Result<usize, Malformed> {
        let item = event.get("item").filter(|item| item.as_object().is_some());
        let item = item.ok_or(Malformed("an item that is no object"))?;
        if let Some(known) = self.find(event) {
            return Ok(known);
        }
        if self.items.len() >= MOST {
            return Err(Malformed("more than 1024 items"));
        }
        let kind = match item.get("type").and_then(Value::as_str) {
            Some("message") => Kind::Message,
            Some("reasoning") => Kind::Reasoning,
            Some("function_call") => {
                let call = decode_response::call(item)?;
                let number = self.calls;
                self.calls += 1;
                let function = FunctionDelta { name: Some(call.function.name), arguments: Some(String::new()) };
                let kind = Some(FunctionKind::Function);
                let delta = ToolCallDelta {
                    index: number,
                    id: Some(call.id),
                    kind,
                    function: Some(function),
                    extra_content: None,
                };
                self.begin(None, out);
                self.give(Delta { tool_calls: Some(vec![delta]), ..Delta::default() }, None, out);
                Kind::Call(number)
            }
            Some("custom_tool_call") => return Err(CUSTOM),
            Some(_) => Kind::Hosted,
            None => return Err(Malformed("an item without a type")),
        };
        let (id, at) = (lenient::text(item.get("id")).unwrap_or_default(), lenient::whole(event.get("output_index")));
        self.items.push(Item { id, at, kind, has_piece: false, is_done: false });
        Ok(self.items.len() - 1)
    }

    /// Finishes an item. What of it has not come in pieces is emitted.
    fn item_done(&mut self, event: &Value, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        let at = self.added(event, out)?;
        let item = event.get("item").unwrap_or(event);
        let Item { kind, has_piece, is_done, .. } = self.items[at];
        self.items[at].is_done = true;
        if is_done || has_piece {
            return Ok(());
        }
        match kind {
            Kind::Message => {
                for part in lenient::list(item.get("content"), Malformed("a content that is no list"))? {
                    let (text, is_refusal) = decode_response::part_text(part)?;
                    self.say(if is_refusal { Piece::Refusal(text) } else { Piece::Text(text, None) }, out);
                }
            }
            Kind::Reasoning => self.say(Piece::Reasoning(decode_response::reasoning_text(item)), out),
            Kind::Call(number) => {
                let arguments = decode_response::call(item)?.function.arguments;
                self.arguments(number, arguments, out);
            }
            Kind::Hosted => {}
        }
        Ok(())
    }

    fn piece(
        &mut self,
        event: &Value,
        kind: Kind,
        piece: impl FnOnce(String) -> Piece,
        out: &mut Vec<StreamItem>,
    ) -> Result<(), Malformed> {
        let text = delta(event)?;
        match self.find(event) {
            Some(at) if self.items[at].kind != kind => return Err(Malformed("a piece of another kind than its item")),
            Some(at) => self.items[at].has_piece |= !text.is_empty(),
            // Some servers do not announce their items.
            None if self.items.len() < MOST => {
                let id = lenient::text(event.get("item_id")).unwrap_or_default();
                let at = lenient::whole(event.get("output_index"));
                self.items.push(Item { id, at, kind, has_piece: !text.is_empty(), is_done: false });
            }
            None => return Err(Malformed("more than 1024 items")),
        }
        self.say(piece(text), out);
        Ok(())
    }

    /// Returns the number of the call that an event is about.
    fn call(&mut self, event: &Value) -> Result<u32, Malformed> {
        let at = self.find(event).ok_or(Malformed("a piece of a tool call that has not begun"))?;
        let item = &mut self.items[at];
        item.has_piece = true;
        match item.kind {
            Kind::Call(number) => Ok(number),
            _ => Err(Malformed("a piece of another kind than its item")),
        }
    }

    fn arguments(&mut self, number: u32, arguments: String, out: &mut Vec<StreamItem>) {
        let function = FunctionDelta { name: None, arguments: Some(arguments) };
        let call = ToolCallDelta { index: number, function: Some(function), ..ToolCallDelta::default() };
        self.give(Delta { tool_calls: Some(vec![call]), ..Delta::default() }, None, out);
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
        self.has_reasoning |= delta.reasoning_content.is_some();
        self.begin(None, out);
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

    fn finish(&mut self, response: Option<&Value>, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        let response = response.filter(|it| it.as_object().is_some()).ok_or(Malformed("an end without a response"))?;
        self.begin(Some(response), out);
        // An item that never ended may have a gap.
        if self.items.iter().any(|item| matches!(item.kind, Kind::Call(_)) && !item.is_done && !item.has_piece) {
            return Err(Malformed("a tool call that is not complete"));
        }
        if self.items.is_empty() {
            for (at, item) in
                lenient::list(response.get("output"), Malformed("an output that is no list"))?.iter().enumerate()
            {
                let event = Value::object([("item", item.clone()), ("output_index", (at as u64).into())]);
                self.item_done(&event, out)?;
            }
        }
        let finish_reason = Some(decode_response::finish(response, self.calls > 0));
        self.chunk(vec![ChunkChoice { finish_reason, ..ChunkChoice::default() }], None, out);
        if let Some(usage) = chat::usage(response.get("usage")) {
            self.chunk(Vec::new(), Some(usage), out);
        }
        self.is_over = true;
        out.push(StreamItem::Done);
        Ok(())
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

    fn decode_event(&mut self, _name: &str, data: &str, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
        if self.is_over || data.trim() == "[DONE]" {
            return Ok(());
        }
        let event: Value = serde_json::from_str(data).map_err(|_| Malformed("an event that is none of Responses"))?;
        if let Err(malformed) = self.decode(&event, out) {
            self.is_over = true;
            out.push(lenient::broken(malformed));
        }
        Ok(())
    }

    fn decode_end(&mut self, _end: StreamEnd, _out: &mut Vec<StreamItem>) {
        self.is_over = true;
    }
}

//! A second stream, compared with what the client has of the first, and rewritten to continue it.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{
    DONE, DeliveredResponse, Mark,
    event::{Event, ItemKind, Token},
};
use crate::{
    resume::{
        chunk::CONTENT,
        replay::{Probe, Step},
        transcript::Transcript,
    },
    stream_events::{data, with_data},
};

/// A second stream, compared with what the client has of the first.
#[derive(Debug)]
pub(in crate::resume) struct ResponseReplay {
    delivered: DeliveredResponse,
    /// The part of the second stream that was compared.
    compared: Transcript,
    /// Whether the client has the current part already.
    is_skipping: bool,
    /// Whether the client has got a part of the second stream.
    has_output: bool,
    /// Whether the client has got the end of the response.
    is_over: bool,
    /// The items of the second stream.
    items: Vec<Item>,
    /// The number of visible items of the client that were compared.
    visible: usize,
    /// Set while it is not known whether the stream continues from the prefix or starts over.
    probe: Option<Probe>,
    /// The text that a stream continues which was given it as a prefix.
    prefix: Option<String>,
    /// The end of a piece of text whose beginning the client has.
    rest: Option<String>,
}

/// An item of the second stream.
#[derive(Clone, Copy, Debug)]
struct Item {
    kind: ItemKind,
    /// Its position in the client's stream; `None` while it is left out.
    at: Option<usize>,
    /// Whether its first part continues the prefix.
    continues: bool,
}

/// The streams differ.
struct Differs;

impl ResponseReplay {
    /// Compares a stream that starts from the beginning, and skips the part that the client has.
    pub(in crate::resume) fn from_start(delivered: DeliveredResponse) -> Self {
        let is_skipping = delivered.transcript.length() > 0;
        Self::new(delivered, is_skipping)
    }

    /// Passes on a stream that continues where the first broke off.
    pub(in crate::resume) fn continuing(delivered: DeliveredResponse) -> Self {
        let Some(prefix) = delivered.prefix().map(str::to_owned) else { return Self::from_start(delivered) };
        let replay = Self::new(delivered, false);
        Self { probe: Some(Probe::default()), prefix: Some(prefix), ..replay }
    }

    fn new(delivered: DeliveredResponse, is_skipping: bool) -> Self {
        Self {
            delivered,
            compared: Transcript::default(),
            is_skipping,
            has_output: false,
            is_over: false,
            items: Vec::new(),
            visible: 0,
            probe: None,
            prefix: None,
            rest: None,
        }
    }

    /// Returns what the client has by now.
    pub(in crate::resume) fn into_delivered(self) -> DeliveredResponse {
        self.delivered
    }

    /// Whether the client has got a part of the second stream.
    pub(in crate::resume) const fn has_output(&self) -> bool {
        self.has_output
    }

    /// Whether the client has got a whole response.
    pub(in crate::resume) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Reads the next event of the second stream.
    pub(in crate::resume) fn event(&mut self, event: &Bytes) -> Step {
        let Some(mut probe) = self.probe.take() else { return self.step(event) };
        let token = std::str::from_utf8(event).ok().and_then(data).and_then(|data| Event::read(&data));
        let is_decided = match token.map(|event| event.token) {
            Some(Token::Text(channel, text)) => {
                probe.push_text(&text);
                channel != CONTENT
            }
            Some(Token::Opaque | Token::TextDone | Token::End | Token::Item(ItemKind::Other, _)) => true,
            _ => false,
        };
        probe.push(event.clone());
        match probe.starts_over(self.delivered.prefix().unwrap_or_default(), is_decided) {
            None => {
                self.probe = Some(probe);
                return Step::Skip;
            }
            // A stream that starts over is compared like any other.
            Some(true) => (self.is_skipping, self.prefix) = (true, None),
            Some(false) => {}
        }
        probe.replay(|event| self.step(event))
    }

    fn step(&mut self, event: &Bytes) -> Step {
        match self.next(event) {
            Ok(Some(event)) => {
                self.has_output = true;
                Step::Pass(vec![event])
            }
            Ok(None) => Step::Skip,
            Err(Differs) => Step::Differs,
        }
    }

    fn next(&mut self, event: &Bytes) -> Result<Option<Bytes>, Differs> {
        let text = std::str::from_utf8(event).map_err(|_| Differs)?;
        let Some(data) = data(text) else { return Ok(self.has_output.then(|| event.clone())) };
        if data == DONE {
            return if self.is_over { Ok(Some(event.clone())) } else { Err(Differs) };
        }
        let read = Event::read(&data).ok_or(Differs)?;
        if self.is_known(&read)? {
            return Ok(None);
        }
        let rewritten = self.rewrite(&data, &read)?;
        let rewritten_text = Value::Object(rewritten).to_string();
        self.delivered.apply(&Event::read(&rewritten_text).ok_or(Differs)?);
        self.is_over |= read.token == Token::End;
        Ok(Some(with_data(text, &rewritten_text)))
    }

    /// Whether the client has all of an event, or needs none of it.
    fn is_known(&mut self, event: &Event) -> Result<bool, Differs> {
        match &event.token {
            Token::Begin { .. } => Ok(true),
            Token::Ignored => Ok(self.is_skipping),
            Token::Item(kind, _) => self.begin_item(*kind, event.at),
            Token::Part => self.begin_part(event.at),
            Token::Text(channel, text) => self.text(*channel, text),
            Token::TextDone => self.compare(Mark::TextDone),
            Token::PartDone => self.compare(Mark::PartDone),
            Token::ItemDone(_) => match self.item(event.at)?.at {
                Some(_) => self.compare(Mark::ItemDone),
                // Reasoning without text.
                None => Ok(true),
            },
            Token::End | Token::Opaque if self.is_skipping => Err(Differs),
            Token::End | Token::Opaque => Ok(false),
        }
    }

    fn item(&mut self, at: Option<usize>) -> Result<&mut Item, Differs> {
        let last = self.items.len().checked_sub(1);
        at.or(last).and_then(|at| self.items.get_mut(at)).ok_or(Differs)
    }

    /// Maps a new item to one of the client's, or to a new one.
    fn begin_item(&mut self, kind: ItemKind, at: Option<usize>) -> Result<bool, Differs> {
        if at.is_some_and(|at| at != self.items.len()) {
            return Err(Differs);
        }
        let joins = self.prefix.is_some() && !self.items.iter().any(|item| item.continues);
        // Whether reasoning has text is not known yet.
        if kind == ItemKind::Reasoning && (self.is_skipping || joins) {
            self.items.push(Item { kind, at: None, continues: false });
            return Ok(true);
        }
        if joins && kind == ItemKind::Message {
            let open = self.delivered.items.len() - 1;
            self.items.push(Item { kind, at: Some(open), continues: true });
            return Ok(true);
        }
        if self.is_skipping {
            let known = self.next_visible(kind)?;
            self.items.push(Item { kind, at: Some(known), continues: false });
            return self.compare(Mark::Message);
        }
        if let Some(open) = self.delivered.items.last().filter(|last| last.done.is_none()) {
            // The client has the beginning of reasoning without text.
            if open.is_visible || open.kind != kind {
                return Err(Differs);
            }
            self.items.push(Item { kind, at: Some(self.delivered.items.len() - 1), continues: false });
            return Ok(true);
        }
        self.items.push(Item { kind, at: Some(self.delivered.items.len()), continues: false });
        Ok(false)
    }

    /// Returns the position of the client's next visible item, which must be of this kind.
    fn next_visible(&mut self, kind: ItemKind) -> Result<usize, Differs> {
        let mut visible = self.delivered.items.iter().enumerate().filter(|(_, item)| item.is_visible);
        let (at, item) = visible.nth(self.visible).ok_or(Differs)?;
        if item.kind != kind || kind == ItemKind::Other {
            return Err(Differs);
        }
        self.visible += 1;
        Ok(at)
    }

    fn begin_part(&mut self, at: Option<usize>) -> Result<bool, Differs> {
        let item = *self.item(at)?;
        if item.continues && !self.has_output {
            return Ok(true);
        }
        if item.at.is_none() {
            // Reasoning that has text after all.
            if !self.is_skipping {
                return Err(Differs);
            }
            let known = self.next_visible(item.kind)?;
            self.item(at)?.at = Some(known);
            self.compare(Mark::Reasoning)?;
        }
        self.compare(Mark::Part)
    }

    /// Compares a beginning or an end; returns whether the client has it.
    fn compare(&mut self, mark: Mark) -> Result<bool, Differs> {
        if !self.is_skipping {
            return Ok(false);
        }
        self.compared.mark(mark as u8);
        self.check()?;
        Ok(true)
    }

    /// Checks whether the part that the client has ends here.
    fn check(&mut self) -> Result<(), Differs> {
        let limit = self.delivered.transcript.length();
        if self.compared.length() > limit {
            return Err(Differs);
        }
        if self.compared.length() == limit {
            if !self.compared.equals(&self.delivered.transcript) {
                return Err(Differs);
            }
            self.is_skipping = false;
        }
        Ok(())
    }

    /// Compares a text; returns whether the client has all of it. What it lacks is in `rest`.
    fn text(&mut self, channel: u8, text: &str) -> Result<bool, Differs> {
        if !self.is_skipping {
            return Ok(text.is_empty());
        }
        let limit = self.delivered.transcript.length();
        let rest = self.compared.add_up_to(channel, text, limit).ok_or(Differs)?;
        self.check()?;
        self.rest = Some(rest.to_owned()).filter(|rest| !rest.is_empty());
        Ok(rest.is_empty())
    }

    /// Rewrites an event as one of the client's stream.
    fn rewrite(&mut self, data: &str, event: &Event) -> Result<Map<String, Value>, Differs> {
        let mut members: Map<String, Value> = serde_json::from_str(data).map_err(|_| Differs)?;
        members.insert("sequence_number".to_owned(), self.delivered.next_number.into());
        if event.token == Token::End {
            self.rewrite_end(&mut members)?;
            return Ok(members);
        }
        if event.at.is_none() && !members.contains_key("item_id") && !members.contains_key("item") {
            return Ok(members);
        }
        let item = *self.item(event.at)?;
        let at = item.at.ok_or(Differs)?;
        members.insert("output_index".to_owned(), at.into());
        let id = self.id(at, &members);
        if members.contains_key("item_id") {
            members.insert("item_id".to_owned(), id.clone());
        }
        if let Some(item) = members.get_mut("item").and_then(Value::as_object_mut) {
            item.insert("id".to_owned(), id);
        }
        if let Some(delta) = self.rest.take() {
            members.insert("delta".to_owned(), delta.into());
        }
        if let (true, Some(prefix)) = (item.continues, &self.prefix) {
            let mut prepend = |pointer: &[&str]| {
                let (first, rest) = (pointer[0], &pointer[1..]);
                let mut value = members.get_mut(first);
                for name in rest {
                    value = value.and_then(|value| match value {
                        Value::Array(elements) => elements.first_mut(),
                        value => value.get_mut(*name),
                    });
                }
                if let Some(Value::String(text)) = value {
                    text.insert_str(0, prefix);
                }
            };
            match event.token {
                Token::TextDone => prepend(&["text"]),
                Token::PartDone => prepend(&["part", "text"]),
                Token::ItemDone(_) => prepend(&["item", "content", "0", "text"]),
                _ => {}
            }
        }
        Ok(members)
    }

    /// The client's id of an item.
    fn id(&self, at: usize, members: &Map<String, Value>) -> Value {
        if let Some(known) = self.delivered.items.get(at) {
            return known.id.as_str().into();
        }
        let id = members.get("item").and_then(|item| item.get("id")).and_then(Value::as_str).unwrap_or_default();
        let is_taken = self.delivered.items.iter().any(|item| item.id == id);
        if is_taken { format!("{id}_{at}").into() } else { id.into() }
    }

    /// The end of the response: of the first stream's id, with the items that the client has.
    fn rewrite_end(&self, members: &mut Map<String, Value>) -> Result<(), Differs> {
        let response = members.get_mut("response").and_then(Value::as_object_mut).ok_or(Differs)?;
        if let Some((id, created)) = &self.delivered.head {
            response.insert("id".to_owned(), id.clone());
            response.insert("created_at".to_owned(), created.clone());
        }
        let items = self.delivered.items.iter().map(|item| item.done.clone().filter(|item| !item.is_null()));
        let items: Option<Vec<_>> = items.collect();
        response.insert("output".to_owned(), items.ok_or(Differs)?.into());
        Ok(())
    }
}

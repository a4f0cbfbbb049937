//! A slow reference implementation with which the filter is compared.

use serde_json::Value;

use super::{ErrorEvent, Grammar, StreamFault, Usage};

/// What a stream should come to.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) sent: Vec<u8>,
    pub(crate) result: Result<(), StreamFault>,
    pub(crate) usage: Option<Usage>,
    pub(crate) malformed: u64,
    pub(crate) output: bool,
}

/// One event: all its bytes, and what an SSE parser makes of it.
pub(crate) struct Parsed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) name: Vec<u8>,
}

/// Lines with their terminators.
fn lines(mut bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(bytes.len());
        let width = match bytes[end..] {
            [b'\r', b'\n', ..] => 2,
            [] => 0,
            _ => 1,
        };
        lines.push((&bytes[..end], &bytes[end..end + width]));
        bytes = &bytes[end + width..];
    }
    lines
}

/// The events of a stream; the last may lack its end. `Err` when it is no event stream.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Vec<Parsed>, Option<Vec<u8>>), ()> {
    let mut events = Vec::new();
    let mut open = Parsed { bytes: Vec::new(), data: None, name: Vec::new() };
    let mut any = false;
    let mark = b"\xef\xbb\xbf";
    if mark.starts_with(bytes) {
        return Ok((events, Some(Vec::new())));
    }
    let body = bytes.strip_prefix(mark).unwrap_or(bytes);
    open.bytes.extend_from_slice(&bytes[..bytes.len() - body.len()]);
    for (line, end) in lines(body) {
        open.bytes.extend_from_slice(line);
        open.bytes.extend_from_slice(end);
        if line.is_empty() {
            if any {
                events.push(std::mem::replace(&mut open, Parsed { bytes: Vec::new(), data: None, name: Vec::new() }));
            }
            continue;
        }
        let colon = line.iter().position(|b| *b == b':');
        let field = &line[..colon.unwrap_or(line.len())];
        if !any {
            let known: [&[u8]; 5] = [b"", b"data", b"event", b"id", b"retry"];
            let cut = colon.is_none() && end.is_empty();
            if cut && known.iter().any(|k| k.starts_with(field)) {
                return Ok((events, Some(Vec::new())));
            }
            if !known.contains(&field) {
                return Err(());
            }
        }
        any = true;
        let value = colon.map_or(&b""[..], |c| &line[c + 1..]);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => match &mut open.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => open.data = Some(value.to_vec()),
            },
            b"event" => open.name = value.to_vec(),
            _ => {}
        }
    }
    let rest = (!open.bytes.is_empty()).then_some(open.bytes);
    Ok((events, if any { rest } else { Some(Vec::new()) }))
}

/// Whether the bytes are one JSON object, asked of `serde_json`.
pub(crate) fn is_object(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{')
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
        && depth(data) <= 127
}

fn depth(data: &[u8]) -> usize {
    let (mut depth, mut most, mut quoted, mut at) = (0, 0, false, 0);
    while at < data.len() {
        match data[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                most = most.max(depth);
            }
            b'}' | b']' if !quoted => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    most
}

/// Whether `serde_json` may write a number otherwise than it came: with an exponent, or as a long float.
#[cfg(fuzzing)]
pub(crate) fn has_rewritten_numbers(bytes: &[u8]) -> bool {
    let has_exponent = bytes.windows(2).any(|pair| pair[0].is_ascii_digit() && matches!(pair[1], b'e' | b'E'));
    let is_float = |part: &[u8]| part.contains(&b'.') && part.len() > 15;
    has_exponent || bytes.split(|byte| !byte.is_ascii_digit() && *byte != b'.').any(is_float)
}

/// Like `Value`, with members that come twice kept.
#[derive(Debug)]
pub(crate) enum Tree {
    Leaf(Value),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl<'de> serde::Deserialize<'de> for Tree {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Tree;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Null))
            }
            fn visit_bool<E>(self, v: bool) -> Result<Tree, E> {
                Ok(Tree::Leaf(v.into()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Tree, E> {
                Ok(Tree::Leaf(v.into()))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Tree, E> {
                Ok(Tree::Leaf(v.into()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Tree, E> {
                Ok(Tree::Leaf(v.into()))
            }
            fn visit_str<E>(self, v: &str) -> Result<Tree, E> {
                Ok(Tree::Leaf(v.into()))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut a: A) -> Result<Tree, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = a.next_element()? {
                    list.push(item);
                }
                Ok(Tree::List(list))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut a: A) -> Result<Tree, A::Error> {
                let mut object = Vec::new();
                while let Some(entry) = a.next_entry()? {
                    object.push(entry);
                }
                Ok(Tree::Object(object))
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl Tree {
    /// The member that counts: the last of its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.members().rev().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    pub(crate) fn members(&self) -> std::slice::Iter<'_, (String, Self)> {
        match self {
            Self::Object(members) => members.iter(),
            _ => [].iter(),
        }
    }

    pub(crate) fn has_twins(&self) -> bool {
        match self {
            Self::Leaf(_) => false,
            Self::List(list) => list.iter().any(Self::has_twins),
            Self::Object(members) => {
                members.iter().any(|(_, v)| v.has_twins())
                    || members.iter().enumerate().any(|(i, (n, _))| members[..i].iter().any(|(m, _)| m == n))
            }
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Leaf(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    fn number(&self) -> Option<u64> {
        let digits = match self {
            Self::Leaf(Value::Number(number)) => number.to_string(),
            Self::Leaf(Value::String(text)) => text.clone(),
            _ => return None,
        };
        let (front, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
        let is_whole = !front.is_empty() && front.bytes().all(|b| b.is_ascii_digit());
        front.parse().ok().filter(|_| is_whole && fraction.bytes().all(|b| b == b'0'))
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Leaf(Value::Null))
    }

    fn is_filled(&self) -> bool {
        match self {
            Self::Leaf(Value::String(text)) => !text.is_empty(),
            Self::Leaf(_) => false,
            Self::List(list) => !list.is_empty(),
            Self::Object(members) => !members.is_empty(),
        }
    }

    fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    pub(crate) fn error(&self) -> Option<ErrorEvent> {
        let error = self.get("error").filter(|e| !e.is_null())?;
        let mut told = details(error);
        // A flat error's members stand beside it; they count when the object itself has none.
        told.message = told.message.or(self.get("message").and_then(Self::text).map(Into::into));
        told.code = told.code.or(self.get("code").and_then(code));
        Some(told)
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        let mut counts = [None; 7];
        read_counts(self.get("usage"), &mut counts);
        sum(&counts)
    }
}

fn code(value: &Tree) -> Option<String> {
    value.text().map(Into::into).or_else(|| value.number().map(|n| n.to_string()))
}

fn details(error: &Tree) -> ErrorEvent {
    ErrorEvent {
        message: error.text().or(error.get("message").and_then(Tree::text)).map(Into::into),
        kind: error.get("type").and_then(Tree::text).map(Into::into),
        code: error.get("code").and_then(code),
    }
}

fn read_counts(usage: Option<&Tree>, counts: &mut [Option<u64>; 7]) {
    let Some(usage) = usage else { return };
    let at = |name| usage.get(name).and_then(Tree::number);
    let detail = |list, name| usage.get(list).and_then(|d: &Tree| d.get(name)?.number());
    let cached = |list| detail(list, "cached_tokens");
    let reasoning = |list| detail(list, "reasoning_tokens");
    let read = [
        at("prompt_tokens"),
        at("input_tokens"),
        at("completion_tokens").or(at("output_tokens")),
        cached("prompt_tokens_details").or(cached("input_tokens_details")),
        at("cache_read_input_tokens"),
        at("cache_creation_input_tokens"),
        reasoning("completion_tokens_details").or(reasoning("output_tokens_details")),
    ];
    for (count, read) in counts.iter_mut().zip(read) {
        *count = read.filter(|read| *read > 0).or(*count).or(read);
    }
}

fn sum(counts: &[Option<u64>; 7]) -> Option<Usage> {
    let [prompt, input, output, cached, read, created, reasoning] = *counts;
    prompt.or(input).or(output)?;
    let split = [input, read, created].iter().fold(0u64, |sum, n| sum.saturating_add(n.unwrap_or(0)));
    Some(Usage {
        input: prompt.unwrap_or(split),
        output: output.unwrap_or(0),
        cached: cached.or(read).unwrap_or(0),
        cache_write: created.unwrap_or(0),
        reasoning: reasoning.unwrap_or(0),
    })
}

/// The reading of one stream.
struct Reading {
    grammar: Grammar,
    hide_usage: bool,
    expected: usize,
    choices: std::collections::BTreeMap<u64, bool>,
    has_continued: bool,
    ended: bool,
    reason: bool,
    closed: bool,
    counts: [Option<u64>; 7],
    outcome: Outcome,
}

/// Judges a whole stream. `None`: a case that the reference does not read for certain.
pub(crate) fn judge(bytes: &[u8], grammar: Grammar, hide_usage: bool, expected: usize, clean: bool) -> Option<Outcome> {
    let mut reading = Reading {
        grammar,
        hide_usage,
        expected,
        choices: Default::default(),
        has_continued: false,
        ended: false,
        reason: false,
        closed: false,
        counts: [None; 7],
        outcome: Outcome { sent: Vec::new(), result: Ok(()), usage: None, malformed: 0, output: false },
    };
    let mut result = reading.run(bytes, clean)?;
    if !clean && result == Err(StreamFault::NoOutput) && reading.at_end(bytes) {
        result = Err(StreamFault::Interrupted);
    }
    reading.outcome.result = result;
    reading.outcome.usage = sum(&reading.counts);
    Some(reading.outcome)
}

impl Reading {
    fn run(&mut self, bytes: &[u8], clean: bool) -> Option<Result<(), StreamFault>> {
        let Ok((events, rest)) = parse(bytes) else {
            let at = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
            return (bytes[at] != b'{' && !bytes.starts_with(b"\xef")).then_some(Err(StreamFault::NotEvents(None)));
        };
        for event in &events {
            match self.take(event)? {
                Ok(()) if self.closed => return Some(Ok(())),
                Ok(()) => {}
                Err(fault) => return Some(Err(fault)),
            }
        }
        // A last event that is complete but for its blank line.
        if let Some(rest) = rest.filter(|r| !r.is_empty()) {
            let ended: &[u8] = if rest.ends_with(b"\n") { b"\n" } else { b"\n\n" };
            let text = [if events.is_empty() { &b""[..] } else { b":\n\n" }, &rest, ended].concat();
            if let Ok((last, None)) = parse(&text) {
                let last = last.last()?;
                if let Err(fault) = self.take(last)? {
                    return Some(Err(fault));
                }
            }
        }
        if self.closed {
            return Some(Ok(()));
        }
        if !self.whole(self.expected) || !clean && self.has_continued {
            return Some(Err(self.cut()));
        }
        if matches!(self.grammar, Grammar::Chat | Grammar::Completions) {
            self.outcome.sent.extend_from_slice(b"data: [DONE]\n\n");
        }
        Some(Ok(()))
    }

    /// Whether the fault came with the end rather than with an event before it.
    fn at_end(&self, bytes: &[u8]) -> bool {
        let mut again = Self {
            grammar: self.grammar,
            hide_usage: self.hide_usage,
            expected: self.expected,
            choices: Default::default(),
            has_continued: false,
            ended: false,
            reason: false,
            closed: false,
            counts: [None; 7],
            outcome: Outcome { sent: Vec::new(), result: Ok(()), usage: None, malformed: 0, output: false },
        };
        let Ok((events, _)) = parse(bytes) else {
            return false;
        };
        events.iter().all(|e| matches!(again.take(e), Some(Ok(()))))
    }

    fn whole(&self, expected: usize) -> bool {
        match self.grammar {
            Grammar::Chat | Grammar::Completions => {
                self.choices.len() >= expected && self.choices.values().all(|done| *done)
            }
            _ => self.ended,
        }
    }

    fn cut(&self) -> StreamFault {
        if self.outcome.output { StreamFault::Interrupted } else { StreamFault::NoOutput }
    }

    fn take(&mut self, event: &Parsed) -> Option<Result<(), StreamFault>> {
        let choices = matches!(self.grammar, Grammar::Chat | Grammar::Completions);
        let Some(data) = &event.data else {
            self.outcome.sent.extend_from_slice(&event.bytes);
            return Some(Ok(()));
        };
        let trimmed = std::str::from_utf8(data).map_or("", |t| t.trim_end_matches([' ', '\t', '\n', '\r', '\x0c']));
        if trimmed == "[DONE]" {
            match (self.whole(1), choices) {
                (true, _) => {
                    self.outcome.sent.extend_from_slice(&event.bytes);
                    self.closed = choices;
                }
                (false, true) => return Some(Err(self.cut())),
                (false, false) => self.outcome.malformed += 1,
            }
            return Some(Ok(()));
        }
        if !is_object(data) {
            self.outcome.malformed += 1;
            return Some(Ok(()));
        }
        let tree: Tree = serde_json::from_slice(data).ok()?;
        if tree.has_twins() {
            return None;
        }
        // Of the line `event` as much is kept as any known type has.
        let name = &*String::from_utf8_lossy(&event.name[..event.name.len().min(64)]);
        let kind = match tree.get("type").and_then(Tree::text) {
            None | Some("") => name,
            Some(kind) => kind,
        };
        let flat = kind == "error" || name == "error";
        if flat || tree.get("error").is_some_and(|e| !e.is_null()) {
            if self.ended {
                return Some(Ok(()));
            }
            let response = tree.get("response").and_then(|r| r.get("error"));
            if response.is_some() || (flat && tree.get("error").is_some()) {
                return None;
            }
            let told = tree.error().unwrap_or(ErrorEvent {
                message: tree.get("message").and_then(Tree::text).map(Into::into),
                kind: None,
                code: tree.get("code").and_then(code),
            });
            return Some(Err(StreamFault::Error(told)));
        }
        let nested = |name: &str| tree.get(name).and_then(|r| r.get("usage"));
        for usage in [tree.get("usage"), nested("response"), nested("message")] {
            read_counts(usage, &mut self.counts);
        }
        let passes = match self.grammar {
            Grammar::Chat | Grammar::Completions => self.take_choices(&tree),
            Grammar::Responses => {
                if kind == "response.failed" && !self.outcome.output {
                    let error = tree.get("response").and_then(|r| r.get("error"));
                    return Some(Err(StreamFault::Error(error.map(details).unwrap_or_default())));
                }
                let is_end = ["response.completed", "response.incomplete", "response.failed"].contains(&kind);
                let is_delta = kind.starts_with("response.") && kind.ends_with(".delta");
                let says = tree.get("delta").is_some_and(|d| {
                    let kept = |name: &str| !["type", "stop_reason", "stop_sequence"].contains(&name);
                    d.text().is_some_and(|text| !text.is_empty())
                        || d.members().filter(|(n, _)| kept(n)).any(|(_, v)| v.is_filled())
                });
                self.outcome.output |= is_end || is_delta && says || kind == "response.output_item.done";
                self.ended |= is_end;
                self.closed |= is_end;
                true
            }
            _ => {
                self.take_message(&tree, kind);
                let output = self.outcome.output;
                if kind == "message_stop" && !self.reason {
                    return Some(Err(if output { StreamFault::Interrupted } else { StreamFault::NoOutput }));
                }
                self.ended |= kind == "message_stop";
                self.closed |= kind == "message_stop";
                true
            }
        };
        if passes {
            self.outcome.sent.extend_from_slice(&event.bytes);
        }
        Some(Ok(()))
    }

    fn take_choices(&mut self, tree: &Tree) -> bool {
        let listed = tree.get("choices");
        for choice in listed.map_or(&[][..], Tree::list) {
            if !matches!(choice, Tree::Object(_)) {
                continue;
            }
            let index = match choice.get("index") {
                None => 0,
                Some(index) if index.is_null() || index.text() == Some("") => 0,
                // An index that is none is one that never finishes.
                Some(index) => index.number().filter(|i| *i < 4096).unwrap_or(u64::MAX),
            };
            let finish = choice.get("finish_reason").and_then(Tree::text);
            let finish = finish.is_some_and(|f| !f.is_empty());
            let delta = |name: &&str| choice.get("delta").and_then(|d| d.get(name));
            let members = [
                "content",
                "tool_calls",
                "function_call",
                "refusal",
                "reasoning",
                "reasoning_content",
                "reasoning_details",
                "audio",
            ];
            let says = choice.get("text").is_some_and(Tree::is_filled)
                || members.iter().filter_map(delta).any(Tree::is_filled);
            self.outcome.output |= finish || says;
            let done = self.choices.entry(index).or_default();
            self.has_continued |= *done && says;
            *done = (*done && !says || finish) && index != u64::MAX;
        }
        let empty = matches!(listed, Some(Tree::List(list)) if list.is_empty());
        let usage = matches!(tree.get("usage"), Some(Tree::Object(_)));
        !(self.hide_usage && empty && usage)
    }

    fn take_message(&mut self, tree: &Tree, kind: &str) {
        let delta = tree.get("delta");
        let block = tree.get("content_block");
        self.outcome.output |= match kind {
            "content_block_start" => block.is_some_and(|b| {
                let kind = b.get("type").and_then(Tree::text);
                kind.is_some_and(|k| k != "text" && k != "thinking")
                    || b.get("text").is_some_and(Tree::is_filled)
                    || b.get("thinking").is_some_and(Tree::is_filled)
            }),
            "content_block_delta" => delta.is_some_and(|d| {
                d.members()
                    .filter(|(n, _)| !["type", "stop_reason", "stop_sequence"].contains(&&n[..]))
                    .any(|(_, v)| v.is_filled())
            }),
            "message_delta" => {
                let reason = delta.and_then(|d| d.get("stop_reason")).and_then(Tree::text);
                let told = reason.is_some_and(|r| !r.is_empty());
                self.reason |= told;
                told
            }
            _ => false,
        };
    }
}

//! The grammar of a stream of Responses events, as an automaton.

use std::{error::Error, fmt, mem};

use serde_json::Value;

/// The place in a stream at which an event violates the grammar, and the violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrammarViolation {
    /// The zero-based index of the event.
    pub event: u64,
    /// The violation, in words.
    pub reason: String,
}

impl fmt::Display for GrammarViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {}: {}", self.event, self.reason)
    }
}

impl Error for GrammarViolation {}

/// Checks a stream of Responses events, one after another: their order, their numbers, and that the deltas, the finished
/// items and the last response agree.
///
/// ```
/// use berry_tower::dialect::ResponseGrammar;
///
/// let mut grammar = ResponseGrammar::new();
/// grammar.event("response.created", r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1"}}"#).unwrap();
/// let early = r#"{"type":"response.completed","sequence_number":1,"response":{"id":"resp_1","output":[]}}"#;
/// assert!(grammar.event("response.completed", early).unwrap_err().reason.contains("response.in_progress"));
/// assert!(!grammar.is_complete());
/// ```
#[derive(Clone, Debug, Default)]
pub struct ResponseGrammar {
    state: State,
    events: u64,
    response: String,
    output: Vec<Value>,
    /// All ids so far.
    ids: Vec<String>,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Start,
    Created,
    /// No item is open.
    Between,
    Item(Item),
    Over,
}

/// An open item.
#[derive(Clone, Debug)]
struct Item {
    id: String,
    kind: Kind,
    /// The finished parts of a message or a summary.
    parts: Vec<Value>,
    step: Step,
    text: String,
    /// The name of the tool and the id of the call.
    call: (Value, Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Message,
    Reasoning,
    Function,
    Custom,
    /// An item that a provider's tool makes.
    Hosted,
}

/// The progress within an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Between two parts.
    Between,
    Text,
    Refusal,
    /// The text of the part is done.
    Done,
}

type Checked = Result<(), String>;

impl ResponseGrammar {
    /// The automaton before the first event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the stream has come to its end.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Checks the next event, given by its name and its data. `[DONE]` may follow the end.
    ///
    /// # Errors
    /// The event violates the grammar.
    pub fn event(&mut self, name: &str, data: &str) -> Result<(), GrammarViolation> {
        let violation = |reason: String| GrammarViolation { event: self.events, reason };
        if data == "[DONE]" {
            return if self.is_complete() { Ok(()) } else { Err(violation("[DONE] before the end".to_owned())) };
        }
        let data: Value = serde_json::from_str(data).map_err(|error| violation(error.to_string()))?;
        let event = self.events;
        self.step(name, &data).map_err(|reason| GrammarViolation { event, reason })?;
        self.events += 1;
        Ok(())
    }

    fn step(&mut self, name: &str, data: &Value) -> Checked {
        let kind = data["type"].as_str().unwrap_or_default();
        equal("event", &name.into(), &kind.into())?;
        equal("sequence_number", &data["sequence_number"], &self.events.into())?;
        match (mem::take(&mut self.state), kind) {
            (State::Start, "response.created") => {
                self.response = id(&data["response"])?;
                self.state = State::Created;
            }
            (State::Created, "response.queued") => self.state = State::Created,
            (State::Created, "response.in_progress") => {
                equal("response.id", &data["response"]["id"], &self.response.as_str().into())?;
                self.state = State::Between;
            }
            (State::Created, _) => return Err("response.in_progress is missing".to_owned()),
            (State::Between, "response.output_item.added") => self.state = State::Item(self.added(data)?),
            (State::Between, "response.completed" | "response.incomplete") => {
                self.ended(kind, data)?;
                self.state = State::Over;
            }
            (State::Between | State::Item(_), "response.failed") => {
                equal("status", &data["response"]["status"], &"failed".into())?;
                text(&data["response"]["error"]["code"])?;
                text(&data["response"]["error"]["message"])?;
                self.state = State::Over;
            }
            (State::Item(item), "response.output_item.done") => {
                let whole = &data["item"];
                equal("output_index", &data["output_index"], &self.output.len().into())?;
                item.is_whole(whole)?;
                self.output.push(whole.clone());
                self.state = State::Between;
            }
            (State::Item(mut item), kind) => {
                equal("output_index", &data["output_index"], &self.output.len().into())?;
                if item.kind != Kind::Hosted {
                    equal("item_id", &data["item_id"], &item.id.as_str().into())?;
                    item.event(kind, data)?;
                }
                self.state = State::Item(item);
            }
            (_, kind) => return Err(format!("{kind} is out of place")),
        }
        Ok(())
    }

    fn added(&mut self, data: &Value) -> Result<Item, String> {
        equal("output_index", &data["output_index"], &self.output.len().into())?;
        let item = &data["item"];
        let id = id(item)?;
        if self.ids.contains(&id) {
            return Err(format!("the id {id} occurs twice"));
        }
        self.ids.push(id.clone());
        let (kind, prefix) = match item["type"].as_str().unwrap_or_default() {
            "message" => (Kind::Message, "msg_"),
            "reasoning" => (Kind::Reasoning, "rs_"),
            "function_call" => (Kind::Function, "fc_"),
            "custom_tool_call" => (Kind::Custom, "ctc_"),
            _ => (Kind::Hosted, ""),
        };
        if !id.starts_with(prefix) {
            return Err(format!("the id {id} does not begin with {prefix}"));
        }
        let call = (item["name"].clone(), item["call_id"].clone());
        if matches!(kind, Kind::Function | Kind::Custom) {
            text(&call.0)?;
            text(&call.1)?;
        }
        Ok(Item { id, kind, parts: Vec::new(), step: Step::Between, text: String::new(), call })
    }

    fn ended(&self, kind: &str, data: &Value) -> Checked {
        let response = &data["response"];
        equal("response.id", &response["id"], &self.response.as_str().into())?;
        equal("response.status", &response["status"], &kind.trim_start_matches("response.").into())?;
        equal("response.output", &response["output"], &self.output.clone().into())?;
        let usage = &response["usage"];
        let counts = [
            &usage["input_tokens"],
            &usage["output_tokens"],
            &usage["total_tokens"],
            &usage["input_tokens_details"]["cached_tokens"],
            &usage["output_tokens_details"]["reasoning_tokens"],
        ];
        if counts.iter().all(|count| count.is_u64()) { Ok(()) } else { Err("a token count is missing".to_owned()) }
    }
}

impl Item {
    fn event(&mut self, kind: &str, data: &Value) -> Checked {
        let index = match self.kind {
            Kind::Message => &data["content_index"],
            Kind::Reasoning => &data["summary_index"],
            Kind::Function | Kind::Custom | Kind::Hosted => &Value::Null,
        };
        if matches!(self.kind, Kind::Message | Kind::Reasoning) {
            equal("index", index, &self.parts.len().into())?;
        }
        let delta = &data["delta"];
        let next = match (self.kind, self.step, kind) {
            (Kind::Message, Step::Between, "response.content_part.added") => match data["part"]["type"].as_str() {
                Some("output_text") => Step::Text,
                Some("refusal") => Step::Refusal,
                _ => return Err("a part of an unknown type".to_owned()),
            },
            (Kind::Message, Step::Text, "response.output_text.delta")
            | (Kind::Message, Step::Refusal, "response.refusal.delta")
            | (Kind::Reasoning, Step::Text, "response.reasoning_summary_text.delta")
            | (Kind::Function, Step::Between, "response.function_call_arguments.delta")
            | (Kind::Custom, Step::Between, "response.custom_tool_call_input.delta") => {
                let delta = text(delta)?;
                if delta.is_empty() {
                    return Err("an empty delta".to_owned());
                }
                self.text.push_str(delta);
                self.step
            }
            // Events about the text that say nothing new.
            (Kind::Message, Step::Text, "response.output_text.annotation.added") => self.step,
            (Kind::Message, Step::Text, "response.output_text.done")
            | (Kind::Reasoning, Step::Text, "response.reasoning_summary_text.done") => self.done(&data["text"])?,
            (Kind::Message, Step::Refusal, "response.refusal.done") => self.done(&data["refusal"])?,
            (Kind::Function, Step::Between, "response.function_call_arguments.done") => {
                self.done(&data["arguments"])?
            }
            (Kind::Custom, Step::Between, "response.custom_tool_call_input.done") => self.done(&data["input"])?,
            (Kind::Reasoning, Step::Between, "response.reasoning_summary_part.added") => Step::Text,
            (Kind::Message, Step::Done, "response.content_part.done")
            | (Kind::Reasoning, Step::Done, "response.reasoning_summary_part.done") => {
                let part = &data["part"];
                let said = if part["type"] == "refusal" { &part["refusal"] } else { &part["text"] };
                equal("part", said, &mem::take(&mut self.text).into())?;
                self.parts.push(part.clone());
                Step::Between
            }
            _ => return Err(format!("{kind} is out of place in an item")),
        };
        self.step = next;
        Ok(())
    }

    fn done(&self, told: &Value) -> Result<Step, String> {
        equal("the whole", told, &self.text.as_str().into())?;
        Ok(Step::Done)
    }

    /// Checks the finished item.
    fn is_whole(&self, item: &Value) -> Checked {
        equal("item.id", &item["id"], &self.id.as_str().into())?;
        let ends = |step: Step| if self.step == step { Ok(()) } else { Err("the item is not finished".to_owned()) };
        match self.kind {
            Kind::Message => {
                ends(Step::Between)?;
                equal("item.content", &item["content"], &self.parts.clone().into())
            }
            Kind::Reasoning => {
                ends(Step::Between)?;
                equal("item.summary", &item["summary"], &self.parts.clone().into())
            }
            Kind::Function | Kind::Custom => {
                ends(Step::Done)?;
                equal("item.name", &item["name"], &self.call.0)?;
                equal("item.call_id", &item["call_id"], &self.call.1)?;
                let input = if self.kind == Kind::Custom { &item["input"] } else { &item["arguments"] };
                equal("item's input", input, &self.text.as_str().into())
            }
            Kind::Hosted => Ok(()),
        }
    }
}

fn id(value: &Value) -> Result<String, String> {
    text(&value["id"]).map(str::to_owned)
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{value} is no text"))
}

fn equal(what: &str, got: &Value, expected: &Value) -> Checked {
    if got == expected { Ok(()) } else { Err(format!("{what} is {got} and not {expected}")) }
}

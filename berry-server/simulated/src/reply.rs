//! The reply of a simulated model, independent of the wire format.

use super::config::TaskCall;
use super::schema::fit;
use super::shape::Shape;
use super::words::{Output, Question, Voice, pieces};
use serde_json::{Value, json};

/// The tokens of the reasoning.
const THOUGHTS: [&str; 3] = ["Let", " me", " think."];
/// The text of a refusal.
const DECLINED: &str = "I will not help with that.";
/// The text before tool calls.
const LOOKING: &str = "I will look it up.";

/// The turn to answer, extracted from a request.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The last text of the user.
    pub(super) asked: String,
    /// The beginning of the answer, if the request contains one.
    pub(super) prefix: String,
    /// The maximum number of text tokens.
    pub(super) limit: Option<usize>,
    /// The stop sequences.
    pub(super) stops: Vec<String>,
    /// Short descriptions of the images and files in the last user message.
    pub(super) media: Vec<String>,
    /// The tool results at the end of the request.
    pub(super) results: Vec<String>,
    /// The number of tool results in the whole conversation.
    pub(super) done: usize,
    pub(super) tools: Vec<Tool>,
    pub(super) choice: Choice,
    /// Whether at most one tool may be called.
    pub(super) single: bool,
    /// The schema of the requested JSON; null for any JSON.
    pub(super) json: Option<Value>,
    /// Whether reasoning is requested.
    pub(super) thinks: bool,
    /// The number of prompt tokens.
    pub(super) prompt: usize,
}

#[derive(Debug, Default)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) schema: Value,
    /// Whether the input is text rather than JSON.
    pub(super) custom: bool,
    pub(super) namespace: Option<String>,
}

impl Tool {
    /// Returns whether the name is that of this tool, with or without its namespace.
    fn is(&self, name: &str) -> bool {
        self.name.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with("__"))
    }

    fn call(&self, input: &str) -> Call {
        Call { name: self.name.clone(), input: pieces(input), custom: self.custom, namespace: self.namespace.clone() }
    }
}

/// The tool that must be called.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Choice {
    #[default]
    Auto,
    No,
    Any,
    Named(String),
}

/// A tool call. Its input consists of fragments of JSON, or of text for a custom tool.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) input: Vec<String>,
    pub(super) custom: bool,
    pub(super) namespace: Option<String>,
}

impl Call {
    pub(super) fn input(&self) -> Value {
        serde_json::from_str(&self.input.concat()).unwrap_or_default()
    }
}

/// The reason for the end of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    End,
    Stop(String),
    Length,
    Calls,
    /// The model declined, as the text states.
    Declined,
    /// A filter stopped the answer.
    Filtered,
}

/// An answer: reasoning, then text, then calls.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) thoughts: Vec<String>,
    pub(super) text: Vec<String>,
    pub(super) calls: Vec<Call>,
    pub(super) finish: Finish,
}

/// Token counts of a request and its answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) prompt: usize,
    /// The part of the prompt that came from a cache.
    pub(super) cached: usize,
    /// The number of output tokens, including reasoning.
    pub(super) output: usize,
    pub(super) thoughts: usize,
}

impl Usage {
    pub(super) fn of(turn: &Turn, shape: Shape, replies: &[Reply]) -> Self {
        let thoughts = replies.iter().map(|reply| reply.thoughts.len()).sum();
        let calls = |reply: &Reply| reply.calls.iter().map(|call| call.input.len() + 1).sum::<usize>();
        let output = replies.iter().map(|reply| reply.text.len() + calls(reply)).sum::<usize>() + thoughts;
        Self { prompt: turn.prompt, cached: shape.cached.min(turn.prompt), output, thoughts }
    }
}

impl Turn {
    /// Returns the answer with the given index, which depends only on the request.
    pub(super) fn reply(&self, shape: Shape, voice: &Voice, number: usize) -> Reply {
        let thoughts = if shape.reasoning || self.thinks { &THOUGHTS[..] } else { &[] };
        let thoughts = thoughts.iter().map(|thought| (*thought).to_owned()).collect();
        let calls = self.calls(shape, voice);
        if !calls.is_empty() {
            let text = if shape.talks { words(LOOKING) } else { Vec::new() };
            return Reply { thoughts, text, calls, finish: Finish::Calls };
        }
        if shape.refuses {
            return Reply { thoughts, text: words(DECLINED), calls, finish: Finish::Declined };
        }
        let Output { tokens, cut_short, stopped } = match &self.json {
            Some(schema) => Output::within(pieces(&self.json(schema).to_string()), self.limit, &self.stops),
            None => self.say(shape, voice, number),
        };
        let finish = match stopped {
            _ if shape.filtered => Finish::Filtered,
            _ if cut_short => Finish::Length,
            Some(stop) => Finish::Stop(stop),
            None => Finish::End,
        };
        Reply { thoughts, text: tokens, calls, finish }
    }

    fn say(&self, shape: Shape, voice: &Voice, number: usize) -> Output {
        let results = (!self.results.is_empty()).then(|| self.results.join(", "));
        let results = results.map(|results| format!(" The tool said: \u{201c}{results}\u{201d}."));
        let media = self.media.iter().map(|media| format!(" I see {media}."));
        let notes: Vec<_> = results.into_iter().chain(media).collect();
        let question = Question {
            asked: &self.asked,
            notes: &notes,
            prefix: &self.prefix,
            limit: self.limit,
            stops: &self.stops,
            choice: number,
        };
        voice.say(question, shape)
    }

    fn json(&self, schema: &Value) -> Value {
        match schema {
            Value::Null => json!({"answer": self.asked}),
            schema => fit(schema, &self.asked),
        }
    }

    /// Returns the tool calls of the answer, if the request has tools and the behaviour or the request
    /// requires a call. A request with tool results gets text.
    fn calls(&self, shape: Shape, voice: &Voice) -> Vec<Call> {
        if let Some(call) = self.next_of(&voice.task) {
            return vec![call];
        }
        let forced = matches!(self.choice, Choice::Any | Choice::Named(_));
        let wanted = shape.tools > 0 || forced;
        if !wanted || self.choice == Choice::No || !self.results.is_empty() || self.tools.is_empty() {
            return Vec::new();
        }
        let fits = |tool: &&Tool| match &self.choice {
            Choice::Named(name) => tool.name == *name,
            _ => true,
        };
        let count = if self.single { 1 } else { shape.tools.max(1) };
        self.tools.iter().filter(fits).cycle().take(count).map(|tool| self.call(tool)).collect()
    }

    /// Returns the call of the next step of the task.
    fn next_of(&self, task: &[Vec<TaskCall>]) -> Option<Call> {
        let step = task.get(self.done).filter(|_| self.choice != Choice::No)?;
        step.iter().find_map(|call| {
            let tool = self.tools.iter().find(|tool| tool.is(&call.tool))?;
            let is_object = || serde_json::from_str::<Value>(&call.input).is_ok_and(|input| input.is_object());
            Some(match tool.custom || is_object() {
                true => tool.call(&call.input),
                false => tool.call(&json!({"input": call.input}).to_string()),
            })
        })
    }

    fn call(&self, tool: &Tool) -> Call {
        if tool.custom {
            return tool.call(&self.asked);
        }
        let input = match fit(&tool.schema, &self.asked) {
            // A tool without an input schema gets the user's text.
            Value::Object(empty) if empty.is_empty() && tool.schema.get("properties").is_none() => {
                json!({"input": self.asked})
            }
            Value::Object(input) => input.into(),
            _ => json!({"input": self.asked}),
        };
        tool.call(&input.to_string())
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

/// Describes an image or a file by its media type and size.
pub(super) fn of_bytes(media_type: &str, base64: &str) -> String {
    let bytes = super::base64::decoded_len(base64).unwrap_or_default();
    format!("{media_type} of {bytes} bytes")
}

/// Describes an image or a file by its URL.
pub(super) fn at_url(url: &str) -> String {
    format!("what is at {url}")
}

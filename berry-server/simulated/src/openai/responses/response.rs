//! The response object and its items.

use super::seal::seal;
use super::turn::turn;
use crate::base64;
use crate::model_request::ModelRequest;
use crate::reply::{Call, Finish, Reply, Usage};
use crate::shape::Shape;
use crate::words::Voice;
use serde_json::{Value, json};

/// Returns the id of the response to a request with the given seed.
pub(crate) fn id(seed: u64) -> String {
    format!("resp_{seed:016x}")
}

/// The parts of a response.
pub(super) struct Response<'a> {
    ask: &'a ModelRequest,
    voice: &'a Voice,
    seed: u64,
    pub(super) reply: Reply,
    usage: Usage,
}

impl<'a> Response<'a> {
    pub(super) fn new(ask: &'a ModelRequest, shape: Shape, voice: &'a Voice, seed: u64) -> Self {
        let turn = turn(&ask.body);
        let reply = turn.reply(shape, voice, 0);
        let usage = Usage::of(&turn, shape, std::slice::from_ref(&reply));
        Self { ask, voice, seed, reply, usage }
    }

    /// Returns the id of an item of the given kind.
    pub(super) fn item_id(&self, kind: &str, number: usize) -> String {
        format!("{kind}_{:016x}{number:02}", self.seed)
    }

    pub(super) fn has_summary(&self) -> bool {
        let reasoning = &self.ask.body["reasoning"];
        ["summary", "generate_summary"].iter().any(|field| reasoning[field].is_string())
    }

    pub(super) fn includes(&self, name: &str) -> bool {
        self.ask.body["include"].as_array().is_some_and(|all| all.iter().any(|one| one == name))
    }

    /// Returns the reasoning item. The summary is empty unless it was requested.
    pub(super) fn reasoning(&self, summary: &[Value]) -> Value {
        let mut item = json!({"id": self.item_id("rs", 0), "type": "reasoning", "summary": summary});
        if self.includes("reasoning.encrypted_content") {
            let thoughts = base64::encode(self.reply.thoughts.concat().as_bytes());
            item["encrypted_content"] = format!("{}{thoughts}", seal(self.voice.account)).into();
        }
        item
    }

    pub(super) fn summary(&self) -> Vec<Value> {
        match self.has_summary() {
            true => vec![json!({"type": "summary_text", "text": self.reply.thoughts.concat()})],
            false => Vec::new(),
        }
    }

    /// Returns the content part of the message, which is a refusal if the model declined.
    pub(super) fn part(&self, text: &str) -> Value {
        match self.reply.finish {
            Finish::Declined => json!({"type": "refusal", "refusal": text}),
            _ => json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text}),
        }
    }

    pub(super) fn message(&self, status: &str, content: &[Value]) -> Value {
        json!({
            "id": self.item_id("msg", 0),
            "type": "message",
            "status": status,
            "content": content,
            "role": "assistant",
        })
    }

    pub(super) fn call(&self, number: usize, call: &Call, status: &str, input: &str) -> Value {
        let call_id = format!("call_{:016x}{number:02}", self.seed);
        let mut item = match call.custom {
            true => json!({"id": self.item_id("ctc", number), "type": "custom_tool_call", "input": input}),
            false => json!({"id": self.item_id("fc", number), "type": "function_call", "arguments": input}),
        };
        for (field, value) in [("status", status), ("call_id", &call_id), ("name", &call.name)] {
            item[field] = value.into();
        }
        if let Some(namespace) = &call.namespace {
            item["namespace"] = namespace.as_str().into();
        }
        item
    }

    pub(super) fn is_incomplete(&self) -> bool {
        matches!(self.reply.finish, Finish::Length | Finish::Filtered)
    }

    pub(super) fn status(&self) -> &'static str {
        if self.is_incomplete() { "incomplete" } else { "completed" }
    }

    pub(super) fn items(&self) -> Vec<Value> {
        let mut items = Vec::new();
        if !self.reply.thoughts.is_empty() {
            items.push(self.reasoning(&self.summary()));
        }
        if !self.reply.text.is_empty() || self.reply.calls.is_empty() {
            items.push(self.message(self.status(), &[self.part(&self.reply.text.concat())]));
        }
        let calls = self.reply.calls.iter().enumerate();
        items.extend(calls.map(|(number, call)| self.call(number, call, "completed", &call.input.concat())));
        items
    }

    pub(super) fn usage(&self) -> Value {
        let Usage { prompt, cached, output, thoughts } = self.usage;
        json!({
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": thoughts},
            "total_tokens": prompt + output,
        })
    }

    pub(super) fn whole(&self) -> Value {
        self.resource(self.status(), &self.items(), &self.usage())
    }

    /// Returns the response object with the given output.
    pub(super) fn resource(&self, status: &str, output: &[Value], usage: &Value) -> Value {
        let given = |field: &str, default: Value| match &self.ask.body[field] {
            Value::Null => default,
            value => value.clone(),
        };
        let reason = match self.reply.finish {
            Finish::Length => "max_output_tokens",
            _ => "content_filter",
        };
        let reasoning = &self.ask.body["reasoning"];
        let verbosity = self.ask.body["text"].get("verbosity").cloned().unwrap_or("medium".into());
        let format = self.ask.body["text"].get("format").cloned().unwrap_or(json!({"type": "text"}));
        let format = match format["type"].as_str() {
            Some("json_schema") => {
                let mut format = with_nulls(format, &["description"]);
                // In a response it is never null.
                if format["strict"].is_null() {
                    format["strict"] = false.into();
                }
                format
            }
            _ => format,
        };
        let tools = self.ask.body["tools"].as_array().into_iter().flatten().cloned();
        let tools: Vec<_> = tools
            .map(|tool| match tool["type"].as_str() {
                Some("function") => with_nulls(tool, &["description", "parameters", "strict"]),
                _ => tool,
            })
            .collect();
        json!({
            "id": id(self.seed),
            "object": "response",
            "created_at": self.voice.created,
            "status": status,
            "background": given("background", false.into()),
            "completed_at": (status == "completed").then_some(self.voice.created),
            "error": null,
            "frequency_penalty": 0.0,
            "incomplete_details": (status == "incomplete").then(|| json!({"reason": reason})),
            "instructions": given("instructions", Value::Null),
            "max_output_tokens": given("max_output_tokens", Value::Null),
            "max_tool_calls": given("max_tool_calls", Value::Null),
            "model": self.ask.model,
            "output": output,
            "parallel_tool_calls": given("parallel_tool_calls", true.into()),
            "presence_penalty": 0.0,
            "previous_response_id": given("previous_response_id", Value::Null),
            "prompt_cache_key": given("prompt_cache_key", Value::Null),
            "prompt_cache_retention": given("prompt_cache_retention", Value::Null),
            "reasoning": {"effort": reasoning["effort"], "summary": reasoning["summary"]},
            "safety_identifier": given("safety_identifier", Value::Null),
            "service_tier": "default",
            "store": given("store", true.into()),
            "temperature": given("temperature", 1.0.into()),
            "text": {"format": format, "verbosity": verbosity},
            "tool_choice": given("tool_choice", "auto".into()),
            "tools": tools,
            "top_logprobs": given("top_logprobs", 0.into()),
            "top_p": given("top_p", 1.0.into()),
            "truncation": given("truncation", "disabled".into()),
            "usage": usage,
            "user": given("user", Value::Null),
            "metadata": given("metadata", json!({})),
        })
    }
}

/// Adds the fields that a response has even where its request does not.
fn with_nulls(mut object: Value, fields: &[&str]) -> Value {
    if let Some(object) = object.as_object_mut() {
        for field in fields {
            object.entry(*field).or_insert(Value::Null);
        }
    }
    object
}

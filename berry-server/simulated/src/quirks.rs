//! The ways in which known providers differ from the format that they copy: a row each.
//!
//! A row says which parts of a request the provider refuses and in what words, the shape of its errors, and what its
//! answers have that OpenAI's have not.

mod table;

use self::table::QUIRKS;
use super::dialect::Dialect;
use super::model_request::{Kind, ModelRequest};
use super::piece::{Piece, Role};
use super::refusal::Refusal;
use super::valid_response::ValidResponse;
use serde_json::{Value, json};

/// A part of a request that a provider refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A member of the request.
    Member(&'static str),
    /// `strict` in a function.
    Strict,
    /// A message with the role `developer`.
    Developer,
    /// A message whose content is a list of mere texts.
    TextParts,
    /// A system message behind the first message.
    LateSystem,
    /// A name in a message.
    Name,
    /// `tool_choice: required`.
    RequiredChoice,
    /// An effort that is not one of these.
    EffortBeside(&'static [&'static str]),
    /// `reasoning_content` in a message.
    Reasoning,
    /// A turn with tool calls that has no `reasoning_content`, or a blank one.
    CallWithoutReasoning,
    /// A budget for thinking, asked of a model that decides by itself how much it thinks.
    Budget,
    /// Adaptive thinking, asked of a model that takes a budget.
    Adaptive,
}

/// Claude models that take no budget.
const ADAPTIVE_ONLY: [&str; 4] = ["claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-sonnet-5"];
/// Claude models that take a budget only.
const BUDGET_ONLY: [&str; 5] =
    ["claude-3-7-", "claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4-5", "claude-opus-4-1"];

/// A part, and the message of the refusal; `{}` stands for the index of the message or tool.
type Rule = (Part, &'static str);

/// The shape of errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ErrorShape {
    /// OpenAI's.
    #[default]
    OpenAi,
    /// `{"object":"error","message":{"detail":[{"type","loc","msg"}]}}` with 422, as Mistral's validation has it.
    Pydantic,
    /// `{"error":{"code":400,"message","type"}}`, as llama.cpp has it.
    LlamaCpp,
    /// `{"object":"error","message","type","param","code"}`, as vLLM had it before 0.11.
    Flat,
    /// `{"error":"a text"}`, as LM Studio and xAI have it.
    Text,
}

/// What answers have beside OpenAI's members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Extra {
    #[default]
    Nothing,
    /// The usage in the last chunk with a finish, without being asked for it, and thoughts as content parts.
    Mistral,
    /// `x_groq`, and `reasoning` for thoughts.
    Groq,
    /// Comments before the first event, `provider`, `native_finish_reason`, and `reasoning` for thoughts.
    OpenRouter,
    /// `reasoning` for thoughts.
    Reasoning,
    /// `citations` and `search_results`.
    Perplexity,
    /// Members that are null or empty: `reasoning_content`, `tool_calls`, `stop_reason`, `prompt_logprobs`.
    Vllm,
    /// `timings`.
    LlamaCpp,
}

/// A known provider.
#[derive(Debug)]
pub(super) struct Quirks {
    pub(super) name: &'static str,
    pub(super) dialect: Dialect,
    rules: &'static [Rule],
    errors: ErrorShape,
    extra: Extra,
}

/// The names of the known providers.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    QUIRKS.iter().map(|quirks| quirks.name)
}

pub(super) fn by_name(name: &str) -> Option<&'static Quirks> {
    QUIRKS.iter().find(|quirks| quirks.name == name)
}

impl Quirks {
    /// Refuses a chat as the provider does.
    pub(super) fn check(&self, ask: &ModelRequest) -> Result<(), Refusal> {
        if !matches!(ask.kind, Kind::Chat | Kind::Messages) {
            return Ok(());
        }
        for (part, message) in self.rules {
            if let Some((param, at)) = part.find(&ask.body) {
                let message = message.replace("{}", &at.to_string());
                return Err(Refusal::invalid(message).code("invalid_request_error").param(param));
            }
        }
        Ok(())
    }

    /// Returns an error in the provider's shape; `None` for one in the format's own.
    pub(super) fn refusal(&self, refusal: &Refusal) -> Option<(u16, String)> {
        let (status, message) = (refusal.status, &refusal.message);
        let is_invalid = status == 400;
        let body = match self.errors {
            ErrorShape::OpenAi => return None,
            ErrorShape::Pydantic if is_invalid => {
                let path: Vec<Value> = refusal.param.as_deref().unwrap_or_default().split('.').map(step).collect();
                let loc: Vec<Value> = [json!("body")].into_iter().chain(path).collect();
                let detail = json!([{ "type": "extra_forbidden", "loc": loc, "msg": message, "input": null }]);
                let body = json!({
                    "object": "error", "message": { "detail": detail }, "type": "invalid_request_error",
                    "param": null, "code": null,
                });
                return Some((422, body.to_string()));
            }
            ErrorShape::Pydantic | ErrorShape::Flat => json!({
                "object": "error", "message": message, "type": refusal.kind, "param": null, "code": status,
            }),
            ErrorShape::LlamaCpp => json!({ "error": { "code": status, "message": message, "type": refusal.kind } }),
            ErrorShape::Text => json!({ "error": message }),
        };
        Some((status, body.to_string()))
    }

    /// Whether the provider has the whole schema of its format, beside its own rules.
    pub(super) fn has_schema(&self) -> bool {
        self.dialect != Dialect::OpenAi || matches!(self.name, "openai" | "bedrock")
    }

    /// Changes an answer to a chat into the provider's own.
    pub(super) fn dress(&self, answer: ValidResponse) -> ValidResponse {
        if self.dialect != Dialect::OpenAi || self.extra == Extra::Nothing {
            return answer;
        }
        let dressed = |data: &[u8]| {
            let mut data: Value = serde_json::from_slice(data).ok()?;
            self.answer(&mut data);
            Some(data.to_string())
        };
        let piece = |piece: &Piece| {
            let data = match piece.data.strip_prefix(b"data: ") {
                Some(data) => dressed(data).map(|data| format!("data: {data}\n\n")),
                None => dressed(&piece.data),
            };
            data.map_or_else(|| piece.clone(), |data| Piece::new(piece.role, data))
        };
        let comment = self.preamble().filter(|_| answer.is_stream).map(|text| Piece::new(Role::Preamble, text));
        let pieces = comment.into_iter().chain(answer.pieces.iter().map(piece)).collect();
        ValidResponse { pieces, ..answer }
    }

    /// Changes a plain answer to a chat, or the data of an event, into the provider's own.
    fn answer(&self, data: &mut Value) {
        let choices = data["choices"].as_array_mut().map_or(&mut [][..], Vec::as_mut_slice);
        for choice in choices {
            let part = if choice.get("message").is_some() { "message" } else { "delta" };
            self.message(&mut choice[part]);
            match self.extra {
                Extra::OpenRouter => choice["native_finish_reason"] = choice["finish_reason"].clone(),
                Extra::Vllm => choice["stop_reason"] = Value::Null,
                _ => {}
            }
        }
        let ends = data["choices"][0]["finish_reason"].is_string();
        match self.extra {
            Extra::Mistral if ends && data["usage"].is_null() => {
                data["usage"] = json!({ "prompt_tokens": 8, "completion_tokens": 9, "total_tokens": 17 });
            }
            Extra::OpenRouter => data["provider"] = json!("Simulated"),
            Extra::Groq => data["x_groq"] = json!({ "id": "req_simulated" }),
            Extra::Perplexity => {
                data["citations"] = json!(["https://example.com/a"]);
                data["search_results"] = json!([{ "title": "A", "url": "https://example.com/a" }]);
            }
            Extra::Vllm => data["prompt_logprobs"] = Value::Null,
            Extra::LlamaCpp => data["timings"] = json!({ "prompt_n": 1, "predicted_n": 1 }),
            _ => {}
        }
    }

    fn message(&self, message: &mut Value) {
        let Some(members) = message.as_object_mut() else { return };
        let thoughts = members.get("reasoning_content").filter(|thoughts| thoughts.is_string()).cloned();
        match (self.extra, thoughts) {
            (Extra::Groq | Extra::OpenRouter | Extra::Reasoning, Some(thoughts)) => {
                members.remove("reasoning_content");
                members.insert("reasoning".to_owned(), thoughts);
            }
            (Extra::Mistral, Some(thoughts)) => {
                members.remove("reasoning_content");
                let mut parts = vec![json!({ "type": "thinking", "thinking": [{ "type": "text", "text": thoughts }] })];
                if let Some(text) = members.get("content").filter(|text| text.is_string()) {
                    parts.push(json!({ "type": "text", "text": text }));
                }
                members.insert("content".to_owned(), json!(parts));
            }
            (Extra::Vllm, thoughts) => {
                members.entry("reasoning_content").or_insert_with(|| thoughts.unwrap_or_default());
                members.entry("tool_calls").or_insert_with(|| json!([]));
            }
            _ => {}
        }
    }

    /// What comes before the first event of a stream.
    fn preamble(&self) -> Option<&'static str> {
        (self.extra == Extra::OpenRouter).then_some(": OPENROUTER PROCESSING\n\n")
    }
}

/// A step of a path: a number or a name.
fn step(step: &str) -> Value {
    step.parse::<u64>().map_or_else(|_| json!(step), |number| json!(number))
}

impl Part {
    /// The path of the first such part of a chat, and the index in it.
    fn find(self, body: &Value) -> Option<(String, usize)> {
        let list = |name: &str| body[name].as_array().map_or(&[][..], Vec::as_slice);
        let message = |is: &dyn Fn(&Value) -> bool, member: &str| {
            let at = list("messages").iter().position(is)?;
            Some((format!("messages.{at}.{member}"), at))
        };
        let has = |value: &Value| !value.is_null();
        let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        let is_of = |models: &[&str]| {
            let model = body["model"].as_str().unwrap_or_default();
            models.iter().any(|known| model.starts_with(known))
        };
        let thinks = |how: &str| (body["thinking"]["type"] == how).then(|| ("thinking".to_owned(), 0));
        match self {
            Self::Budget => thinks("enabled").filter(|_| is_of(&ADAPTIVE_ONLY)),
            Self::Adaptive => thinks("adaptive").filter(|_| is_of(&BUDGET_ONLY)),
            Self::Member(name) => has(&body[name]).then(|| (name.to_owned(), 0)),
            Self::Strict => {
                let at = list("tools").iter().position(|tool| has(&tool["function"]["strict"]))?;
                Some((format!("tools.{at}.function.strict"), at))
            }
            Self::Developer => message(&|message| message["role"] == "developer", "role"),
            Self::TextParts => message(
                &|message| {
                    let parts = message["content"].as_array();
                    parts.is_some_and(|parts| parts.iter().all(|part| part["type"] == "text"))
                },
                "content",
            ),
            Self::LateSystem => {
                let is_late = |message: &&Value| matches!(message["role"].as_str(), Some("system" | "developer"));
                let late = list("messages").iter().skip(1).position(|message| is_late(&message))?;
                Some((format!("messages.{}.role", late + 1), late + 1))
            }
            Self::Name => message(&|message| message["role"] != "tool" && has(&message["name"]), "name"),
            Self::RequiredChoice => (body["tool_choice"] == "required").then(|| ("tool_choice".to_owned(), 0)),
            Self::EffortBeside(known) => {
                let effort = body["reasoning_effort"].as_str()?;
                (!known.contains(&effort)).then(|| ("reasoning_effort".to_owned(), 0))
            }
            Self::Reasoning => message(&|message| has(&message["reasoning_content"]), "reasoning_content"),
            Self::CallWithoutReasoning => message(
                &|message| {
                    let calls = message["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
                    calls && !text(&message["reasoning_content"])
                },
                "reasoning_content",
            ),
        }
    }
}

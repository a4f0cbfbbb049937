//! The command that finds out what a provider accepts, by a request of one token for each option.

use std::process::ExitCode;

use berry_tower::{
    backend::{Dialect, Effort, Efforts, Provider},
    endpoint::Endpoint,
};
use reqwest::{Client, redirect::Policy};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    backends, files,
    global::Global,
    output::{Cell, Fail, Output, Tone},
    remote::{is_loopback, without_address},
};

/// A question about a provider: what the request has, and the line of the file for one that refuses it.
struct Question {
    name: &'static str,
    body: fn(&mut Value),
    line: &'static str,
}

/// The questions for providers of OpenAI's format. The name of the token limit and the efforts have questions of their own.
const QUESTIONS: [Question; 9] = [
    Question {
        name: "stream_options",
        body: |body| {
            body["stream"] = json!(true);
            body["stream_options"] = json!({ "include_usage": true });
        },
        line: "stream_usage = false",
    },
    Question {
        name: "parallel_tool_calls",
        body: |body| {
            body["tools"] = json!([tool()]);
            body["parallel_tool_calls"] = json!(false);
        },
        line: "accepts.parallel_tool_calls = false",
    },
    Question {
        name: "strict",
        body: |body| {
            let mut tool = tool();
            tool["function"]["strict"] = json!(true);
            body["tools"] = json!([tool]);
        },
        line: "accepts.strict = false",
    },
    Question {
        name: "developer",
        body: |body| insert_message(body, json!({ "role": "developer", "content": "Be brief." })),
        line: "accepts.developer = false",
    },
    Question {
        name: "text_parts",
        body: |body| body["messages"][0]["content"] = json!([{ "type": "text", "text": "hi" }]),
        line: "accepts.text_parts = false",
    },
    Question { name: "user", body: |body| body["user"] = json!("a-user"), line: "accepts.user = false" },
    Question {
        name: "message_names",
        body: |body| body["messages"][0]["name"] = json!("ann"),
        line: "accepts.message_names = false",
    },
    Question {
        name: "system_messages",
        body: |body| {
            insert_message(body, json!({ "role": "system", "content": "Be kind." }));
            insert_message(body, json!({ "role": "system", "content": "Be brief." }));
        },
        line: "accepts.system_messages = false",
    },
    Question {
        name: "tool_choice_required",
        body: |body| {
            body["tools"] = json!([tool()]);
            body["tool_choice"] = json!("required");
        },
        line: "accepts.tool_choice_required = false",
    },
];

fn tool() -> Value {
    let parameters = json!({ "type": "object", "properties": {}, "required": [], "additionalProperties": false });
    json!({ "type": "function", "function": { "name": "now", "description": "The time.", "parameters": parameters } })
}

fn insert_message(body: &mut Value, message: Value) {
    if let Some(messages) = body["messages"].as_array_mut() {
        messages.insert(0, message);
    }
}

/// What one request has shown.
#[derive(Debug, Serialize)]
struct Finding {
    option: String,
    accepted: bool,
    /// The provider's words, where it has refused the request.
    error: Option<String>,
}

/// `test-backend --all-quirks`
pub(super) async fn test(global: &Global, id: &str, model: &str, out: &Output) -> Result<ExitCode, Fail> {
    let config = files::load(global)?.config;
    let known: Vec<&str> = config.providers.keys().map(String::as_str).collect();
    if !known.contains(&id) {
        return Err(Fail::new(format!("there is no provider `{id}`; the file has {}", known.join(", "))));
    }
    let provider = backends::built(&config, id, Some(model))?;
    if provider.dialect() != Dialect::OpenAi {
        return Err(Fail::new(format!(
            "provider `{id}` does not speak OpenAI's format, the only one with such options"
        )));
    }
    let asker = Asker::new(&provider, model)?;
    let mut findings = Vec::new();
    let mut lines: Vec<String> = Vec::new();

    // The limit first, since every other request has one.
    let limit = asker.limit(&mut findings).await;
    let Some(limit) = limit else {
        let why = findings.iter().filter_map(|finding| finding.error.as_deref()).next_back().unwrap_or("no answer");
        return Err(Fail::new(format!("backend {id}:{model} refuses a plain request: {why}")));
    };
    if let Some(name) = limit.line() {
        lines.push(format!("token_limit = \"{name}\""));
    }
    for question in &QUESTIONS {
        let finding = asker.ask(question.name, limit.name(), question.body).await;
        if !finding.accepted {
            lines.push(question.line.to_owned());
        }
        findings.push(finding);
    }
    let mut efforts = Vec::new();
    for effort in Effort::ALL {
        let finding = asker
            .ask(&format!("reasoning_effort={effort}"), limit.name(), |body| {
                body["reasoning_effort"] = json!(effort.name());
            })
            .await;
        efforts.extend(finding.accepted.then_some(*effort));
        findings.push(finding);
    }
    if Efforts::of(&efforts) != Efforts::ALL {
        let names: Vec<_> = efforts.iter().map(|effort| effort.name()).collect();
        lines.push(format!("accepts.reasoning_effort = {names:?}"));
    }

    out.value(&json!({ "provider": id, "model": model, "findings": findings, "options": lines }));
    let rows: Vec<Vec<Cell>> = findings.iter().map(row).collect();
    out.table(&["option", "accepted", "error"], &rows);
    let code = out.verdict(true, format_args!("Backend {id}:{model} has answered {} requests", findings.len()));
    if lines.is_empty() {
        out.line("No option needs to be set.");
    } else {
        out.line(format_args!("Under [providers.{id}] set:"));
        lines.iter().for_each(|line| out.line(format_args!("  {line}")));
    }
    Ok(code)
}

fn row(finding: &Finding) -> Vec<Cell> {
    let (word, tone) = if finding.accepted { ("yes", Tone::Good) } else { ("no", Tone::Doubtful) };
    vec![Cell::new(&finding.option), Cell::tone(word, tone), Cell::new(finding.error.as_deref().unwrap_or_default())]
}

/// The names of the token limit that a provider accepts.
#[derive(Clone, Copy)]
enum Limit {
    Both,
    MaxTokens,
    MaxCompletionTokens,
}

impl Limit {
    const fn name(self) -> &'static str {
        match self {
            Self::Both | Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }

    const fn line(self) -> Option<&'static str> {
        match self {
            Self::Both => None,
            Self::MaxTokens => Some("max_tokens"),
            Self::MaxCompletionTokens => Some("max_completion_tokens"),
        }
    }
}

/// Sends the requests, without the gateway's layers, so that nothing is repeated in another form.
struct Asker<'a> {
    provider: &'a Provider,
    model: &'a str,
    client: Client,
}

impl<'a> Asker<'a> {
    fn new(provider: &'a Provider, model: &'a str) -> Result<Self, Fail> {
        let client = Client::builder()
            .connect_timeout(provider.timeouts().connect())
            .timeout(provider.timeouts().plain_head())
            .redirect(Policy::none());
        let url = provider.uri(Endpoint::ChatCompletions, model, false);
        let is_local = url.as_ref().and_then(http::Uri::host).is_some_and(is_loopback);
        let client = if is_local { client.no_proxy() } else { client };
        Ok(Self { provider, model, client: client.build().map_err(|error| Fail::new(error.to_string()))? })
    }

    async fn limit(&self, findings: &mut Vec<Finding>) -> Option<Limit> {
        let older = self.ask("max_tokens", "max_tokens", |_| {}).await;
        let newer = self.ask("max_completion_tokens", "max_completion_tokens", |_| {}).await;
        let limit = match (older.accepted, newer.accepted) {
            (true, true) => Some(Limit::Both),
            (true, false) => Some(Limit::MaxTokens),
            (false, true) => Some(Limit::MaxCompletionTokens),
            (false, false) => None,
        };
        findings.extend([older, newer]);
        limit
    }

    async fn ask(&self, option: &str, limit: &str, change: impl FnOnce(&mut Value)) -> Finding {
        let mut body = json!({ "model": self.model, "messages": [{ "role": "user", "content": "hi" }], limit: 1 });
        change(&mut body);
        let error = self.send(&body).await.err();
        Finding { option: option.to_owned(), accepted: error.is_none(), error }
    }

    async fn send(&self, body: &Value) -> Result<(), String> {
        let is_stream = body["stream"] == true;
        let url = self.provider.uri(Endpoint::ChatCompletions, self.model, is_stream);
        let url = url.ok_or("the provider has no address for a chat")?;
        let mut headers = self.provider.headers();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let request = self.client.post(url.to_string()).headers(headers).body(body.to_string());
        let response = request.send().await.map_err(without_address)?;
        let status = response.status();
        let text = response.text().await.map_err(without_address)?;
        if status.is_success() {
            return Ok(());
        }
        let shown: String = self.provider.mask(&text).chars().take(200).collect();
        Err(format!("{}: {}", status.as_u16(), shown.replace(['\n', '\r'], " ")))
    }
}

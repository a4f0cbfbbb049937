//! Known providers: what each refuses and how it answers, compared with a fixture of its own.
//!
//! `BLESS=1 cargo test -p berry-simulated --test presets` writes the fixtures anew.

use std::path::Path;

use berry_simulated::{Config, Dialect, Provider};
use serde_json::{Value, json};

/// A change of a plain request, and its name in the fixtures.
type Change = (&'static str, fn(&mut Value));

/// The requests to every provider of OpenAI's format, as changes of a plain chat.
const CHANGES: [Change; 12] = [
    ("nothing", |_| {}),
    ("max_tokens", |body| body["max_tokens"] = json!(2)),
    ("max_completion_tokens", |body| body["max_completion_tokens"] = json!(2)),
    ("user", |body| body["user"] = json!("u")),
    ("stream_options", |body| {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }),
    ("strict", |body| {
        let parameters = json!({"type": "object", "properties": {}});
        body["tools"] =
            json!([{"type": "function", "function": {"name": "f", "strict": true, "parameters": parameters}}]);
    }),
    ("developer", |body| body["messages"][0]["role"] = json!("developer")),
    ("text_parts", |body| body["messages"][1]["content"] = json!([{"type": "text", "text": "Hi"}])),
    ("name", |body| body["messages"][1]["name"] = json!("ann")),
    ("late_system", |body| {
        body["messages"] = json!([{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be kind."}]);
    }),
    ("reasoning_effort", |body| body["reasoning_effort"] = json!("xhigh")),
    ("reasoning_content", |body| {
        let told = json!({"role": "assistant", "content": "Yes.", "reasoning_content": "I think."});
        let asked = json!({"role": "user", "content": "Go on."});
        body["messages"].as_array_mut().expect("messages").extend([told, asked]);
    }),
];

/// The requests to Anthropic, as changes of a plain question.
const CLAUDE_CHANGES: [Change; 4] = [
    ("nothing", |_| {}),
    ("budget", |body| body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024})),
    ("budget_of_newer_model", |body| {
        body["model"] = json!("claude-opus-4-8");
        body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
    }),
    ("adaptive_of_older_model", |body| {
        body["model"] = json!("claude-sonnet-4-5");
        body["thinking"] = json!({"type": "adaptive"});
    }),
];

fn chat() -> Value {
    json!({"model": "sim", "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]})
}

/// A question in the provider's format, the model without its thoughts.
fn question(dialect: Dialect) -> Value {
    match dialect {
        Dialect::Claude => {
            json!({"model": "sim", "max_tokens": 2048, "messages": [{"role": "user", "content": "Hi"}]})
        }
        Dialect::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}),
        _ => chat(),
    }
}

async fn post(provider: &Provider, dialect: Dialect, model: &str, body: &Value, stream: bool) -> (u16, String) {
    let path = match (dialect, stream) {
        (Dialect::Claude, _) => "/messages".to_owned(),
        (Dialect::Gemini, false) => format!("/models/{model}:generateContent"),
        (Dialect::Gemini, true) => format!("/models/{model}:streamGenerateContent?alt=sse"),
        (Dialect::Azure, _) => format!("/openai/deployments/{model}/chat/completions?api-version=2024-10-21"),
        _ => "/chat/completions".to_owned(),
    };
    let request = reqwest::Client::new().post(format!("{}{path}", provider.base_url())).json(body);
    let request = match dialect {
        Dialect::Claude => request.header("x-api-key", provider.key()).header("anthropic-version", "2023-06-01"),
        Dialect::Gemini => request.header("x-goog-api-key", provider.key()),
        Dialect::Azure => request.header("api-key", provider.key()),
        _ => request.bearer_auth(provider.key()),
    };
    let response = request.send().await.expect("a response");
    (response.status().as_u16(), response.text().await.expect("a body"))
}

/// Everything that a provider does otherwise than OpenAI: its refusals, and an answer with thoughts.
async fn shown(name: &str) -> Value {
    let known = Config::of_preset(name).expect("a preset");
    let dialect = known.dialect;
    let models = ["sim", "claude-opus-4-8", "claude-sonnet-4-5"].map(str::to_owned).to_vec();
    let config = Config { tokens: Some(2), models, ..known };
    let provider = Provider::start(config).await.expect("a free port");
    let mut refused = serde_json::Map::new();
    let changes: &[Change] = match dialect {
        Dialect::OpenAi => &CHANGES,
        Dialect::Claude => &CLAUDE_CHANGES,
        _ => &[],
    };
    for (part, change) in changes {
        let mut body = question(dialect);
        change(&mut body);
        let (status, text) = post(&provider, dialect, "sim", &body, false).await;
        if status != 200 {
            let error: Value = serde_json::from_str(&text).expect("an error in JSON");
            refused.insert((*part).to_owned(), json!({"status": status, "body": error}));
        }
    }
    let mut thinks = question(dialect);
    if dialect == Dialect::Claude {
        thinks["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
    }
    if dialect != Dialect::Gemini {
        thinks["model"] = json!("sim-think");
    }
    let (_, plain) = post(&provider, dialect, "sim-think", &thinks, false).await;
    if dialect != Dialect::Gemini {
        thinks["stream"] = json!(true);
    }
    let (_, stream) = post(&provider, dialect, "sim-think", &thinks, true).await;
    let plain: Value = serde_json::from_str(&plain).expect("an answer in JSON");
    assert!(!refused.contains_key("nothing") && plain.get("error").is_none(), "{name}: {plain}");
    json!({"refused": refused, "plain": plain, "stream": stream.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>()})
}

#[tokio::test]
async fn each_refuses_and_answers_as_its_fixture_shows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for name in Config::presets() {
        let path = folder.join(format!("{name}.json"));
        let shown = shown(name).await;
        if std::env::var_os("BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, format!("{shown:#}\n")).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert_eq!(shown, serde_json::from_str::<Value>(&expected).unwrap(), "{name}");
    }
}

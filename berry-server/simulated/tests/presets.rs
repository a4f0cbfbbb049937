//! Known providers: what each refuses and how it answers, compared with a fixture of its own.
//!
//! `BLESS=1 cargo test -p berry-simulated --test presets` writes the fixtures anew.

use berry_simulated::{Config, Dialect, Provider};
use serde_json::{Value, json};
use std::path::Path;

/// What is asked of every provider of OpenAI's format, each beside a plain chat.
const CHANGES: [(&str, fn(&mut Value)); 12] = [
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
        body["messages"].as_array_mut().unwrap().extend([told, asked]);
    }),
];

fn chat() -> Value {
    json!({"model": "sim", "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]})
}

async fn post(provider: &Provider, body: &Value) -> (u16, String) {
    let url = format!("{}/chat/completions", provider.base_url());
    let response = reqwest::Client::new().post(url).bearer_auth(provider.key()).json(body).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Everything that a provider does otherwise than OpenAI: its refusals, and an answer with thoughts.
async fn shown(name: &str) -> Value {
    let config = Config { tokens: Some(2), ..Config::of_preset(name).unwrap() };
    let provider = Provider::start(config).await.unwrap();
    let mut refused = serde_json::Map::new();
    for (part, change) in CHANGES {
        let mut body = chat();
        change(&mut body);
        let (status, text) = post(&provider, &body).await;
        if status != 200 {
            let error: Value = serde_json::from_str(&text).unwrap();
            refused.insert(part.to_owned(), json!({"status": status, "body": error}));
        }
    }
    let mut thinks = chat();
    thinks["model"] = json!("sim-think");
    let (_, plain) = post(&provider, &thinks).await;
    thinks["stream"] = json!(true);
    let (_, stream) = post(&provider, &thinks).await;
    let plain: Value = serde_json::from_str(&plain).unwrap();
    json!({"refused": refused, "plain": plain, "stream": stream.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>()})
}

#[tokio::test]
async fn each_refuses_and_answers_as_its_fixture_shows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for name in Config::presets().filter(|name| Config::of_preset(name).unwrap().dialect == Dialect::OpenAi) {
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

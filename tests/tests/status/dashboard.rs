//! The dashboard page and its data.

use berry_simulated::Fault;
use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, USER, model},
    shape::assert_shape,
};

const DATA: &str = "/dashboard/data";

fn data_shape() -> Value {
    json!({
        "status": "string", "draining": "bool", "timestamp": "time", "uptime_seconds": "count", "loaded_at": "time",
        "last_reload": "null",
        "models": [{
            "name": "string", "strategy": "string", "enabled": "bool", "fallbacks": "[string]",
            "backends": [{
                "provider": "string", "model": "string", "state": "string", "usable": "bool",
                "retry_in_seconds": "number|null", "weight": "number", "effective_weight": "number",
                "priority": "count", "premium": "bool", "confidence": "number", "in_flight": "count",
                "max_in_flight": "count", "requests": "count", "errors": "count", "errors_by_class": { "*": "count" },
                "last_error": "string|null", "latency_ms": "number|null", "first_token_ms": "number|null",
            }],
        }],
        "latest": {
            "seconds": "number", "requests": "count", "failed": "count", "refused": "count", "tokens": "count",
            "p50_ms": "number|null", "p95_ms": "number|null",
        },
        "history": {
            "step_seconds": "count", "until": "number", "requests": ["count"], "failed": ["count"],
            "refused": ["count"], "tokens": ["count"], "p50_ms": ["number|null"], "p95_ms": ["number|null"],
        },
        "events": [{
            "at": "time", "provider": "string", "model": "string", "kind": "string", "class": "string",
            "status": "count|null", "reason": "string|null",
        }],
    })
}

/// Returns the events without their times and backends.
fn events(data: &Value) -> Vec<Value> {
    let bare = |event: &Value| {
        let mut event = event.as_object().unwrap().clone();
        event.retain(|key, _| !["at", "provider", "model"].contains(&key.as_str()));
        Value::Object(event)
    };
    data["events"].as_array().unwrap().iter().map(bare).collect()
}

#[tokio::test]
async fn dashboard_numbers_match_the_providers() {
    let gateway = Gateway::start("", &["one"], &model("pool", "random", &[("one", "")])).await;
    gateway.providers[0].script([Fault::Status(429).retry_after(0).once(), Fault::Status(400).once()]);
    for _ in 0..4 {
        gateway.chat("pool", USER).await;
    }
    gateway.chat("unknown", USER).await;
    let data = gateway.status(DATA).await;
    assert_shape(&data, &data_shape());
    let backend = &data["models"][0]["backends"][0];
    assert_eq!(backend["requests"], gateway.calls(0));
    assert_eq!((&backend["errors"], &backend["errors_by_class"]), (&json!(1), &json!({ "rate_limit": 1 })));
    let latest = &data["latest"];
    assert_eq!((&latest["requests"], &latest["failed"], &latest["refused"]), (&json!(5), &json!(0), &json!(3)));
    assert!(latest["tokens"].as_u64().unwrap() > 0 && latest["p95_ms"].is_number(), "{latest}");
    assert_eq!(data["history"]["requests"].as_array().unwrap().len(), 15 * 60 / 5);
    assert_eq!(events(&data), [json!({ "kind": "attempt", "class": "rate_limit", "status": 429, "reason": null })]);
}

#[tokio::test]
async fn history_has_only_model_requests() {
    let gateway = Gateway::start("", &["one"], &model("pool", "random", &[("one", "")])).await;
    for path in [DATA, "/", "/metrics", "/v1/models", "/v1/chat/completions"] {
        gateway.get(path, Some(USER)).await.bytes().await.unwrap();
    }
    assert_eq!(gateway.status(DATA).await["latest"]["requests"], 0);
}

#[tokio::test]
async fn failed_backend_is_reported_with_its_consequences() {
    let settings = "circuit_breaker_failure_threshold = 2";
    let gateway = Gateway::start(settings, &["one"], &model("pool", "random", &[("one", "")])).await;
    // The client replaces a pooled connection that resets at once. A second reset is a failure.
    gateway.providers[0].script([Fault::Status(500).once(), Fault::Reset.times(2)]);
    for state in ["unhealthy", "open"] {
        gateway.chat("pool", USER).await;
        let data = gateway.status(DATA).await;
        assert_eq!(data["models"][0]["backends"][0]["state"], state);
        assert_eq!(data["status"], "unhealthy");
    }
    let data = gateway.status(DATA).await;
    assert!(data["models"][0]["backends"][0]["retry_in_seconds"].as_f64().unwrap() > 50.0);
    assert_eq!(data["latest"]["failed"], 2);
    let mut reported = events(&data);
    reported.sort_by_key(ToString::to_string);
    let reason = "the connection to the provider broke";
    let expected = [
        json!({ "kind": "attempt", "class": "network", "status": null, "reason": reason }),
        json!({ "kind": "attempt", "class": "server", "status": 500, "reason": null }),
        json!({ "kind": "breaker", "from": "closed", "to": "open" }),
        json!({ "kind": "health", "from": "healthy", "to": "unhealthy" }),
    ];
    assert_eq!(reported, expected);
    let times: Vec<_> = data["events"].as_array().unwrap().iter().map(|event| event["at"].to_string()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "the latest comes first: {times:?}");
}

#[tokio::test]
async fn page_has_no_data_and_runs_only_its_own_scripts() {
    let gateway = Gateway::start("public_status = false", &["one"], &model("pool", "random", &[("one", "")])).await;
    let page = gateway.get("/", None).await;
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    assert_eq!(page.headers()["referrer-policy"], "no-referrer");
    let html = page.text().await.unwrap();
    assert!(html.contains("data-status=\"closed\"") && html.contains(env!("CARGO_PKG_VERSION")), "{html}");
    assert!(!html.contains("pool") && !html.contains("{status}") && !html.contains("{version}"), "{html}");
    for inline in ["style=", "onclick=", "<style", "<script>"] {
        assert!(!html.contains(inline), "{inline} violates the policy");
    }
    // Every file that the page and its scripts reference exists and has the right media type.
    let mut wanted: Vec<String> = referenced_files(&html, "=\"/dashboard/").collect();
    let mut seen = 0;
    while let Some(file) = wanted.get(seen).cloned() {
        let response = gateway.get(&format!("/dashboard/{file}"), None).await;
        assert_eq!(response.status(), 200, "{file}");
        let kind = match file.rsplit('.').next().unwrap() {
            "js" => "text/javascript",
            "css" => "text/css",
            _ => "image/svg+xml",
        };
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with(kind), "{file}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{file}");
        let content = response.text().await.unwrap();
        wanted.extend(
            referenced_files(&content, "from \"./").filter(|other| !wanted.contains(other)).collect::<Vec<_>>(),
        );
        seen += 1;
    }
    assert!(seen >= 16, "{wanted:?}");
}

/// Returns the file names that follow `before` in a text.
fn referenced_files<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned)
}

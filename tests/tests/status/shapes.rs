//! Every response has all its keys with the right types, before and after the first requests.

use berry_simulated::Fault;
use serde_json::{Value, json};

use crate::{
    gateway::{ADMIN, Gateway, USER, model},
    shape::assert_shape,
};

/// Every path with the shape of its response.
fn all() -> [(&'static str, Value); 9] {
    [
        ("/metrics", metrics()),
        ("/admin/model-weights", model_weights()),
        ("/admin/model-weights?model=pool", model_weights()),
        ("/admin/backend-health", backend_health()),
        ("/admin/system-stats", system_stats()),
        ("/admin/rate-limit-usage?user_id=some", rate_limit_usage()),
        ("/admin/explain?model=pool", explain()),
        ("/smart-ai/weights", json!({ "models": [smart_ai(None)], "timestamp": "time" })),
        ("/smart-ai/models/pool/weights", json!({ "model": smart_ai(None), "timestamp": "time" })),
    ]
}

fn metrics() -> Value {
    json!({
        "status": "string", "timestamp": "time", "uptime_seconds": "count",
        "providers": { "*": {
            "healthy": "bool", "last_check": "time|null", "total_requests": "count", "successful_requests": "count",
            "failed_requests": "count", "average_latency_ms": "number|null",
            "models": { "*": {
                "healthy": "bool", "requests": "count", "errors": "count", "circuit": "string",
                "confidence": "number", "in_flight": "count",
            } },
        } },
        "load_balancer": { "total_selections": "count", "strategy_distribution": { "*": "count" } },
    })
}

fn model_weights() -> Value {
    json!({
        "models": { "*": {
            "model_name": "string", "display_name": "string", "strategy": "string", "enabled": "bool",
            "backends": [{
                "provider": "string", "model": "string", "original_weight": "number", "effective_weight": "number",
                "is_healthy": "bool", "is_enabled": "bool", "priority": "count", "tags": "[string]",
                "billing_mode": "string", "failure_count": "count", "circuit_state": "string",
                "recovery_stage": "string",
            }],
            "total_effective_weight": "number",
        } },
        "timestamp": "time", "total_models": "count",
    })
}

fn backend_health() -> Value {
    json!({
        "backend_health": { "*": {
            "model_name": "string", "enabled": "bool",
            "backends": [{
                "provider": "string", "model": "string", "enabled": "bool", "is_healthy": "bool",
                "circuit_state": "string", "failure_count": "count", "last_error": "string|null",
                "last_success": "time|null", "last_failure": "time|null", "tags": "[string]", "priority": "count",
                "openai_api": "string",
            }],
        } },
        "timestamp": "time",
    })
}

fn system_stats() -> Value {
    json!({
        "system": {
            "is_running": "bool", "version": "string", "uptime_seconds": "count", "total_models": "count",
            "available_models": "count",
        },
        "health_summary": {
            "total_providers": "count", "healthy_providers": "count", "total_backends": "count",
            "healthy_backends": "count",
        },
        "model_stats": { "*": {
            "healthy_backends": "count", "total_backends": "count", "health_ratio": "number",
            "average_latency_ms": "number|null",
        } },
        "config": { "loaded_at": "time", "source": "string|null", "last_reload": "null" },
        "timestamp": "time",
    })
}

fn rate_limit_usage() -> Value {
    let numbers = json!({
        "requests_per_minute": "count|null", "requests_per_hour": "count|null", "requests_per_day": "count|null",
        "max_concurrent_requests": "count|null",
    });
    json!({ "user_id": "string", "limits": numbers, "remaining": numbers, "timestamp": "time" })
}

fn explain() -> Value {
    json!({
        "model": "string", "strategy": "string",
        "candidates": [{
            "provider": "string", "model": "string", "in": "bool", "why": "string", "state": "string",
            "weight": "number", "effective_weight": "number", "probability": "number",
        }],
        "timestamp": "time",
    })
}

fn smart_ai(details: Option<Value>) -> Value {
    let mut backend = json!({
        "provider": "string", "model": "string", "original_weight": "number", "effective_weight": "number",
        "confidence": "number", "is_premium": "bool", "enabled": "bool", "tags": "[string]",
        "billing_mode": "string",
    });
    if let Some(details) = details {
        backend["health_details"] = details;
    }
    json!({
        "name": "string", "strategy": "string", "enabled": "bool", "backends": [backend],
        "stats": {
            "total_backends": "count", "enabled_backends": "count", "healthy_backends": "count",
            "premium_backends": "count", "average_confidence": "number",
        },
    })
}

fn health_details() -> Value {
    json!({
        "total_requests": "count", "consecutive_successes": "count", "consecutive_failures": "count",
        "last_request": "time|null", "error_counts": { "*": "count" }, "connectivity_ok": "bool|null",
        "last_connectivity_check": "time|null",
    })
}

async fn gateway() -> Gateway {
    let models = model("pool", "round_robin", &[("one", ""), ("two", "tags = [\"premium\", \"vip\"]")])
        + &model("off", "smart_ai", &[("one", "billing_mode = \"per_request\"")])
        + "[users.limited]\ntoken = \"token-of-a-limited-user\"\nrate_limit.requests_per_hour = 5\n";
    let models = models.replace("name = \"off\"", "name = \"off\"\nenabled = false");
    Gateway::start("", &["one", "two"], &models).await
}

#[tokio::test]
async fn every_key_is_present_before_and_after_requests() {
    let gateway = gateway().await;
    for (path, shape) in all() {
        assert_shape(&gateway.status(path).await, &shape);
    }
    let detailed = gateway.status("/smart-ai/weights?detailed=true").await;
    assert_shape(&detailed, &json!({ "models": [smart_ai(Some(health_details()))], "timestamp": "time" }));
    let fresh = &gateway.status("/admin/backend-health").await["backend_health"]["pool"]["backends"][0];
    assert_eq!([&fresh["last_error"], &fresh["last_success"], &fresh["last_failure"]], [&Value::Null; 3]);

    gateway.providers[0].script([Fault::Status(500).times(1)]);
    for _ in 0..4 {
        gateway.chat("pool", ADMIN).await;
    }
    for (path, shape) in all() {
        assert_shape(&gateway.status(path).await, &shape);
    }
    let health = gateway.status("/admin/backend-health").await;
    let one = &health["backend_health"]["pool"]["backends"][0];
    assert_eq!((&one["last_error"], one["last_failure"].is_string()), (&json!("server"), true));
    let detailed = gateway.status("/smart-ai/models/pool/weights?detailed=true").await;
    assert_shape(&detailed, &json!({ "model": smart_ai(Some(health_details())), "timestamp": "time" }));
    assert_eq!(detailed["model"]["backends"][0]["health_details"]["error_counts"]["server"], 1);
}

#[tokio::test]
async fn public_pages_show_tags_to_admins_only() {
    let gateway = gateway().await;
    for path in ["/smart-ai/weights", "/smart-ai/models/pool/weights"] {
        let backends = |page: serde_json::Value| {
            let model = page.get("model").unwrap_or(&page["models"][0]).clone();
            model["backends"][1]["tags"].as_array().unwrap().len()
        };
        assert_eq!(backends(gateway.status(path).await), 2, "an admin");
        for token in [None, Some(USER)] {
            assert_eq!(backends(gateway.get(path, token).await.json().await.unwrap()), 0, "{token:?}");
        }
    }
}

#[tokio::test]
async fn status_pages_show_the_configuration() {
    let gateway = gateway().await;
    let weights = gateway.status("/admin/model-weights").await;
    assert_eq!(weights["total_models"], 2);
    let (pool, off) = (&weights["models"]["pool"], &weights["models"]["off"]);
    assert_eq!((&pool["strategy"], &pool["enabled"]), (&json!("round_robin"), &json!(true)));
    assert_eq!(off["enabled"], false);
    assert_eq!(off["backends"][0]["billing_mode"], "per_request");
    assert_eq!(pool["backends"][0]["tags"], json!([]));
    let mut tags: Vec<_> =
        pool["backends"][1]["tags"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["premium", "vip"]);

    let only = gateway.status("/smart-ai/weights?enabled_only=true").await;
    let names: Vec<_> = only["models"].as_array().unwrap().iter().map(|model| model["name"].clone()).collect();
    assert_eq!(names, ["pool"]);
    assert_eq!(gateway.status("/smart-ai/weights").await["models"].as_array().unwrap().len(), 2);
    assert_eq!(only["models"][0]["backends"][1]["is_premium"], true);
    assert_eq!(only["models"][0]["stats"]["premium_backends"], 1);
}

#[tokio::test]
async fn status_errors_have_the_common_shape() {
    let gateway = gateway().await;
    for (path, code, param) in [
        ("/admin/model-weights?model=none", "model_not_found", "model"),
        ("/admin/explain?model=none", "model_not_found", "model"),
        ("/admin/explain?model=off", "model_not_found", "model"),
        ("/admin/explain?model=pool&user=none", "user_not_found", "user"),
        ("/admin/rate-limit-usage?user_id=none", "user_not_found", "user_id"),
        ("/smart-ai/models/none/weights", "model_not_found", "model"),
    ] {
        let error = gateway.refusal(path, Some(ADMIN), 404).await;
        assert_eq!((&error["code"], &error["param"]), (&json!(code), &json!(param)), "{path}");
    }
    assert_eq!(gateway.refusal("/smart-ai/models/pool", None, 404).await["code"], "not_found");
    for (path, param) in [
        ("/admin/explain", json!("model")),
        ("/admin/rate-limit-usage", json!("user_id")),
        ("/smart-ai/weights?detailed=maybe", Value::Null),
    ] {
        assert_eq!(gateway.refusal(path, Some(ADMIN), 400).await["param"], param, "{path}");
    }
    // The parameter is a user id, not a token.
    let by_token = format!("/admin/rate-limit-usage?user_id={USER}");
    let error = gateway.refusal(&by_token, Some(ADMIN), 404).await;
    assert!(!error.to_string().contains(USER), "{error}");
}

#[tokio::test]
async fn accepts_model_names_with_slashes() {
    let models = model("pool", "random", &[("one", "")]).replace("name = \"pool\"", "name = \"org/pool\"");
    let gateway = Gateway::start("", &["one"], &models).await;
    for path in
        ["/smart-ai/models/org/pool/weights", "/smart-ai/models/org%2Fpool/weights", "/smart-ai/models/pool/weights"]
    {
        assert_eq!(gateway.status(path).await["model"]["name"], "org/pool", "{path}");
    }
    assert_eq!(gateway.status("/admin/explain?model=org/pool").await["model"], "org/pool");
}

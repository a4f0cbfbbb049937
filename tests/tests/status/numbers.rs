//! The numbers agree with those of the simulated providers.

use std::time::Duration;

use berry_simulated::Fault;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::gateway::{Gateway, PATIENCE, USER, VIP, model};

#[tokio::test]
async fn request_counts_match_the_providers() {
    let models = model("turns", "round_robin", &[("one", ""), ("two", "")]) + &model("two", "failover", &[("two", "")]);
    let gateway = Gateway::start("", &["one", "two", "idle"], &models).await;
    // A 400 is the client's fault: it counts as an attempt, but not as an error.
    gateway.providers[1].script([Fault::Status(500).once(), Fault::Status(400).times(2)]);
    for model in ["turns", "turns", "turns", "turns", "two", "two", "two"] {
        gateway.chat(model, USER).await;
    }
    let metrics = gateway.status("/metrics").await;
    let providers = &metrics["providers"];
    for (i, name) in ["one", "two"].into_iter().enumerate() {
        let shown = &providers[name];
        assert_eq!(shown["total_requests"], gateway.calls(i), "{name}");
        assert_eq!(shown["models"]["sim"]["requests"], gateway.calls(i), "{name}");
        assert!(shown["average_latency_ms"].as_f64().unwrap() > 0.0, "{name}");
    }
    let calls = gateway.calls(1);
    assert_eq!(providers["one"]["successful_requests"], gateway.calls(0));
    assert_eq!(providers["one"]["failed_requests"], 0);
    assert_eq!(providers["two"]["successful_requests"], calls - 3);
    assert_eq!(providers["two"]["failed_requests"], 1);
    assert_eq!(providers["two"]["models"]["sim"]["errors"], 1);
    assert_eq!(providers["idle"]["healthy"], Value::Null, "no model uses this provider");
    assert_eq!(providers["idle"]["models"], json!({}));

    let sum = gateway.calls(0) + calls;
    assert_eq!(sum, 7);
    assert_eq!(metrics["load_balancer"]["total_selections"], sum);
    assert_eq!(metrics["load_balancer"]["strategy_distribution"], json!({ "round_robin": 4, "failover": 3 }));
    let details = gateway.status("/smart-ai/models/two/weights?detailed=1").await;
    assert_eq!(details["model"]["backends"][0]["health_details"]["total_requests"], calls);
}

#[tokio::test]
async fn cancelled_request_is_no_longer_in_flight_and_no_error() {
    let gateway = Gateway::start("", &["one"], &model("pool", "random", &[("one", "")])).await;
    gateway.providers[0].set(Fault::Silent);
    let sim = async || gateway.status("/metrics").await["providers"]["one"]["models"]["sim"].clone();
    tokio::select! {
        status = gateway.chat("pool", USER) => panic!("{status} from a silent provider"),
        () = async {
            gateway.providers[0].wait_for(1).await;
            let sim = sim().await;
            assert_eq!((&sim["in_flight"], &sim["requests"]), (&json!(1), &json!(0)));
        } => {}
    }
    let gone = async {
        while sim().await["in_flight"] != 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    let sim = sim().await;
    assert_eq!((&sim["requests"], &sim["errors"], &sim["healthy"]), (&json!(1), &json!(0), &json!(true)));
}

#[tokio::test]
async fn system_stats_count_enabled_and_healthy() {
    let models = model("pool", "failover", &[("one", ""), ("two", "priority = 1"), ("three", "enabled = false")])
        + &model("lone", "failover", &[("one", "")]);
    let gateway = Gateway::start("circuit_breaker_failure_threshold = 1", &["one", "two", "three"], &models).await;
    let stats = gateway.status("/admin/system-stats").await;
    assert_eq!(stats["system"]["total_models"], 2);
    assert_eq!(stats["system"]["available_models"], 2);
    assert_eq!(
        stats["health_summary"],
        json!({ "total_providers": 3, "healthy_providers": 3, "total_backends": 3, "healthy_backends": 3 })
    );
    gateway.providers[0].set(Fault::Status(500));
    assert_eq!(gateway.chat("lone", USER).await, 502);
    let stats = gateway.status("/admin/system-stats").await;
    assert_eq!(stats["system"]["available_models"], 1);
    assert_eq!(
        stats["health_summary"],
        json!({ "total_providers": 3, "healthy_providers": 2, "total_backends": 3, "healthy_backends": 1 })
    );
    assert_eq!(stats["model_stats"]["pool"]["health_ratio"], 0.5);
    assert_eq!(stats["model_stats"]["lone"]["health_ratio"], 0.0);
    assert_eq!(stats["model_stats"]["lone"]["average_latency_ms"], Value::Null, "failures have no latency");
    assert_eq!(gateway.status("/metrics").await["status"], "degraded");
    let health = &gateway.status("/admin/backend-health").await["backend_health"]["lone"]["backends"][0];
    assert_eq!(
        (&health["is_healthy"], &health["circuit_state"], &health["failure_count"]),
        (&json!(false), &json!("open"), &json!(1))
    );
}

#[tokio::test]
async fn reports_limits_and_remaining_requests() {
    let models = model("pool", "random", &[("one", "")])
        + "[users.limited]\ntoken = \"token-of-a-limited-user\"\n[users.limited.rate_limit]\n\
           requests_per_minute = 5\nrequests_per_day = 50\nmax_concurrent_requests = 2\n";
    let gateway = Gateway::start("", &["one"], &models).await;
    for _ in 0..3 {
        assert_eq!(gateway.chat("pool", "token-of-a-limited-user").await, 200);
    }
    // Reading the usage consumes nothing.
    for _ in 0..3 {
        let usage = gateway.status("/admin/rate-limit-usage?user_id=limited").await;
        assert_eq!(usage["user_id"], "limited");
        let numbers = |minute: u32, day: u32| {
            json!({
                "requests_per_minute": minute, "requests_per_hour": null, "requests_per_day": day,
                "max_concurrent_requests": 2,
            })
        };
        assert_eq!(usage["limits"], numbers(5, 50));
        assert_eq!(usage["remaining"], numbers(2, 47));
    }
    assert_eq!(gateway.chat("pool", VIP).await, 200);
    let free = gateway.status("/admin/rate-limit-usage?user_id=vip").await;
    assert!(free["limits"].as_object().unwrap().values().all(Value::is_null));
    assert_eq!(free["limits"], free["remaining"]);
}

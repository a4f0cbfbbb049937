//! The explanation agrees with the strategy and has no side effects.

use berry_simulated::Fault;
use berry_tower::backend::strategy::NAMES;
use serde_json::Value;

use crate::gateway::{Gateway, USER, VIP, model, near};

async fn explain(gateway: &Gateway, query: &str) -> Vec<Value> {
    let explanation = gateway.status(&format!("/admin/explain?model={query}")).await;
    let candidates = explanation["candidates"].as_array().unwrap().clone();
    let selected =
        |is_in: bool| candidates.iter().filter(move |c| c["in"] == is_in).map(|c| c["probability"].as_f64().unwrap());
    assert!(selected(false).all(|p| p == 0.0), "{explanation}");
    let sum: f64 = selected(true).sum();
    assert!(selected(true).count() == 0 || (sum - 1.0).abs() < 1e-9, "{explanation}");
    candidates
}

fn probabilities(candidates: &[Value]) -> Vec<f64> {
    candidates.iter().map(|candidate| candidate["probability"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn probabilities_match_the_strategy() {
    let backends = [("one", "weight = 3.0\npriority = 1"), ("two", "weight = 1.0"), ("costly", "tags = [\"premium\"]")];
    let models: String = NAMES.iter().map(|strategy| model(strategy, strategy, &backends)).collect();
    let gateway = Gateway::start("", &["one", "two", "costly"], &models).await;
    let third = 1.0 / 3.0;
    for (strategy, expected) in NAMES.into_iter().zip([
        [third; 3],
        [0.6, 0.2, 0.2],
        [third; 3],
        [third; 3],
        [0.0, 0.5, 0.5],
        [0.6, 0.2, 0.2],
        [0.6, 0.2, 0.2],
        // Exploration goes to the other backends by weight.
        [0.8, 0.1, 0.1],
    ]) {
        let found = probabilities(&explain(&gateway, strategy).await);
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{strategy}: {found:?}");
    }
}

#[tokio::test]
async fn explain_changes_nothing() {
    let models = model("turns", "round_robin", &[("one", ""), ("two", "")]);
    let gateway = Gateway::start("", &["one", "two"], &models).await;
    let turns = async || {
        let before = [gateway.calls(0), gateway.calls(1)];
        gateway.chat("turns", USER).await;
        usize::from(gateway.calls(1) > before[1])
    };
    let first = turns().await;
    for _ in 0..3 {
        explain(&gateway, "turns").await;
    }
    assert_eq!(turns().await, 1 - first, "explain does not advance the round robin");
    let metrics = gateway.status("/metrics").await;
    assert_eq!(metrics["load_balancer"]["total_selections"], 2);
    assert_eq!(gateway.calls(0) + gateway.calls(1), 2);
}

#[tokio::test]
async fn explains_each_state_with_its_reason() {
    let backends = [("good", ""), ("weak", ""), ("limited", ""), ("broken", ""), ("off", "enabled = false")];
    let mut models = model("pool", "weighted_failover", &backends);
    for name in ["weak", "limited", "broken"] {
        models += &model(name, "random", &[(name, "")]);
    }
    let settings = "circuit_breaker_failure_threshold = 3";
    let gateway = Gateway::start(settings, &["good", "weak", "limited", "broken", "off"], &models).await;
    gateway.providers[1].set(Fault::Status(500));
    gateway.providers[2].script([Fault::Status(429).retry_after(60)]);
    gateway.providers[3].set(Fault::Status(500));
    for (model, times) in [("weak", 1), ("limited", 1), ("broken", 3)] {
        for _ in 0..times {
            gateway.chat(model, USER).await;
        }
    }
    let candidates = explain(&gateway, "pool").await;
    let expected = [
        ("healthy", true, "healthy or recovering"),
        ("unhealthy", false, "unhealthy, and better backends are available"),
        ("cooling_down", false, "cools down"),
        ("open", false, "circuit breaker is open"),
        ("disabled", false, "disabled"),
    ];
    for (candidate, (state, is_in, why)) in candidates.iter().zip(expected) {
        assert_eq!((candidate["state"].as_str(), candidate["in"].as_bool()), (Some(state), Some(is_in)), "{candidate}");
        assert!(candidate["why"].as_str().unwrap().contains(why), "{candidate}");
    }
    assert_eq!(probabilities(&candidates), [1.0, 0.0, 0.0, 0.0, 0.0]);
    // An unhealthy backend is a candidate when no better one is available.
    let alone = explain(&gateway, "weak").await;
    assert_eq!((&alone[0]["in"], &alone[0]["probability"]), (&true.into(), &1.0.into()));
    // An open breaker excludes the only backend.
    let none = explain(&gateway, "broken").await;
    assert!(near(&none[0]["probability"], 0.0) && none[0]["in"] == false);
}

#[tokio::test]
async fn explains_for_a_user_or_an_admin() {
    let models = model("pool", "random", &[("open", ""), ("vip", "tags = [\"vip\"]")])
        + &model("other", "random", &[("open", "")])
        + "[users.narrow]\ntoken = \"token-of-a-narrow-user\"\nallowed_models = [\"other\"]\n\
           [users.gone]\ntoken = \"token-of-a-gone-user\"\nenabled = false\n";
    let gateway = Gateway::start("", &["open", "vip"], &models).await;
    let selected = |candidates: &[Value]| candidates.iter().map(|c| c["in"].as_bool().unwrap()).collect::<Vec<_>>();
    assert_eq!(selected(&explain(&gateway, "pool").await), [true, true]);
    assert_eq!(selected(&explain(&gateway, "pool&user=admin").await), [true, true]);
    assert_eq!(selected(&explain(&gateway, "pool&user=vip").await), [true, true]);
    let some = explain(&gateway, "pool&user=some").await;
    assert_eq!(selected(&some), [true, false]);
    assert_eq!(some[1]["why"], "the user shares none of its tags");
    assert_eq!(some[1]["state"], "healthy", "the state is the backend's own");
    for (user, why) in [("narrow", "the user may not call this model"), ("gone", "the user is disabled")] {
        let candidates = explain(&gateway, &format!("pool&user={user}")).await;
        assert_eq!(selected(&candidates), [false, false], "{user}");
        assert!(candidates.iter().all(|c| c["why"] == why), "{user}");
    }
    // Requests follow the explanation.
    for _ in 0..6 {
        assert_eq!(gateway.chat("pool", USER).await, 200);
    }
    assert_eq!((gateway.calls(0), gateway.calls(1)), (6, 0));
    assert_eq!(gateway.chat("pool", VIP).await, 200);
    assert_eq!(gateway.chat("pool", "token-of-a-narrow-user").await, 403);
}

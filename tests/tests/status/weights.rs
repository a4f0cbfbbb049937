//! The effective weight comes from the strategy and follows confidence and recovery.

use berry_simulated::Fault;
use serde_json::Value;

use crate::gateway::{Gateway, USER, model, near};

/// Returns the effective weight of a model's first backend. All three endpoints must agree.
async fn weight(gateway: &Gateway, model: &str) -> Value {
    let admin = gateway.status(&format!("/admin/model-weights?model={model}")).await;
    let smart = gateway.status(&format!("/smart-ai/models/{model}/weights")).await;
    let explained = gateway.status(&format!("/admin/explain?model={model}")).await;
    let weight = &admin["models"][model]["backends"][0]["effective_weight"];
    assert_eq!(weight, &smart["model"]["backends"][0]["effective_weight"]);
    assert_eq!(weight, &explained["candidates"][0]["effective_weight"]);
    weight.clone()
}

async fn confidence(gateway: &Gateway, model: &str) -> Value {
    let smart = gateway.status(&format!("/smart-ai/models/{model}/weights")).await;
    smart["model"]["backends"][0]["confidence"].clone()
}

#[tokio::test]
async fn confidence_falls_with_a_failure_and_recovers_in_stages() {
    let models = model("smart", "smart_ai", &[("one", "weight = 2.0")])
        + &model("staged", "smart_weighted_failover", &[("one", "weight = 3.0")])
        + &model("plain", "weighted_random", &[("one", "weight = 5.0")])
        + &model("even", "random", &[("one", "weight = 7.0")]);
    let gateway = Gateway::start("", &["one"], &models).await;
    gateway.providers[0].script([Fault::Status(500).once()]);
    // The confidence, its factor with the bonus, the factor of the recovery stage, and the stage:
    // initially, after the failure, and after each of five successes.
    let steps = [
        (0.8, 0.8, 1.0, "healthy"),
        (0.6, 0.8 * 0.6, 0.1, "unhealthy"),
        (0.7, 0.8 * 0.7, 0.3, "recovering_30"),
        (0.8, 0.8, 0.3, "recovering_30"),
        (0.9, 0.9, 0.5, "recovering_50"),
        (1.0, 1.0 * 1.1, 0.5, "recovering_50"),
        (1.0, 1.0 * 1.1, 1.0, "healthy"),
    ];
    for (step, (confidence_now, trust, factor, stage)) in steps.into_iter().enumerate() {
        if step > 0 {
            gateway.chat("smart", USER).await;
        }
        let smart = weight(&gateway, "smart").await;
        assert!(near(&smart, 2.0 * trust * factor), "step {step}: {smart}");
        let staged = weight(&gateway, "staged").await;
        assert!(near(&staged, 3.0 * factor), "step {step}: {staged}");
        // These strategies ignore confidence and recovery.
        assert!(near(&weight(&gateway, "plain").await, 5.0));
        assert!(near(&weight(&gateway, "even").await, 1.0));
        // The confidence is kept for every backend, whatever the strategy of its model.
        for model in ["smart", "staged", "plain", "even"] {
            assert!(near(&confidence(&gateway, model).await, confidence_now), "step {step}, {model}");
        }
        let shown = gateway.status("/admin/model-weights").await;
        assert_eq!(shown["models"]["plain"]["backends"][0]["recovery_stage"], stage, "step {step}");
    }
}

#[tokio::test]
async fn total_weight_is_the_sum_without_disabled_backends() {
    let backends = [("one", "weight = 2.0"), ("two", "weight = 3.0"), ("three", "weight = 4.0\nenabled = false")];
    let gateway = Gateway::start("", &["one", "two", "three"], &model("pool", "weighted_random", &backends)).await;
    let weights = gateway.status("/admin/model-weights").await;
    let pool = &weights["models"]["pool"];
    assert!(near(&pool["total_effective_weight"], 5.0), "{pool}");
    assert_eq!(pool["backends"][2]["original_weight"], 4.0);
    assert_eq!(
        (&pool["backends"][2]["effective_weight"], &pool["backends"][2]["is_enabled"]),
        (&0.0.into(), &false.into())
    );
}

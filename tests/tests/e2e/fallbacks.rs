//! Fallback models, and state that the models of a backend share.

use berry_simulated::{Config, Fault};
use berry_tests::{Ask, Gateway};

/// Starts a gateway with the model `pool` over provider `a` and its fallback `spare` over provider `b`.
async fn with_spare() -> Gateway {
    let tables = "[models.spare]\nname = \"spare\"\n[[models.spare.backends]]\nprovider = \"b\"\nmodel = \"sim\"\n\
        probe = \"none\"\n[providers.b]\nmodels = [\"sim\"]\n";
    let b = berry_simulated::Provider::start(Config { tokens: Some(4), ..Config::named("b") }).await.unwrap();
    let tables = format!("{tables}base_url = \"{}\"\napi_key = \"{}\"\n", b.base_url(), b.key());
    let builder = Gateway::builder().provider("a").pool("fallbacks = [\"spare\"]").user("allowed_models = [\"pool\"]");
    let mut gateway = builder.settings("max_internal_retries = 0").tables(&tables).start().await;
    gateway.providers.push(b);
    gateway
}

#[tokio::test]
async fn falls_back_when_every_backend_fails() {
    for stream in [false, true] {
        for fault in [Fault::Status(500), Fault::Status(429), Fault::Reset, Fault::BadKey, Fault::Status(404)] {
            let gateway = with_spare().await;
            gateway.providers[0].set(fault.clone());
            let reply = gateway.ask(&Ask::chat("pool", stream)).await;
            assert!(reply.is_good_chat(), "{fault:?}: {reply:?}");
            assert_eq!(reply.header("x-berry-backend"), "b:sim");
            assert_eq!(reply.header("x-berry-attempts"), "2");
        }
    }
}

#[tokio::test]
async fn falls_back_when_every_backend_cools_down() {
    let gateway = with_spare().await;
    gateway.providers[0].set(Fault::Status(429).retry_after(600));
    for _ in 0..3 {
        assert!(gateway.plain().await.is_good_chat());
    }
    assert_eq!((gateway.calls(0), gateway.calls(1)), (1, 3));
}

#[tokio::test]
async fn context_overflow_falls_back_without_retry() {
    for stream in [false, true] {
        let gateway = with_spare().await;
        gateway.providers[0].set(Fault::ContextLength);
        let reply = gateway.ask(&Ask::chat("pool", stream)).await;
        assert!(reply.is_good_chat(), "{reply:?}");
        assert_eq!((gateway.calls(0), gateway.calls(1)), (1, 1));
        // The backend stays healthy.
        gateway.providers[0].heal();
        let reply = gateway.ask(&Ask::chat("pool", stream)).await;
        assert_eq!(reply.header("x-berry-backend"), "a:sim");
    }
}

#[tokio::test]
async fn context_overflow_of_every_model_passes_the_providers_error() {
    let gateway = with_spare().await;
    gateway.providers.iter().for_each(|provider| provider.set(Fault::ContextLength));
    let reply = gateway.plain().await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.error()["code"], "context_length_exceeded");
    assert_eq!((gateway.calls(0), gateway.calls(1)), (1, 1));
}

#[tokio::test]
async fn content_policy_error_passes_unchanged() {
    for stream in [false, true] {
        let gateway = with_spare().await;
        gateway.providers[0].set(Fault::ContentPolicy);
        let reply = gateway.ask(&Ask::chat("pool", stream)).await;
        assert_eq!(reply.status, 400);
        assert_eq!(reply.error()["code"], "content_policy_violation");
        assert_eq!((gateway.calls(0), gateway.calls(1)), (1, 0));
    }
}

#[tokio::test]
async fn models_share_the_state_of_a_common_backend() {
    let tables = "[models.twin]\nname = \"twin\"\nstrategy = \"failover\"\n[[models.twin.backends]]\nprovider = \"a\"\n\
        model = \"sim\"\n[[models.twin.backends]]\nprovider = \"b\"\nmodel = \"sim\"\npriority = 1";
    let gateway = Gateway::builder().provider("a").provider("b").backend("priority = 1").strategy("failover");
    let gateway = gateway.tables(tables).start().await;
    gateway.providers[0].set(Fault::Status(500));
    assert!(gateway.plain().await.is_good_chat());
    let reply = gateway.ask(&Ask::chat("twin", false)).await;
    assert_eq!((reply.header("x-berry-backend"), reply.header("x-berry-attempts")), ("b:sim", "1"));
    assert_eq!(gateway.calls(0), 1);
}

#[tokio::test]
async fn disabled_backends_get_no_request() {
    let gateway = Gateway::builder().provider("a").with("enabled = false").provider("b").provider("c");
    let gateway = gateway.backend("enabled = false").strategy("round_robin").start().await;
    gateway.providers[1].set(Fault::Status(500).percent(50));
    for _ in 0..10 {
        gateway.plain().await;
    }
    assert_eq!((gateway.calls(0), gateway.calls(2)), (0, 0));
}

//! The values of `/prometheus` agree with the status pages and the simulated providers.

use std::time::Duration;

use berry_simulated::Fault;
use berry_tests::{Ask, Gateway, soon};

use crate::support::{ADMIN, Samples, builder, status, until};

/// Every metric family and its type.
const FAMILIES: [(&str, &str); 28] = [
    ("http_requests_total", "counter"),
    ("http_request_duration_seconds", "histogram"),
    ("http_requests_in_flight", "gauge"),
    ("backend_health_status", "gauge"),
    ("backend_request_count_total", "counter"),
    ("backend_error_count_total", "counter"),
    ("backend_latency_seconds", "histogram"),
    ("backend_time_to_first_token_seconds", "histogram"),
    ("backend_time_per_output_token_seconds", "histogram"),
    ("backend_output_tokens_per_second", "gauge"),
    ("backend_request_duration_seconds", "histogram"),
    ("backend_in_flight", "gauge"),
    ("load_balance_selections_total", "counter"),
    ("smart_ai_confidence_score", "gauge"),
    ("circuit_breaker_state", "gauge"),
    ("circuit_breaker_transitions_total", "counter"),
    ("berry_retries_total", "counter"),
    ("berry_retry_budget_remaining", "gauge"),
    ("berry_rate_limited_total", "counter"),
    ("berry_client_cancelled_total", "counter"),
    ("berry_requests_queued", "gauge"),
    ("berry_limit_overshoot_tokens_total", "counter"),
    ("berry_log_lines_dropped_total", "counter"),
    ("berry_tokens_total", "counter"),
    ("berry_gateway_overhead_seconds", "histogram"),
    ("berry_config_last_reload_success", "gauge"),
    ("berry_config_last_reload_timestamp_seconds", "gauge"),
    ("berry_build_info", "gauge"),
];

#[tokio::test]
async fn numbers_match_the_providers() {
    let gateway = builder()
        .provider("a")
        .provider("b")
        .strategy("round_robin")
        .settings("circuit_breaker_failure_threshold = 1\nmax_internal_retries = 0")
        .start()
        .await;
    gateway.providers[0].script([Fault::Status(400).once(), Fault::Status(500).once()]);
    // Backend a responds with 400, b with 200, a with 500. Then only b is used.
    let statuses: Vec<u16> = [gateway.plain().await, gateway.plain().await, gateway.stream().await]
        .into_iter()
        .map(|reply| reply.status.as_u16())
        .collect();
    assert_eq!(statuses, [400, 200, 200]);
    for stream in [true, false, true] {
        assert!(gateway.ask(&Ask::chat("pool", stream)).await.is_good_chat() || !stream);
    }

    let samples = Samples::fetch(&gateway).await;
    let (a, b) = (gateway.calls(0) as f64, gateway.calls(1) as f64);
    assert_eq!((a, b), (2.0, 5.0));
    let sample = |name: &str, provider: &str| samples.get(&format!("{name}{{model=\"sim\",provider=\"{provider}\"}}"));
    for (provider, calls) in [("a", a), ("b", b)] {
        assert_eq!(sample("backend_request_count_total", provider), calls);
        assert_eq!(sample("backend_latency_seconds_count", provider), calls);
        assert_eq!(sample("backend_in_flight", provider), 0.0);
        let selections =
            format!("load_balance_selections_total{{model=\"pool\",provider=\"{provider}\",strategy=\"round_robin\"}}");
        assert_eq!(samples.get(&selections), calls);
    }
    assert_eq!(sample("backend_time_to_first_token_seconds_count", "b"), 3.0);
    assert_eq!((sample("backend_health_status", "a"), sample("backend_health_status", "b")), (0.0, 1.0));
    assert_eq!((sample("circuit_breaker_state", "a"), sample("circuit_breaker_state", "b")), (2.0, 0.0));
    assert_eq!(samples.sum("backend_error_count_total"), 1.0);
    assert_eq!(samples.get("backend_error_count_total{class=\"server\",model=\"sim\",provider=\"a\"}"), 1.0);
    assert_eq!(samples.sum("circuit_breaker_transitions_total"), 1.0);
    assert_eq!(samples.get("circuit_breaker_transitions_total{model=\"sim\",provider=\"a\",to=\"open\"}"), 1.0);
    assert_eq!(samples.get("berry_retries_total{model=\"pool\",reason=\"server\"}"), 1.0);
    assert!(sample("smart_ai_confidence_score", "a") < sample("smart_ai_confidence_score", "b"));

    // Clients saw six chats; the request for the metrics is in flight.
    let chats = "method=\"POST\",path=\"/v1/chat/completions\"";
    assert_eq!(samples.get(&format!("http_requests_total{{{chats},status=\"200\"}}")), 5.0);
    assert_eq!(samples.get(&format!("http_requests_total{{{chats},status=\"400\"}}")), 1.0);
    assert_eq!(samples.get(&format!("http_request_duration_seconds_count{{{chats}}}")), 6.0);
    assert_eq!(samples.get("berry_gateway_overhead_seconds_count"), 6.0);
    assert_eq!(samples.get("http_requests_in_flight"), 1.0);

    // The status page shows the same values.
    let page = status(&gateway, "/metrics").await;
    for (provider, name) in [(0, "a"), (1, "b")] {
        let shown = &page["providers"][name];
        assert_eq!(shown["total_requests"], gateway.calls(provider));
        assert_eq!(shown["models"]["sim"]["requests"].as_f64().unwrap(), sample("backend_request_count_total", name));
    }
    assert_eq!(
        page["load_balancer"]["total_selections"].as_f64().unwrap(),
        samples.sum("load_balance_selections_total")
    );
}

#[tokio::test]
async fn token_metrics_match_the_clients() {
    let gateway = builder().provider("a").start().await;
    let (mut input, mut output) = (0.0, 0.0);
    for _ in 0..3 {
        let usage = gateway.plain().await.json()["usage"].clone();
        input += usage["prompt_tokens"].as_f64().unwrap();
        output += usage["completion_tokens"].as_f64().unwrap();
    }
    // The gateway requests the usage of a stream even when the client does not.
    assert!(gateway.stream().await.is_good_chat());
    let samples = Samples::fetch(&gateway).await;
    let kind = |kind: &str| samples.get(&format!("berry_tokens_total{{kind=\"{kind}\",model=\"sim\",provider=\"a\"}}"));
    assert_eq!((kind("input"), kind("output")), (input / 3.0 * 4.0, output / 3.0 * 4.0));
}

#[tokio::test]
async fn stream_is_counted_once_at_its_end() {
    let gateway = builder().provider("a").start().await;
    gateway.providers[0].set(Fault::StallAfter(2));
    let chat = Ask::chat("pool", true);
    let mut connection = gateway.connect().await;
    connection.send(&chat.bytes()).await.unwrap();
    let attempts = "backend_request_count_total{model=\"sim\",provider=\"a\"}";
    until("the stream is in flight", async || Samples::fetch(&gateway).await.sum("backend_in_flight") == 1.0).await;
    let samples = Samples::fetch(&gateway).await;
    assert_eq!((samples.get(attempts), samples.sum("http_requests_total{method=\"POST\"")), (0.0, 0.0));
    assert_eq!(samples.get("http_requests_in_flight"), 2.0);
    drop(connection);
    let cancelled = "berry_client_cancelled_total{model=\"pool\"}";
    until("the cancelled request is counted", async || Samples::fetch(&gateway).await.get(cancelled) == 1.0).await;
    let samples = Samples::fetch(&gateway).await;
    assert_eq!((samples.get(attempts), samples.sum("backend_error_count_total")), (1.0, 0.0));
    assert_eq!(samples.sum("http_requests_total{method=\"POST\""), 1.0);

    // A client that disconnects before the response head is counted too.
    gateway.providers[0].set(Fault::Silent);
    let mut connection = gateway.connect().await;
    connection.send(&chat.bytes()).await.unwrap();
    soon(gateway.providers[0].wait_for(2)).await;
    drop(connection);
    until("the cancelled request is counted", async || Samples::fetch(&gateway).await.get(cancelled) == 2.0).await;
    let closed = "http_requests_total{method=\"POST\",path=\"/v1/chat/completions\",status=\"499\"}";
    assert_eq!(Samples::fetch(&gateway).await.get(closed), 1.0);
}

#[tokio::test]
async fn overhead_excludes_upstream_time() {
    let gateway = builder().provider("a").provider("b").backend("priority = 1").strategy("failover").start().await;
    let late = Duration::from_secs(2);
    gateway.providers[0].set(Fault::Status(500));
    gateway.providers[1].script([Fault::LateFirstToken(late).once(), Fault::LateHead(late).once()]);
    assert!(gateway.stream().await.is_good_chat());
    assert_eq!(gateway.plain().await.status, 200);
    let samples = Samples::fetch(&gateway).await;
    assert_eq!(samples.get("berry_gateway_overhead_seconds_count"), 2.0);
    let all = samples.sum("http_request_duration_seconds_sum{method=\"POST\"");
    assert!(all >= 4.0, "{all}");
    // On a busy machine the overhead may be long too, but the delays of the upstreams are no part of it.
    let own = samples.get("berry_gateway_overhead_seconds_sum");
    assert!(own > 0.0 && all - own >= 3.9, "{own} of {all}");
}

#[tokio::test]
async fn rate_limited_requests_are_counted() {
    let gateway = builder().provider("a").user("[users.alice.rate_limit]\nrequests_per_day = 2").start().await;
    for status in [200, 200, 429, 429] {
        assert_eq!(gateway.plain().await.status, status);
    }
    assert_eq!(Samples::fetch(&gateway).await.get("berry_rate_limited_total{reason=\"day\"}"), 2.0);
}

#[tokio::test]
async fn every_family_has_help_and_histograms_have_buckets() {
    let gateway = builder()
        .provider("a")
        .provider("b")
        .backend("priority = 1")
        .user("[users.alice.rate_limit]\nrequests_per_day = 2")
        .strategy("failover")
        .start()
        .await;
    gateway.providers[0].set(Fault::Status(500));
    assert!(gateway.stream().await.is_good_chat());
    // One cancelled request, and one over the rate limit.
    gateway.providers[1].set(Fault::Silent);
    let mut connection = gateway.connect().await;
    connection.send(&Ask::chat("pool", true).bytes()).await.unwrap();
    soon(gateway.providers[1].wait_for(2)).await;
    drop(connection);
    assert_eq!(gateway.plain().await.status, 429);
    until("the cancelled request is counted", async || {
        Samples::fetch(&gateway).await.sum("berry_client_cancelled_total") == 1.0
    })
    .await;
    let text = gateway.ask(&Ask::get("/prometheus")).await.text().to_owned();
    let mut types: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    types.sort_unstable();
    let mut families = FAMILIES;
    families.sort_unstable();
    assert_eq!(types, families, "each family appears once");
    for (name, kind) in FAMILIES {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        let (smallest, largest) = match name {
            "berry_gateway_overhead_seconds" => ("0.00005", "5"),
            "backend_time_per_output_token_seconds" => ("0.001", "2.5"),
            _ => ("0.005", "120"),
        };
        if kind == "histogram" {
            for bound in [smallest, largest, "+Inf"] {
                let bucket = |line: &str| {
                    line.starts_with(&format!("{name}_bucket")) && line.contains(&format!("le=\"{bound}\""))
                };
                assert!(text.lines().any(bucket), "{name} {bound}");
            }
        }
    }
    for secret in [ADMIN, berry_tests::TOKEN, gateway.providers[0].key()] {
        assert!(!text.contains(secret));
    }
}

#[tokio::test]
async fn metrics_need_an_admin_without_public_status() {
    let gateway = builder().provider("a").settings("public_status = false").start().await;
    let ask = Ask::get("/prometheus");
    assert_eq!(gateway.ask(&ask.clone().without("authorization")).await.status, 401);
    assert_eq!(gateway.ask(&ask).await.status, 403);
    assert_eq!(gateway.ask(&ask.token(ADMIN)).await.status, 200);
    let open = Gateway::single().await;
    assert_eq!(open.ask(&Ask::get("/prometheus").without("authorization")).await.status, 200);
}

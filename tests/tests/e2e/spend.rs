//! Limits of tokens and cost, of users, teams and models.

use berry_simulated::{Behavior, Config, Dialect, Fault};
use berry_tests::{Ask, Gateway, Reply};
use serde_json::json;

/// Less than a token refills in ten seconds.
const LIMIT: u64 = 8_000;

const BOB: &str = "token-of-bob-0123456789ab";

fn chat(model: &str, stream: bool, token: &str) -> Ask {
    let mut body = json!({ "model": model, "max_tokens": 100, "messages": [{ "role": "user", "content": "hello" }] });
    if stream {
        body["stream"] = json!(true);
        body["stream_options"] = json!({ "include_usage": true });
    }
    Ask::post("/v1/chat/completions", body.to_string()).token(token)
}

fn alice(stream: bool) -> Ask {
    chat("pool", stream, berry_tests::TOKEN)
}

fn remaining(reply: &Reply) -> u64 {
    reply.header("x-ratelimit-remaining-tokens").parse().unwrap_or_else(|_| panic!("no header in {reply:?}"))
}

fn used(reply: &Reply) -> u64 {
    let usage = reply.json()["usage"].clone();
    usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap()
}

#[tokio::test]
async fn tokens_are_settled_to_what_the_provider_counted() {
    let limits = format!("[users.alice.limits]\ntokens_per_day = {LIMIT}");
    let gateway = Gateway::builder().provider("a").settings("estimate = \"bound\"").user(&limits).start().await;
    let first = gateway.ask(&alice(false)).await;
    assert!(first.is_good_chat());
    assert_eq!(first.header("x-ratelimit-limit-tokens"), LIMIT.to_string());
    let second = gateway.ask(&alice(false)).await;
    // The same reservation, less what was used.
    let spent = remaining(&first) - remaining(&second);
    assert!(spent.abs_diff(used(&first)) <= 1, "{spent}");
}

#[tokio::test]
async fn every_way_in_which_a_response_ends_is_settled() {
    let limits = format!("[users.alice.limits]\ntokens_per_day = {LIMIT}\nmax_concurrent_requests = 1");
    let settings = "estimate = \"bound\"\nmax_retries = 0\nstream_idle_timeout_seconds = 1\n\
                    circuit_breaker_failure_threshold = 1000\nplain_timeout_seconds = 1\nrequest_timeout_seconds = 1";
    for dialect in [Dialect::OpenAi, Dialect::Claude, Dialect::Gemini] {
        let provider = Config { tokens: Some(6), dialect, ..Config::named("a") };
        let backend_type = format!("backend_type = \"{}\"", dialect.backend_type());
        let gateway = Gateway::builder().provider_as(provider).with(&backend_type).settings(settings).user(&limits);
        let gateway = gateway.start().await;
        let mut before = gateway.ask(&alice(false)).await;
        assert!(before.is_good_chat(), "{dialect:?}: {before:?}");
        let whole = i64::try_from(used(&before)).unwrap();
        let faults = [
            (Fault::Status(500), 0..=0_i64),
            // The client may send the request again over another connection.
            (Fault::Reset, 0..=whole),
            (Fault::Html, 0..=0),
            (Fault::ErrorFirst, 0..=whole),
            (Fault::CutAfter(3), 0..=whole + 200),
            (Fault::ResetAfter(2), 0..=whole + 200),
            (Fault::ErrorAfter(2), 0..=whole + 200),
            (Fault::StallAfter(2), 0..=whole + 200),
            (Fault::Crlf, whole..=whole),
            (Fault::Split(3), whole..=whole),
            (Fault::Pings, whole..=whole),
        ];
        for stream in [false, true] {
            for (fault, expected) in &faults {
                let behavior: Behavior = fault.clone().times(1);
                gateway.providers[0].set(behavior);
                // The place of a request that has ended is free: none of these is refused.
                let faulty = gateway.ask(&alice(stream)).await;
                assert_ne!(faulty.status, 429, "{dialect:?} {fault:?}: {faulty:?}");
                let after = gateway.ask(&alice(false)).await;
                assert!(after.is_good_chat(), "{dialect:?} {fault:?}: {after:?}");
                let spent = remaining(&before) as i64 - remaining(&after) as i64 - whole;
                // A token may have refilled meanwhile.
                let is_expected = spent >= expected.start() - 1 && spent <= expected.end() + 1;
                assert!(is_expected, "{dialect:?} {stream} {fault:?}: {spent} of {expected:?}");
                before = after;
            }
        }
    }
}

#[tokio::test]
async fn a_team_and_its_parents_count_all_members() {
    let tables = format!(
        "[users.bob]\ntoken = \"{BOB}\"\nteam = \"part\"\n[teams.part]\nparent = \"whole\"\n\
         [teams.whole]\n[teams.whole.limits]\nrequests_per_day = 3"
    );
    let gateway = Gateway::builder().provider("a").user("team = \"whole\"").tables(&tables).start().await;
    for token in [berry_tests::TOKEN, BOB, BOB] {
        assert!(gateway.ask(&chat("pool", false, token)).await.is_good_chat());
    }
    for token in [berry_tests::TOKEN, BOB] {
        let reply = gateway.ask(&chat("pool", false, token)).await;
        assert_eq!(reply.verdict(), (429, "requests".into(), Some("rate_limit_exceeded".into())));
    }
    let metrics = gateway.ask(&Ask::get("/prometheus")).await;
    assert!(metrics.text().contains("berry_rate_limited_total{reason=\"day\"} 2"), "{}", metrics.text());
}

#[tokio::test]
async fn a_team_narrows_models_and_can_be_disabled() {
    let tables = "[teams.t]\nmodels = [\"other\"]\n[teams.off]\nenabled = false\n\
                  [users.bob]\ntoken = \"token-of-bob-0123456789ab\"\nteam = \"off\"";
    let gateway = Gateway::builder().provider("a").user("team = \"t\"").tables(tables).start().await;
    assert_eq!(gateway.ask(&alice(false)).await.status, 403);
    assert_eq!(gateway.ask(&chat("pool", false, BOB)).await.status, 401);
}

#[tokio::test]
async fn a_limit_of_cost_is_a_budget() {
    let tables = "[users.alice.limits.models.pool]\ncost_per_month = \"0.001\"\n\
                  [prices.pool]\ninput = \"1\"\noutput = \"2\"";
    let gateway = Gateway::builder().provider("a").tables(tables).start().await;
    let too_long = Ask::post("/v1/chat/completions", r#"{"model":"pool","max_tokens":5000,"messages":[]}"#);
    let reply = gateway.ask(&too_long).await;
    let told = (400, "invalid_request_error".into(), Some("request_exceeds_limit".into()));
    assert_eq!(reply.verdict(), told);
    let mut cost = 0;
    let refused = loop {
        let reply = gateway.ask(&alice(false)).await;
        if reply.status != 200 {
            break reply;
        }
        let usage = reply.json()["usage"].clone();
        cost += usage["prompt_tokens"].as_u64().unwrap() + 2 * usage["completion_tokens"].as_u64().unwrap();
        assert!(cost <= 1_000, "millionths of a dollar");
    };
    assert_eq!(refused.verdict(), (429, "insufficient_quota".into(), Some("insufficient_quota".into())));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!(wait <= 31 * 86_400, "the end of the month");
    assert!(cost > 500, "{cost}");
}

#[tokio::test]
async fn a_limit_of_a_model_holds_for_its_id_too() {
    let limits = "[users.alice.limits.models.public]\nrequests_per_day = 2";
    let model = "[models.by_id]\nname = \"public\"\n[[models.by_id.backends]]\nprovider = \"a\"\nmodel = \"sim\"";
    let gateway = Gateway::builder().provider("a").tables(&format!("{limits}\n{model}")).start().await;
    for (name, status) in [("public", 200), ("by_id", 200), ("by_id", 429), ("public", 429), ("pool", 200)] {
        assert_eq!(gateway.ask(&chat(name, false, berry_tests::TOKEN)).await.status, status, "{name}");
    }
}

#[tokio::test]
async fn messages_get_the_headers_of_their_api() {
    let limits = format!("[users.alice.limits]\ntokens_per_day = {LIMIT}");
    let gateway = Gateway::builder().provider("a").user(&limits).start().await;
    let body = r#"{"model":"pool","max_tokens":100,"messages":[{"role":"user","content":"hello"}]}"#;
    let reply = gateway.ask(&Ask::post("/v1/messages", body)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("anthropic-ratelimit-tokens-limit"), LIMIT.to_string());
    let reset = reply.header("anthropic-ratelimit-tokens-reset");
    assert!(reset.len() == 20 && reset.ends_with('Z'), "{reset}");
    assert!(!reply.headers.contains_key("x-ratelimit-limit-tokens"));
}

#[tokio::test]
async fn a_dearer_fallback_is_refused_where_it_does_not_fit() {
    let tables = "[users.alice.limits]\ncost_per_month = \"0.001\"\n[prices.pool]\ninput = \"1\"\noutput = \"1\"\n\
                  [models.dear]\nname = \"dear\"\n[[models.dear.backends]]\nprovider = \"b\"\nmodel = \"sim\"\n\
                  price = { input = \"1000\", output = \"1000\" }";
    let gateway = Gateway::builder().provider("a").provider("b").backend("enabled = false");
    let gateway = gateway.pool("fallbacks = [\"dear\"]").settings("max_retries = 0").tables(tables).start().await;
    assert!(gateway.ask(&alice(false)).await.is_good_chat());
    gateway.providers[0].set(Fault::Status(500));
    let reply = gateway.ask(&alice(false)).await;
    assert_eq!(reply.status, 400, "the fallback costs more than the whole limit: {reply:?}");
    assert_eq!(gateway.calls(1), 0);
}

#[tokio::test]
async fn limits_that_could_not_hold_are_refused_at_run_time() {
    let folder = tempfile::tempdir().unwrap();
    let tables = format!(
        "[database]\nurl = \"sqlite://{}\"\n[prices.priced]\ninput = \"1\"\noutput = \"1\"\n\
         [models.priced]\nname = \"priced\"\n[[models.priced.backends]]\nprovider = \"a\"\nmodel = \"sim\"",
        folder.path().join("berry.db").display()
    );
    let gateway = Gateway::builder().provider("a").user("tags = [\"admin\"]").tables(&tables).start().await;
    let create = async |path: &str, body: serde_json::Value| {
        let reply = gateway.ask(&Ask::post(path, body.to_string())).await;
        (reply.status.as_u16(), reply.json())
    };
    let budget = json!({ "cost_per_day": "5.00" });
    for (path, body, expected) in [
        ("/admin/users", json!({ "id": "ann", "limits": budget }), "model `pool` has no price at backend `a:sim`"),
        ("/admin/users", json!({ "id": "ann", "models": ["pool"], "limits": budget }), "model `pool` has no price"),
        ("/admin/teams", json!({ "id": "web", "limits": budget }), "model `pool` has no price"),
        ("/admin/keys", json!({ "user": "alice", "limits": { "models": { "pool": budget } } }), "limits.models.pool: "),
        (
            "/admin/keys",
            json!({ "user": "alice", "limits": { "models": { "pol": { "requests_per_day": 5 } } } }),
            "no model has this name; did you mean `pool`?",
        ),
    ] {
        let (status, reply) = create(path, body.clone()).await;
        assert_eq!((status, &reply["error"]["param"]), (400, &json!("limits")), "{body}: {reply}");
        assert!(reply["error"]["message"].as_str().unwrap().contains(expected), "{body}: {reply}");
    }
    // A model that the key, its user or its team may not call needs no price.
    let team = json!({ "id": "web", "models": ["priced"] });
    assert_eq!(create("/admin/teams", team).await.0, 201);
    assert_eq!(create("/admin/users", json!({ "id": "ann", "team": "web", "limits": budget })).await.0, 201);
    let (status, key) = create("/admin/keys", json!({ "user": "ann", "limits": budget })).await;
    assert_eq!(status, 201, "{key}");
    let path = format!("/admin/keys/{}", key["id"].as_str().unwrap());
    let change = Ask::new(http::Method::PATCH, &path).token(berry_tests::TOKEN);
    let change = change.body(json!({ "enabled": false }).to_string());
    assert_eq!(gateway.ask(&change).await.status, 200);
    // A page has a size.
    for (limit, status) in [(0, 400), (1, 200), (1000, 200), (1001, 400)] {
        assert_eq!(gateway.ask(&Ask::get(&format!("/admin/keys?limit={limit}"))).await.status, status, "{limit}");
    }
}

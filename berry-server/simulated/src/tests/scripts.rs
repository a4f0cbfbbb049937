//! The selection of requests with faults.

use super::{chat, post, soon, start};
use crate::{Behavior, Config, Fault, Provider, Scope};

#[tokio::test]
async fn once_applies_to_one_request_with_retry_after() {
    let provider = start().await;
    provider.set(Fault::Status(429).retry_after(2).once());
    let send = async || {
        let body = chat("sim", false);
        soon(post(&provider, "/chat/completions", &body).send()).await.unwrap()
    };
    let first = send().await;
    assert_eq!(first.status(), 429);
    assert_eq!(first.headers()["retry-after"], "2");
    assert_eq!(send().await.status(), 200);
}

#[tokio::test]
async fn percentages_are_spread_evenly() {
    let provider = start().await;
    provider.set(Fault::Status(500).percent(25));
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let body = chat("sim", false);
        let response = soon(post(&provider, "/chat/completions", &body).send()).await;
        statuses.push(response.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 500, 200, 200, 200, 500]);
}

#[tokio::test]
async fn percentages_in_model_names_apply() {
    let provider = start().await;
    let mut failed = 0;
    for _ in 0..10 {
        let body = chat("sim-e500-p30", false);
        let response = soon(post(&provider, "/chat/completions", &body).send()).await;
        failed += u32::from(response.unwrap().status() == 500);
    }
    assert_eq!(failed, 3);
}

#[tokio::test]
async fn script_precedes_model_name_precedes_default() {
    let config = Config { behavior: Fault::Status(500).into(), ..Config::default() };
    let provider = Provider::start(config).await.unwrap();
    let status = async |model: &str| {
        let body = chat(model, false);
        let response = soon(post(&provider, "/chat/completions", &body).send()).await;
        response.unwrap().status().as_u16()
    };
    assert_eq!(status("sim").await, 500);
    assert_eq!(status("sim-e503").await, 503);
    provider.script([Behavior::healthy().once(), Fault::Status(502).into()]);
    assert_eq!(status("sim-e503").await, 200);
    assert_eq!(status("sim-e503").await, 502);
    provider.heal();
    assert_eq!(status("sim-e503").await, 503);
}

#[tokio::test]
async fn list_requests_have_separate_faults() {
    let provider = start().await;
    provider.set(Fault::Status(404).on(Scope::Lists));
    let list = reqwest::Client::new().get(format!("{}/models", provider.base_url()));
    let list = soon(list.bearer_auth(provider.key()).send()).await.unwrap();
    assert_eq!(list.status(), 404);
    let body = chat("sim", false);
    let answer = soon(post(&provider, "/chat/completions", &body).send()).await.unwrap();
    assert_eq!(answer.status(), 200);
}

//! The `Provider` handle: recorded requests, going down and up, and names of behaviours.

use super::{chat, end, post, read, soon, start};
use crate::{AFTER_FINISH, Behavior, Config, End, Fault, Provider, Refusal, Retention, demo_providers};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn records_complete_requests() {
    let provider = start().await;
    let before = Instant::now();
    let body = chat("sim", false);
    let request = post(&provider, "/chat/completions?a=b", &body).header("x-test", "yes");
    soon(request.send()).await.unwrap();
    soon(provider.wait_for(1)).await;
    soon(provider.wait_idle()).await;
    let calls = provider.calls();
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(call.query.as_deref(), Some("a=b"));
    assert_eq!(call.header("x-test"), "yes");
    assert_eq!(call.header("authorization"), "Bearer sk-simulated-one");
    assert_eq!(call.json(), body);
    let ended = call.ended.unwrap();
    assert!(before <= call.at && call.at <= ended.at);
    assert_eq!((ended.how, ended.status), (End::Complete, Some(200)));
    let debug = format!("{call:?} {provider:?} {:?}", Config::named("one"));
    assert!(!debug.contains("sk-"), "{debug}");
}

#[tokio::test]
async fn disconnect_during_a_stream_is_noticed_at_once() {
    let provider = start().await;
    provider.set(Behavior::healthy().per_token(Duration::from_millis(20)).tokens(10_000));
    let body = chat("sim", true);
    let response = soon(post(&provider, "/chat/completions", &body).send()).await.unwrap();
    let mut stream = response.bytes_stream();
    soon(stream.next()).await.unwrap().unwrap();
    assert_eq!(provider.counts().in_flight, 1);
    let left = Instant::now();
    drop(stream);
    assert_eq!(end(&provider).await, End::PeerClosed);
    let noticed = provider.seen()[0].ended.unwrap().at;
    assert!(noticed >= left);
    soon(provider.wait_until(|counts| counts.open_connections == 0)).await;
}

#[tokio::test]
async fn recorded_requests_are_bounded() {
    let send = async |keep| {
        let config = Config { keep, ..Config::default() };
        let provider = Provider::start(config).await.unwrap();
        for _ in 0..5 {
            let body = chat("sim", false);
            soon(post(&provider, "/chat/completions", &body).send()).await.unwrap();
        }
        soon(provider.wait_idle()).await;
        assert_eq!(provider.counts().calls, 5);
        provider.seen()
    };
    let of_count = send(Retention::Requests { count: 2, bytes: 1 << 20 }).await;
    assert_eq!(of_count.iter().map(|seen| seen.number).collect::<Vec<_>>(), [3, 4]);
    assert!(of_count.iter().all(|seen| seen.end() == Some(End::Complete)));
    let body = chat("sim", false).to_string().len();
    let of_bytes = send(Retention::Requests { count: 100, bytes: body * 3 }).await;
    assert_eq!(of_bytes.len(), 3);
    assert!(send(Retention::Counts).await.is_empty());
}

#[tokio::test]
async fn down_resets_and_refuses_and_up_serves_again() {
    let provider = start().await;
    let addr = provider.addr();
    provider.set(Fault::StallAfter(3).once());
    let body = chat("sim", true);
    let response = soon(post(&provider, "/chat/completions", &body).send()).await.unwrap();
    soon(provider.wait_for(1)).await;
    for _ in 0..2 {
        soon(provider.down()).await.unwrap();
        assert_eq!(provider.counts().open_connections, 0);
        assert!(tokio::net::TcpStream::connect(addr).await.is_err());
        soon(provider.down()).await.unwrap();
        soon(provider.up()).await.unwrap();
        soon(provider.up()).await.unwrap();
        let again = soon(post(&provider, "/chat/completions", &body).send()).await.unwrap();
        assert!(soon(read(again)).await.done());
    }
    assert!(!soon(read(response)).await.whole);
    soon(provider.wait_idle()).await;
    let ends: Vec<_> = provider.seen().iter().map(|seen| seen.end().unwrap()).collect();
    assert_eq!(ends, [End::Stopped, End::Complete, End::Complete]);
}

#[tokio::test]
async fn dropping_the_handle_stops_the_provider() {
    let provider = start().await;
    let addr = provider.addr();
    provider.set(Fault::StallAfter(3));
    let body = chat("sim", true);
    let response = soon(post(&provider, "/chat/completions", &body).send()).await.unwrap();
    drop(provider);
    assert!(!soon(read(response)).await.whole);
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn long_delays_pass_at_once_on_a_paused_clock() {
    let provider = start().await;
    let begin = Instant::now();
    let response = post(&provider, "/chat/completions", &chat("sim-late3600000-d60000-t3", true));
    let response = response.send().await.unwrap();
    assert!(read(response).await.done());
    let hour = Duration::from_secs(3600);
    let passed = begin.elapsed();
    assert!(passed >= hour + Duration::from_secs(120) && passed < hour * 2, "{passed:?}");
}

#[tokio::test]
async fn concurrent_requests_are_all_counted() {
    let provider = start().await;
    let client = reqwest::Client::new();
    let send = async |number: usize| {
        let model = ["sim", "sim-e500", "sim-cut3"][number % 3];
        let request = client.post(format!("{}/chat/completions", provider.base_url()));
        let request = request.bearer_auth(provider.key()).json(&chat(model, true));
        read(request.send().await.unwrap()).await
    };
    let sent = futures_util::future::join_all((0..90).map(send));
    soon(sent).await;
    soon(provider.wait_idle()).await;
    let count = |how| provider.seen().iter().filter(|seen| seen.end() == Some(how)).count();
    assert_eq!((count(End::Complete), count(End::Cut)), (60, 30));
    assert_eq!(provider.counts().calls, 90);
}

#[test]
fn model_names_and_behaviors_convert_both_ways() {
    let behaviors = [
        Fault::Status(503).retry_after(2).percent(30),
        Fault::CutAfter(40).and(Fault::Crlf).and(Fault::Split(3)),
        Fault::CutAfter(AFTER_FINISH).into(),
        Fault::ResetAfter(0).into(),
        Fault::StallAfter(20).into(),
        Fault::ErrorFirst.into(),
        Fault::ErrorAfter(0).into(),
        Fault::Huge(64 * 1024).into(),
        Fault::Drip(Duration::from_secs(1)).into(),
        Fault::LateFirstToken(Duration::from_millis(500)).into(),
        Fault::NoDone.and(Fault::NoFinish),
        Behavior::healthy().tokens(60).per_token(Duration::from_millis(5)).tools(1).reasoning(),
    ];
    for behavior in behaviors {
        let name = behavior.model_name("sim").unwrap();
        let tokens = name.strip_prefix("sim-").unwrap();
        assert_eq!(Behavior::from_tokens(tokens), Some(behavior), "{name}");
    }
    let own = Refusal::new(400, "x", "y");
    assert_eq!(Behavior::from(Fault::Refuse(own)).model_name("sim"), None);
    assert_eq!(Fault::Reset.once().model_name("sim"), None);
    assert_eq!(Behavior::healthy().model_name("sim").as_deref(), Some("sim"));
    for wrong in ["", "e200", "e", "p101", "cut", "cut-5", "reset3", "t9999999", "e99999999999999999999"] {
        assert_eq!(Behavior::from_tokens(wrong), None, "{wrong}");
    }
}

#[tokio::test]
async fn demo_has_a_provider_that_fails_a_third_of_requests() {
    let demo = soon(demo_providers()).await.unwrap();
    let names: Vec<_> = demo.iter().map(|one| one.name).collect();
    assert_eq!(names, ["swift", "steady", "flaky", "foreign"]);
    let flaky = &demo[2];
    let mut failed = 0;
    for _ in 0..12 {
        let model = format!("{}-t0", flaky.models[0]);
        let request = post(&flaky.provider, "/embeddings", &serde_json::json!({"model": model}));
        failed += u32::from(soon(request.send()).await.unwrap().status() == 503);
    }
    assert_eq!(failed, 0, "the behaviour in the model name takes precedence");
    let client = reqwest::Client::new();
    let url = format!("{}/chat/completions", flaky.base_url);
    for _ in 0..12 {
        let request = client.post(&url).bearer_auth(&flaky.key);
        let response = request.json(&chat(&flaky.models[1], true)).send();
        failed += u32::from(soon(response).await.unwrap().status() == 503);
    }
    assert_eq!(failed, 4);
    assert!(flaky.provider.seen().is_empty());
}

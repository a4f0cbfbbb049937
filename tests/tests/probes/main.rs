//! Health probes of a real server: a dead backend is removed before a user's request reaches it, and
//! returns soon after its recovery.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use berry_server::{Options, Server, config};
use berry_simulated::{Config, Dialect, Fault, Provider, Scope};
use serde_json::Value;
use tokio::time::{sleep, timeout};

const TOKEN: &str = "a-token-of-the-tests";
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a gateway that balances the providers by round robin. Each provider comes with extra lines
/// for its backend.
async fn gateway(providers: &[(&Provider, &str)], settings: &str) -> Server {
    gateway_to(Dialect::OpenAi, providers, settings).await
}

/// Starts such a gateway over providers of the given dialect.
async fn gateway_to(dialect: Dialect, providers: &[(&Provider, &str)], settings: &str) -> Server {
    let kind = dialect.backend_type();
    let mut file =
        format!("[settings]\nhealth_check_interval_seconds = 1\n{settings}\n[users.u]\ntoken = \"{TOKEN}\"\n");
    let mut model = String::from("[models.m]\nname = \"m\"\nstrategy = \"round_robin\"\n");
    for (i, (provider, extra)) in providers.iter().enumerate() {
        let (url, key) = (provider.base_url(), provider.key());
        file += &format!("[providers.p{i}]\nbase_url = \"{url}\"\napi_key = \"{key}\"\nmodels = [\"sim\"]\n");
        file += &format!("backend_type = \"{kind}\"\n");
        file += "headers = { x-team = \"berries\" }\n";
        model += &format!("[[models.m.backends]]\nprovider = \"p{i}\"\nmodel = \"sim\"\n{extra}\n");
    }
    let loaded = config::parse(&(file + &model), &|_| None).unwrap();
    Server::start(loaded, Options::loopback()).await.unwrap()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn get(server: &Server, path: &str) -> (u16, String) {
    let response = client().get(format!("http://{}{path}", server.addr())).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn available(server: &Server) -> u64 {
    let health: Value = serde_json::from_str(&get(server, "/health").await.1).unwrap();
    health["backends"]["available"].as_u64().unwrap()
}

/// Waits until the given number of backends is available.
async fn until_available(server: &Server, backends: u64) {
    let reached = async {
        while available(server).await != backends {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("the health changes");
}

async fn until_ready(server: &Server) {
    let ready = async {
        while get(server, "/readyz").await.0 != 200 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ready).await.expect("the first round ends");
}

async fn chat(server: &Server) -> u16 {
    let request = client()
        .post(format!("http://{}/v1/chat/completions", server.addr()))
        .bearer_auth(TOKEN)
        .body(r#"{"model":"m","messages":[{"role":"user","content":"a question"}]}"#);
    request.send().await.unwrap().status().as_u16()
}

/// Returns the number of requests from users that a provider received, without probes.
fn user_requests(provider: &Provider) -> usize {
    provider.calls().iter().filter(|call| call.json()["messages"][0]["content"] != "hi").count()
}

#[tokio::test]
async fn probes_remove_and_restore_backends_quickly() {
    let [steady, other] = [Config::named("steady"), Config::named("other")].map(Provider::start);
    let (steady, other) = (steady.await.unwrap(), other.await.unwrap());
    let server = gateway(&[(&steady, ""), (&other, "")], "").await;
    until_ready(&server).await;

    other.set(Fault::Status(500).on(Scope::Everything));
    until_available(&server, 1).await;
    for _ in 0..20 {
        assert_eq!(chat(&server).await, 200);
    }
    assert_eq!((user_requests(&steady), user_requests(&other)), (20, 0));

    other.heal();
    until_available(&server, 2).await;
    for _ in 0..10 {
        assert_eq!(chat(&server).await, 200);
    }
    assert_eq!(user_requests(&other), 5, "round robin");
    let probes = other.seen();
    assert!(probes.iter().all(|seen| seen.header("x-team") == "berries"));
    assert!(probes.iter().all(|seen| seen.header("authorization") == format!("Bearer {}", other.key())));
    server.shutdown().await;
}

/// The model lists of these providers keep working, so only a chat request detects the fault.
#[tokio::test]
async fn probes_use_the_dialect_of_the_provider() {
    for dialect in [Dialect::Claude, Dialect::Gemini] {
        let config = |name| Config { dialect, ..Config::named(name) };
        let (steady, other) = (Provider::start(config("steady")).await, Provider::start(config("other")).await);
        let (steady, other) = (steady.unwrap(), other.unwrap());
        let settings = "recovery_check_interval_seconds = 1";
        let server = gateway_to(dialect, &[(&steady, ""), (&other, "")], settings).await;
        until_ready(&server).await;
        other.set(Fault::Overloaded);
        for _ in 0..4 {
            assert_eq!(chat(&server).await, 200);
        }
        until_available(&server, 1).await;
        other.clear();
        other.heal();
        until_available(&server, 2).await;
        let probes = other.calls();
        assert!(!probes.is_empty(), "{dialect:?}");
        for probe in &probes {
            let path = if dialect == Dialect::Claude { "/v1/messages" } else { "/v1beta/models/sim:generateContent" };
            assert_eq!((&*probe.path, probe.header("x-team")), (path, "berries"));
            assert_eq!(probe.ended.as_ref().and_then(|ended| ended.status), Some(200), "{probe:?}");
        }
        server.shutdown().await;
    }
}

#[tokio::test]
async fn detects_a_closed_port() {
    let [steady, other] = [Config::named("steady"), Config::named("other")].map(Provider::start);
    let (steady, other) = (steady.await.unwrap(), other.await.unwrap());
    let server = gateway(&[(&steady, ""), (&other, "")], "").await;
    until_ready(&server).await;
    other.down().await.unwrap();
    until_available(&server, 1).await;
    other.up().await.unwrap();
    until_available(&server, 2).await;
    server.shutdown().await;
}

#[tokio::test]
async fn per_request_backends_are_never_probed() {
    let [steady, paid] = [Config::named("steady"), Config::named("paid")].map(Provider::start);
    let (steady, paid) = (steady.await.unwrap(), paid.await.unwrap());
    let server = gateway(&[(&steady, ""), (&paid, "billing_mode = \"per_request\"")], "").await;
    until_ready(&server).await;
    steady.wait_until(|counts| counts.requests >= 3).await;
    assert_eq!(paid.counts().requests, 0);
    server.shutdown().await;
}

#[tokio::test]
async fn serves_during_the_first_round_of_probes() {
    let [steady, hung] = [Config::named("steady"), Config::named("hung")].map(Provider::start);
    let (steady, hung) = (steady.await.unwrap(), hung.await.unwrap());
    hung.set(Fault::Silent.on(Scope::Lists));
    let server = gateway(&[(&steady, ""), (&hung, "")], "health_check_timeout_seconds = 10").await;
    assert_eq!(get(&server, "/readyz").await.0, 503);
    assert_eq!(chat(&server).await, 200);
    assert_eq!(get(&server, "/livez").await.0, 200);
    until_ready(&server).await;
    assert_eq!(available(&server).await, 1);
    server.shutdown().await;
}

#[tokio::test]
async fn probes_stop_when_the_server_shuts_down() {
    let provider = Provider::start(Config::named("p")).await.unwrap();
    let server = gateway(&[(&provider, "")], "").await;
    until_ready(&server).await;
    server.shutdown().await;
    let seen = provider.counts().requests;
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(provider.counts().requests, seen);
}

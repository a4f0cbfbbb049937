//! A gateway over simulated providers, and requests to it.

use std::{fmt::Write, time::Duration};

use berry_server::{Options, Server, config};
use berry_simulated::{Config, Provider};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

pub(crate) const ADMIN: &str = "token-of-the-admin";
pub(crate) const USER: &str = "token-of-some-user";
pub(crate) const VIP: &str = "token-of-vip-users";

/// What is waited for at the very most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Gateway {
    pub(crate) providers: Vec<Provider>,
    server: Server,
    client: Client,
}

impl Gateway {
    /// Starts as many simulated providers as `names` says, all with the model `sim`, and a gateway
    /// over them. `models` is the rest of the configuration; see [`model`].
    pub(crate) async fn start(settings: &str, names: &[&str], models: &str) -> Self {
        let mut providers = Vec::new();
        // Nothing but the tests' own requests reaches a provider, and none is repeated.
        let mut file = format!("[settings]\nmax_retries = 0\nhealth_check_interval_seconds = 3600\n{settings}\n");
        let users = [("admin", ADMIN, "tags = [\"admin\"]"), ("some", USER, ""), ("vip", VIP, "tags = [\"vip\"]")];
        for (id, token, more) in users {
            let _ = writeln!(file, "[users.{id}]\ntoken = \"{token}\"\n{more}");
        }
        for name in names {
            let provider = Provider::start(Config::named(name)).await.unwrap();
            let (url, key) = (provider.base_url(), provider.key());
            let _ =
                writeln!(file, "[providers.{name}]\nbase_url = \"{url}\"\napi_key = \"{key}\"\nmodels = [\"sim\"]\n");
            providers.push(provider);
        }
        let loaded = config::parse(&(file + models), &|_| None).unwrap();
        let server = Server::start(loaded, Options::loopback()).await.unwrap();
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { providers, server, client }
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Response {
        let mut request = self.client.get(format!("http://{}{path}", self.server.addr()));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    }

    /// The JSON of a status endpoint, as an admin sees it.
    pub(crate) async fn status(&self, path: &str) -> Value {
        let response = self.get(path, Some(ADMIN)).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["content-type"], "application/json", "{path}");
        response.json().await.unwrap()
    }

    /// The error of a request that is refused with this status; all four keys are there.
    pub(crate) async fn refusal(&self, path: &str, token: Option<&str>, status: u16) -> Value {
        let response = self.get(path, token).await;
        assert_eq!(response.status(), status, "{path}");
        let answer: Value = response.json().await.unwrap();
        let error = answer["error"].clone();
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "{path}: {key} is missing in {answer}");
        }
        error
    }

    /// One plain chat, read to its end.
    pub(crate) async fn chat(&self, model: &str, token: &str) -> StatusCode {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hello!" }] });
        let url = format!("http://{}/v1/chat/completions", self.server.addr());
        let response = self.client.post(url).bearer_auth(token).json(&body).send().await.unwrap();
        let status = response.status();
        let _ = response.bytes().await.unwrap();
        status
    }

    /// How many requests for an answer the provider has counted.
    pub(crate) fn calls(&self, provider: usize) -> u64 {
        self.providers[provider].counts().calls
    }
}

/// A model's part of the configuration; each backend is a provider and further lines. None of them
/// is probed.
pub(crate) fn model(name: &str, strategy: &str, backends: &[(&str, &str)]) -> String {
    let mut text = format!("[models.{name}]\nname = \"{name}\"\nstrategy = \"{strategy}\"\n");
    for (provider, more) in backends {
        let _ = writeln!(
            text,
            "[[models.{name}.backends]]\nprovider = \"{provider}\"\nmodel = \"sim\"\nprobe = \"none\"\n{more}"
        );
    }
    text
}

/// Whether two numbers are the same but for rounding.
pub(crate) fn near(a: &Value, b: f64) -> bool {
    a.as_f64().is_some_and(|a| (a - b).abs() < 1e-9)
}

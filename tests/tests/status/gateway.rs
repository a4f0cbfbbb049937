//! A gateway over simulated providers, and requests to it.

use std::{fmt::Write, time::Duration};

use berry_server::{Options, Server, config};
use berry_simulated::{Config, Provider};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

pub(crate) const ADMIN: &str = "token-of-the-admin";
pub(crate) const USER: &str = "token-of-some-user";
pub(crate) const VIP: &str = "token-of-vip-users";

/// The longest wait for a condition.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Gateway {
    pub(crate) providers: Vec<Provider>,
    server: Server,
    client: Client,
}

impl Gateway {
    /// Starts a simulated provider with the model `sim` for each name, and a gateway over them.
    /// `models` is the rest of the configuration; see [`model`].
    pub(crate) async fn start(settings: &str, names: &[&str], models: &str) -> Self {
        let mut providers = Vec::new();
        // Only the requests of the test reach a provider, and the gateway does not retry them.
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

    /// Returns the JSON of a status endpoint for an admin.
    pub(crate) async fn status(&self, path: &str) -> Value {
        let response = self.get(path, Some(ADMIN)).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["content-type"], "application/json", "{path}");
        response.json().await.unwrap()
    }

    /// Returns the error of a request that fails with the given status. All four keys must be present.
    pub(crate) async fn refusal(&self, path: &str, token: Option<&str>, status: u16) -> Value {
        let response = self.get(path, token).await;
        assert_eq!(response.status(), status, "{path}");
        let body: Value = response.json().await.unwrap();
        let error = body["error"].clone();
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "{path}: {key} is missing in {body}");
        }
        error
    }

    /// Sends a chat request and reads the whole response.
    pub(crate) async fn chat(&self, model: &str, token: &str) -> StatusCode {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hello!" }] });
        let url = format!("http://{}/v1/chat/completions", self.server.addr());
        let response = self.client.post(url).bearer_auth(token).json(&body).send().await.unwrap();
        let status = response.status();
        let _ = response.bytes().await.unwrap();
        status
    }

    /// Returns the number of model requests that the provider received.
    pub(crate) fn calls(&self, provider: usize) -> u64 {
        self.providers[provider].counts().calls
    }
}

/// Returns the tables of a model. Each backend is a provider with extra lines. Probes are disabled.
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

/// Returns whether two numbers are equal up to rounding.
pub(crate) fn near(a: &Value, b: f64) -> bool {
    a.as_f64().is_some_and(|a| (a - b).abs() < 1e-9)
}

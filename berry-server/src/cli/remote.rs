//! The running server, as a client sees it.

use std::{error::Error, net::IpAddr, net::SocketAddr, time::Duration};

use http::{Method, StatusCode};
use jiff::Timestamp;
use reqwest::{Client, redirect::Policy};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::{Global, files, output::Fail, variable};
use crate::config::{Config, Credential};

/// How long the server may take: it answers all of this from memory.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub(super) struct Remote {
    base: Url,
    client: Client,
    /// The token, or why there is none.
    token: Result<SecretString, String>,
}

impl Remote {
    pub(super) fn new(global: &Global) -> Result<Self, Fail> {
        let address = match &global.url {
            Some(url) => url.clone(),
            None => url_of(variable("BIND_ADDRESS").as_deref().unwrap_or("0.0.0.0:3000")),
        };
        let base = Url::parse(&address).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base = base.ok_or_else(|| {
            Fail::new(format!("`{address}` is no address of a server; --url takes one like `http://127.0.0.1:3000`"))
        })?;
        let client = Client::builder().timeout(PATIENCE).redirect(Policy::none());
        let client = if base.host_str().is_some_and(is_loopback) { client.no_proxy() } else { client };
        let client = client.build().map_err(|error| Fail::new(error.to_string()))?;
        Ok(Self { base, client, token: token(global) })
    }

    /// What the server answers. What it refuses is a failure, with its own words.
    pub(super) async fn ask(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Fail> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.client.request(method, url).query(query);
        if let Ok(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let unreached = |error| Fail::new(format!("{} does not answer: {}", self.base, without_address(error)));
        let response = request.send().await.map_err(unreached)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreached)?;
        let body: Option<Value> = serde_json::from_slice(&body).ok();
        match (status.is_success(), body) {
            (true, Some(body)) => Ok(body),
            (true, None) => Err(Fail::new(format!("{} does not speak as a Berry server does", self.base))),
            (false, body) => Err(self.refused(status, body)),
        }
    }

    /// Whether the server is alive, whoever asks.
    pub(super) async fn lives(&self) -> Result<(), Fail> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("livez");
        }
        let unreached = |error| Fail::new(format!("{} does not answer: {}", self.base, without_address(error)));
        let status = self.client.get(url).send().await.map_err(unreached)?.status();
        if status.is_success() { Ok(()) } else { Err(self.refused(status, None)) }
    }

    fn refused(&self, status: StatusCode, body: Option<Value>) -> Fail {
        let words = body.as_ref().and_then(|body| body["error"]["message"].as_str());
        let mut message = format!("the server says {}: {}", status.as_u16(), words.unwrap_or("(without a reason)"));
        if let (StatusCode::UNAUTHORIZED, Err(why)) = (status, &self.token) {
            message = format!("{message}\nno token was sent, for {why}; --token or BERRY_TOKEN gives one");
        }
        Fail { json: body, ..Fail::new(message) }
    }
}

/// The token that was given, or that of the first admin in the file who may use it.
fn token(global: &Global) -> Result<SecretString, String> {
    if let Some(token) = &global.token {
        return Ok(token.clone());
    }
    let config = files::load(global).map_err(|fail| fail.message)?.config;
    of_an_admin(&config).cloned().ok_or_else(|| "the file holds no token of an enabled admin".to_owned())
}

fn of_an_admin(config: &Config) -> Option<&SecretString> {
    let now = Timestamp::now();
    let admins = config.users.values().filter(|user| user.enabled && user.is_admin());
    let current = admins.filter(|user| user.expires_at.is_none_or(|at| at > now));
    current.map(|user| &user.credential).find_map(Credential::token)
}

/// Where a server that is bound to this address can be asked on this machine.
fn url_of(bind: &str) -> String {
    match bind.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(address)) if address.ip().is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
        Ok(SocketAddr::V6(address)) if address.ip().is_unspecified() => format!("http://[::1]:{}", address.port()),
        _ => format!("http://{bind}"),
    }
}

/// Whether a host is this machine, where no proxy is needed.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What went wrong on the way, by its innermost cause.
pub(super) fn without_address(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_address_is_asked_where_it_can_be_reached() {
        for (bind, url) in [
            ("0.0.0.0:3000", "http://127.0.0.1:3000"),
            ("[::]:3000", "http://[::1]:3000"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("gateway:8080", "http://gateway:8080"),
        ] {
            assert_eq!(url_of(bind), url);
        }
    }

    #[test]
    fn the_first_admin_who_may_use_its_token_lends_it() {
        let digest = "0".repeat(64);
        let text = format!(
            r#"
            [users.nobody]
            token = "token-of-nobody-0123456789"
            [users.old]
            token = "token-of-old-0123456789"
            tags = ["admin"]
            expires_at = "2020-01-01T00:00:00Z"
            [users.hidden]
            token_sha256 = "{digest}"
            tags = ["admin"]
            [users.root]
            token = "token-of-root-0123456789"
            tags = ["admin"]
            [providers.p]
            base_url = "http://127.0.0.1:9"
            api_key = ""
            models = ["m"]
            [models.m]
            name = "m"
            [[models.m.backends]]
            provider = "p"
            model = "m"
            "#
        );
        let config = crate::config::parse(&text, &|_| None).unwrap().config;
        assert_eq!(of_an_admin(&config).unwrap().expose_secret(), "token-of-root-0123456789");
    }
}

//! A client of the running server.

use std::{error::Error, net::IpAddr, net::SocketAddr, time::Duration};

use http::{Method, StatusCode};
use jiff::Timestamp;
use reqwest::{Client, redirect::Policy};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::{
    files,
    global::{Global, variable},
    output::Fail,
};
use crate::config::{Config, Credential};

/// The timeout of a request; the server answers from memory.
const TIMEOUT: Duration = Duration::from_secs(30);

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
            Fail::new(format!(
                "`{address}` is not the address of a server; --url takes one like `http://127.0.0.1:3000`"
            ))
        })?;
        let client = Client::builder().timeout(TIMEOUT).redirect(Policy::none());
        let client = if base.host_str().is_some_and(is_loopback) { client.no_proxy() } else { client };
        let client = client.build().map_err(|error| Fail::new(error.to_string()))?;
        Ok(Self { base, client, token: token(global) })
    }

    /// Sends a request and returns the JSON response. An error response becomes a failure with the server's message.
    pub(super) async fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Fail> {
        self.send(method, path, query, None).await
    }

    /// Sends a request that may have a JSON body.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Fail> {
        let (status, body) = self.exchange(method, path, query, body).await?;
        let body: Option<Value> = serde_json::from_slice(&body).ok();
        match (status.is_success(), body) {
            (true, Some(body)) => Ok(body),
            (true, None) => Err(Fail::new(format!("{} is not a Berry server", self.base))),
            (false, body) => Err(self.refused(status, body)),
        }
    }

    /// Requests a text that is no JSON.
    pub(super) async fn text(&self, path: &[&str], query: &[(&str, &str)]) -> Result<String, Fail> {
        let (status, body) = self.exchange(Method::GET, path, query, None).await?;
        if status.is_success() {
            return Ok(String::from_utf8_lossy(&body).into_owned());
        }
        Err(self.refused(status, serde_json::from_slice(&body).ok()))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<(StatusCode, bytes::Bytes), Fail> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.client.request(method, url).query(query);
        if let Some(body) = body {
            request = request.header(http::header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        if let Ok(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let no_response = |error| Fail::new(format!("{} does not answer: {}", self.base, without_address(error)));
        let response = request.send().await.map_err(no_response)?;
        let status = response.status();
        let body = response.bytes().await.map_err(no_response)?;
        Ok((status, body))
    }

    /// Checks that the server is alive; needs no token.
    pub(super) async fn check_alive(&self) -> Result<(), Fail> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("livez");
        }
        let no_response = |error| Fail::new(format!("{} does not answer: {}", self.base, without_address(error)));
        let status = self.client.get(url).send().await.map_err(no_response)?.status();
        if status.is_success() { Ok(()) } else { Err(self.refused(status, None)) }
    }

    fn refused(&self, status: StatusCode, body: Option<Value>) -> Fail {
        let reason = body.as_ref().and_then(|body| body["error"]["message"].as_str());
        let mut message = format!("the server answered {}: {}", status.as_u16(), reason.unwrap_or("no reason given"));
        if let (StatusCode::UNAUTHORIZED, Err(why)) = (status, &self.token) {
            message = format!("{message}\nno token was sent because {why}; set --token or BERRY_TOKEN");
        }
        Fail { json: body, ..Fail::new(message) }
    }
}

/// Returns the given token, or that of the first enabled admin in the file.
fn token(global: &Global) -> Result<SecretString, String> {
    if let Some(token) = &global.token {
        return Ok(token.clone());
    }
    let config = files::load(global).map_err(|fail| fail.message)?.config;
    admin_token(&config).cloned().ok_or_else(|| "the file has no token of an enabled admin".to_owned())
}

fn admin_token(config: &Config) -> Option<&SecretString> {
    let now = Timestamp::now();
    let admins = config.users.values().filter(|user| user.enabled && user.is_admin());
    let current = admins.filter(|user| user.expires_at.is_none_or(|at| at > now));
    current.map(|user| &user.credential).find_map(Credential::token)
}

/// Returns the URL at which a server bound to this address can be reached on this machine.
fn url_of(bind: &str) -> String {
    match bind.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(address)) if address.ip().is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
        Ok(SocketAddr::V6(address)) if address.ip().is_unspecified() => format!("http://[::1]:{}", address.port()),
        _ => format!("http://{bind}"),
    }
}

/// Whether a host is this machine, which needs no proxy.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns the innermost cause of an error, without the URL.
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
    fn derives_a_reachable_url_from_the_bound_address() {
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
    fn uses_the_token_of_the_first_enabled_admin() {
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
        assert_eq!(admin_token(&config).unwrap().expose_secret(), "token-of-root-0123456789");
    }
}

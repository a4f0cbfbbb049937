//! Reads `[providers.<id>]`.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::SecretString;
use url::Url;

use super::file::Provider;
use super::options::BackendType;
use super::reader::{Table, fields};
use super::settings::{RETRIES, SECONDS, Settings};

/// Hosts where Azure wants either its own `/openai/v1` or deployment URLs.
const AZURE: [&str; 5] = [
    ".openai.azure.com",
    ".openai.azure.us",
    ".openai.azure.cn",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
];

/// Headers that frame the message: set by hand they would break each call.
const FRAMING: [HeaderName; 3] = [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

pub(super) fn read(id: &str, mut t: Table<'_>, settings: &Settings) -> Provider {
    let mut provider = Provider {
        name: t.string("name").unwrap_or_else(|| id.to_owned()),
        base_url: t.required("base_url", "\"https://api.openai.com/v1\""),
        api_key: api_key(&mut t),
        models: models(&mut t),
        headers: headers(&mut t, "headers"),
        enabled: true,
        timeout_seconds: settings.request_timeout_seconds,
        plain_timeout_seconds: settings.plain_timeout_seconds,
        connect_timeout_seconds: 5,
        max_retries: settings.max_retries,
        backend_type: BackendType::default(),
        api_version: t.string("api_version"),
        stream_usage: true,
        forward_user_agent: false,
        propagate_trace: false,
        max_connections: 16,
    };
    fields!(t => provider, flag: enabled, stream_usage, forward_user_agent, propagate_trace);
    fields!(t => provider, whole(1..=1_000): max_connections);
    fields!(t => provider, whole(1..=600): timeout_seconds);
    fields!(t => provider, whole(SECONDS): plain_timeout_seconds, connect_timeout_seconds);
    fields!(t => provider, whole(RETRIES): max_retries);
    fields!(t => provider, word: backend_type);
    check_base_url(&t, &provider);
    check_api_version(&t, &provider);
    t.leftover("tags");
    t.finish();
    provider
}

fn api_key(t: &mut Table<'_>) -> SecretString {
    if !t.has("api_key") {
        let message =
            "missing; write `api_key = \"${NAME}\"` to take it from the environment, or `\"\"` if none is needed";
        t.error("api_key", message);
    }
    let key = t.string("api_key").unwrap_or_default();
    if key.contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        t.error("api_key", "must be plain ASCII without spaces or line breaks, for it travels in a header");
    }
    SecretString::from(key)
}

fn models(t: &mut Table<'_>) -> Vec<String> {
    if !t.has("models") {
        t.error("models", "missing; list the upstream's model names, for example `models = [\"gpt-4o\"]`");
    }
    t.strings("models", |model| model.trim().is_empty().then(|| "a model's name must not be empty".to_owned()))
}

/// Reads a table of headers, whose values are marked sensitive.
pub(super) fn headers(t: &mut Table<'_>, key: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, text, path) in t.string_entries(key) {
        let Ok(name) = HeaderName::try_from(name) else {
            t.reader.error(&path, "is no header name (letters, digits and `-`)");
            continue;
        };
        let Ok(mut value) = HeaderValue::try_from(text) else {
            t.reader.error(&path, "a header's value must not hold line breaks or control characters");
            continue;
        };
        if value.to_str().is_err() {
            t.reader.error(&path, "a header's value must be visible ASCII");
        }
        if FRAMING.contains(&name) {
            t.reader.error(&path, "is set by the gateway for each call; remove it");
        }
        value.set_sensitive(true);
        if headers.insert(name, value).is_some() {
            t.reader.error(&path, "is set twice: header names do not distinguish case");
        }
    }
    headers
}

/// The value is in no message: a key may stand in it.
fn check_base_url(t: &Table<'_>, provider: &Provider) {
    let key = "base_url";
    let example = "for example `https://api.openai.com/v1`";
    let url = match Url::parse(&provider.base_url) {
        Ok(url) => url,
        Err(error) => return t.error(key, format_args!("is no URL ({error}); {example}")),
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return t.error(key, format_args!("must begin with `https://` or `http://`; {example}"));
    }
    if provider.base_url.parse::<http::Uri>().is_err() {
        let written = url.as_str().trim_end_matches('/');
        return t.error(key, format_args!("holds white space or letters beyond ASCII; write it as `{written}`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        t.error(key, "must not hold a user or password; use `api_key` or `headers`");
    }
    if url.query().is_some() || url.fragment().is_some() {
        t.error(key, "must end with its path: paths are appended to it, so `?` and `#` cannot stand");
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        t.warn(key, "keys and prompts travel unencrypted to this host; use `https://`");
    }
    let host = url.host_str().unwrap_or_default();
    let azure = AZURE.iter().any(|suffix| host.ends_with(suffix));
    let own_v1 = url.path().trim_end_matches('/') == "/openai/v1";
    if azure && !own_v1 && provider.backend_type == BackendType::OpenAi {
        t.warn(
            key,
            "Azure does not answer OpenAI's paths there; end it with `/openai/v1`, \
             or set `backend_type = \"azure\"` and `api_version`",
        );
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn check_api_version(t: &Table<'_>, provider: &Provider) {
    let key = "api_version";
    let azure = provider.backend_type == BackendType::Azure;
    let Some(version) = &provider.api_version else {
        if azure {
            t.error(key, "missing; type `azure` needs it, for example `api_version = \"2024-10-21\"`");
        }
        return;
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if version.is_empty() || !version.chars().all(fits) {
        t.error(key, "must be a version like `2024-10-21` or `2025-04-01-preview`");
    } else if !azure {
        t.warn(key, "is for type `azure` alone and has no effect here");
    }
}

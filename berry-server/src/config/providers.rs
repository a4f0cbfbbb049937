//! Reads `[providers.<id>]`.

use http::HeaderName;
use secrecy::SecretString;
use toml::de::DeValue;
use url::Url;

use berry_tower::backend::{Effort, Efforts, OptionalField, RequestOptions};

use super::file::{Provider, ProviderRoute};
use super::headers;
use super::key_source::{KeyOrigin, KeySource};
use super::options::BackendType;
use super::presets::{ACCEPTS, PRESETS, Preset, Route};
use super::reader::{Table, fields};
use super::settings::{RETRIES, SECONDS, Settings};

/// The hosts of Azure, which need either the path `/openai/v1` or deployment URLs.
const AZURE: [&str; 5] = [
    ".openai.azure.com",
    ".openai.azure.us",
    ".openai.azure.cn",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
];

/// The paths that a client library's examples show behind a base URL.
const ENDPOINTS: [&str; 5] = ["/chat/completions", "/completions", "/messages", "/responses", "/embeddings"];

pub(super) fn read(id: &str, mut t: Table<'_>, settings: &Settings) -> Provider {
    let mut preset: Option<&'static Preset> = None;
    if t.has("preset") {
        let mut row = &PRESETS[0];
        t.word("preset", &mut row);
        preset = Some(row);
    }
    let place = Place { region: t.string("region"), project: t.string("project") };
    let own_url = t.has("base_url") || preset.is_none_or(|preset| preset.base_url.is_empty());
    let base_url = match preset {
        Some(preset) if !own_url => place.put_into(&t, preset.base_url),
        _ => {
            let azure = preset.is_some_and(|preset| preset.backend_type == BackendType::Azure);
            let host = if azure { "https://my-resource.openai.azure.com" } else { "https://api.openai.com/v1" };
            let url = t.required("base_url", &format!("\"{host}\""));
            place.put_into(&t, &url)
        }
    };
    let mut provider = Provider {
        name: t.string("name").unwrap_or_else(|| id.to_owned()),
        base_url,
        key_source: key_source(&mut t),
        api_key: SecretString::default(),
        models: models(&mut t),
        headers: headers::read(&mut t, "headers"),
        enabled: true,
        timeout_seconds: settings.request_timeout_seconds,
        plain_timeout_seconds: settings.plain_timeout_seconds,
        connect_timeout_seconds: 5,
        max_retries: settings.max_retries,
        backend_type: preset.map_or_else(BackendType::default, |preset| preset.backend_type),
        api_version: t.string("api_version").or_else(|| preset?.api_version.map(str::to_owned)),
        stream_usage: preset.is_none_or(|preset| preset.options.accepts(OptionalField::StreamOptions)),
        forward_user_agent: false,
        propagate_trace: false,
        max_connections: 16,
        preset: preset.map(|preset| preset.name),
        region: place.region.clone(),
        project: place.project.clone(),
        key_header: key_header(&mut t, preset),
        chat_url: None,
        chat_stream_url: None,
        anthropic_version: t.string("anthropic_version"),
        options: RequestOptions::new(),
        routes: Vec::new(),
    };
    provider.api_key = api_key(&mut t, &provider, preset);
    fields!(t => provider, flag: enabled, stream_usage, forward_user_agent, propagate_trace);
    fields!(t => provider, whole(1..=1_000): max_connections);
    fields!(t => provider, whole(1..=600): timeout_seconds);
    fields!(t => provider, whole(SECONDS): plain_timeout_seconds, connect_timeout_seconds);
    fields!(t => provider, whole(RETRIES): max_retries);
    let is_other_type = t.has("backend_type");
    fields!(t => provider, word: backend_type);
    chat_urls(&mut t, &mut provider, preset.filter(|_| !is_other_type), &place);
    let options = preset.map_or_else(RequestOptions::new, |preset| preset.options);
    provider.options =
        request_options(&mut t, options).with_accepted(OptionalField::StreamOptions, provider.stream_usage);
    if let Some(preset) = preset.filter(|_| !is_other_type) {
        let given = own_url.then_some(&*provider.base_url);
        provider.routes =
            preset.routes.iter().map(|route| place.route(&t, *route, given, &provider.base_url)).collect();
    }
    check_base_url(&t, &provider);
    check_api_version(&t, &provider);
    t.deprecated("tags");
    t.finish();
    provider
}

/// What stands for `{region}` and `{project}` in addresses.
struct Place {
    region: Option<String>,
    project: Option<String>,
}

impl Place {
    fn put_into(&self, t: &Table<'_>, address: &str) -> String {
        let mut address = address.to_owned();
        // Google's global address has no region in its name.
        if self.region.as_deref() == Some("global") {
            address = address.replace("{region}-aiplatform", "aiplatform");
        }
        for (key, name, value, example) in
            [("region", "{region}", &self.region, "us-east-1"), ("project", "{project}", &self.project, "my-project")]
        {
            if !address.contains(name) {
                continue;
            }
            match value {
                Some(value) if value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c)) => {
                    address = address.replace(name, value);
                }
                Some(_) => t.error(key, "must be letters, digits, `-`, `_`, `.` and `:` only"),
                None => {
                    t.error(key, format_args!("missing; the address needs it, for example `{key} = \"{example}\"`"));
                    address = address.replace(name, "missing");
                }
            }
        }
        address
    }

    fn route(&self, t: &Table<'_>, route: Route, given: Option<&str>, base_url: &str) -> ProviderRoute {
        let base = match (given, route.base_url) {
            (Some(given), _) => given.to_owned(),
            (None, Some(known)) => self.put_into(t, known),
            (None, None) => base_url.to_owned(),
        };
        let base_url = format!("{}{}", base.trim_end_matches('/'), route.suffix);
        let chat_urls = route.chat_urls.map(|(plain, stream)| (self.put_into(t, plain), self.put_into(t, stream)));
        ProviderRoute { route, base_url, chat_urls }
    }
}

/// The addresses for conversations.
fn chat_urls(t: &mut Table<'_>, provider: &mut Provider, preset: Option<&Preset>, place: &Place) {
    let plain = t.string("chat_url").or_else(|| preset?.chat_url.map(str::to_owned));
    provider.chat_url = plain.map(|url| place.put_into(t, &url));
    provider.chat_stream_url = t.string("chat_stream_url").map(|url| place.put_into(t, &url));
    if provider.chat_stream_url.is_some() && provider.chat_url.is_none() {
        t.error("chat_stream_url", "needs `chat_url`, the address for plain requests");
    }
    for (key, url) in [("chat_url", &provider.chat_url), ("chat_stream_url", &provider.chat_stream_url)] {
        let Some(url) = url else { continue };
        let filled = url.replace("{base_url}", &provider.base_url).replace("{model}", "model");
        if !Url::parse(&filled).is_ok_and(|url| url.has_host()) {
            t.error(key, "must be a URL, in which `{base_url}` and `{model}` may stand");
        }
    }
}

fn key_header(t: &mut Table<'_>, preset: Option<&Preset>) -> Option<HeaderName> {
    let name = t.string("key_header").or_else(|| preset?.key_header.map(str::to_owned))?;
    let header = HeaderName::try_from(name.to_ascii_lowercase()).ok();
    if header.is_none() {
        t.error("key_header", "must be the name of a header, for example `x-api-key`");
    }
    header
}

/// `[providers.<id>.accepts]` and the two keys beside it.
fn request_options(t: &mut Table<'_>, mut options: RequestOptions) -> RequestOptions {
    let (mut token_limit, mut history) = (options.token_limit(), options.reasoning_history());
    t.word("token_limit", &mut token_limit);
    t.word("reasoning_history", &mut history);
    options = options.with_token_limit(token_limit).with_reasoning_history(history);
    let mut accepts = t.table("accepts", "providers.*.accepts");
    for (key, field) in ACCEPTS.into_iter().filter(|(_, field)| *field != OptionalField::StreamOptions) {
        let mut accepted = options.accepts(field);
        accepts.flag(key, &mut accepted);
        options = options.with_accepted(field, accepted);
    }
    if accepts.has("reasoning_effort") {
        let unknown = |name: &str| {
            let known = Effort::ALL.iter().map(|effort| effort.name()).collect::<Vec<_>>();
            Effort::from_name(name).is_none().then(|| format!("unknown effort; it is one of {}", known.join(", ")))
        };
        let names = accepts.strings("reasoning_effort", unknown);
        let efforts: Vec<Effort> = names.iter().filter_map(|name| Effort::from_name(name)).collect();
        options = options.with_efforts(Efforts::of(&efforts));
    }
    accepts.finish();
    options
}

fn api_key(t: &mut Table<'_>, provider: &Provider, preset: Option<&Preset>) -> SecretString {
    let is_needed = preset.is_none_or(|preset| preset.needs_key) && provider.key_source.is_none();
    if !t.has("api_key") {
        if is_needed {
            let message = "missing; write `api_key = \"${NAME}\"` to take it from the environment, or `\"\"` if none is \
                           needed; `api_key_command` and `api_key_file` get one that changes";
            t.error("api_key", message);
        }
        return SecretString::default();
    }
    if provider.key_source.is_some() {
        t.error("api_key", "must not stand beside `api_key_command` or `api_key_file`; remove one of them");
    }
    let key = t.string("api_key");
    // An unset variable is an error, but container tools set one without a value to nothing.
    if let Some(DeValue::String(raw)) = t.take("api_key")
        && key.as_deref() == Some("")
        && !raw.is_empty()
    {
        t.warn(
            "api_key",
            format_args!("`{raw}` is empty, so no key is sent; set it, or write `\"\"` if none is needed"),
        );
    }
    let key = key.unwrap_or_default();
    if key.contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        t.error("api_key", "must be plain ASCII without spaces or line breaks, for it travels in a header");
    }
    SecretString::from(key)
}

/// How long a key is valid unless the file says so, in seconds.
pub(super) const DEFAULT_KEY_TTL: u64 = 300;

fn key_source(t: &mut Table<'_>) -> Option<KeySource> {
    let command = t.has("api_key_command").then(|| {
        let command = t.strings("api_key_command", |_| None);
        if command.first().is_none_or(String::is_empty) {
            t.error(
                "api_key_command",
                "must name a program, for example `[\"gcloud\", \"auth\", \"print-access-token\"]`",
            );
        }
        KeyOrigin::Command(command)
    });
    let file = t.string("api_key_file").map(|path| {
        if !std::path::Path::new(&path).is_absolute() {
            t.error("api_key_file", "must be an absolute path");
        }
        KeyOrigin::File(path.into())
    });
    let mut ttl_seconds = DEFAULT_KEY_TTL;
    t.whole("api_key_ttl_seconds", 1..=u64::from(u32::MAX), &mut ttl_seconds);
    if command.is_some() && file.is_some() {
        t.error("api_key_file", "must not stand beside `api_key_command`; remove one of them");
    }
    let origin = command.or(file);
    if origin.is_none() && t.has("api_key_ttl_seconds") {
        t.warn("api_key_ttl_seconds", "has no effect without `api_key_command` or `api_key_file`");
    }
    Some(KeySource { origin: origin?, ttl_seconds })
}

fn models(t: &mut Table<'_>) -> Vec<String> {
    if !t.has("models") {
        t.error("models", "missing; list the upstream's model names, for example `models = [\"gpt-4o\"]`");
    }
    t.strings("models", |model| model.trim().is_empty().then(|| "a model's name must not be empty".to_owned()))
}

/// Checks the base URL. The messages do not quote it because it may contain a key.
fn check_base_url(t: &Table<'_>, provider: &Provider) {
    let key = "base_url";
    let example = "for example `https://api.openai.com/v1`";
    let filled = provider.base_url.replace("{model}", "model");
    let url = match Url::parse(&filled) {
        Ok(url) => url,
        Err(error) => return t.error(key, format_args!("is no URL ({error}); {example}")),
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return t.error(key, format_args!("must begin with `https://` or `http://`; {example}"));
    }
    if filled.parse::<http::Uri>().is_err() {
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
    let path = url.path().trim_end_matches('/');
    if let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| path.ends_with(*endpoint))
        && provider.chat_url.is_none()
    {
        t.warn(key, format_args!("ends with `{endpoint}`, which is appended for each request; remove it"));
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

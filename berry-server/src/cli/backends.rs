//! The commands that call providers, over the same transport as the gateway.

use std::{collections::HashSet, future::Future, process::ExitCode, sync::Arc, time::Duration};

use berry_tower::{
    backend::{Backend, Model, Provider},
    classify::Class,
    client::Reqwest,
    probe::{self, Refused},
};
use futures_util::future::join_all;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{
    files,
    global::Global,
    output::{Cell, Fail, Output, Tone},
    stream,
};
use crate::config::{
    Config, KeySource,
    build::{self, ProviderKeys},
};

/// The result of one check.
#[derive(Debug, Serialize)]
struct Row {
    provider: String,
    /// The provider's name of the model; null for a check of the list of models.
    model: Option<String>,
    state: State,
    latency_ms: u64,
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Healthy,
    RateLimited,
    Unhealthy,
}

impl State {
    /// As in the gateway's probes, only a failure of the backend is unhealthy.
    const fn of(class: Class) -> Self {
        match class {
            Class::RateLimited { .. } => Self::RateLimited,
            class if class.is_backend_failure() => Self::Unhealthy,
            _ => Self::Healthy,
        }
    }

    const fn tone(self) -> (&'static str, Tone) {
        match self {
            Self::Healthy => ("healthy", Tone::Good),
            Self::RateLimited => ("rate_limited", Tone::Doubtful),
            Self::Unhealthy => ("unhealthy", Tone::Bad),
        }
    }
}

impl Row {
    async fn check(
        provider: &Provider,
        model: Option<&str>,
        within: Duration,
        call: impl Future<Output = Result<(), Refused>>,
    ) -> Self {
        let started = Instant::now();
        let (state, error) = match timeout(within, call).await {
            Ok(Ok(())) => (State::Healthy, None),
            Ok(Err(refused)) => (State::of(refused.class), Some(format!("{}: {refused}", refused.class.name()))),
            Err(_) => (State::Unhealthy, Some(format!("timeout: no answer within {} s", within.as_secs()))),
        };
        let latency_ms = millis(started.elapsed());
        Self { provider: provider.id().to_string(), model: model.map(str::to_owned), state, latency_ms, error }
    }

    fn cells(&self) -> Vec<Cell> {
        let (state, tone) = self.state.tone();
        vec![
            Cell::new(&self.provider),
            Cell::maybe(self.model.as_ref()),
            Cell::tone(state, tone),
            Cell::new(format_args!("{} ms", self.latency_ms)),
            Cell::new(self.error.as_deref().unwrap_or_default()),
        ]
    }
}

/// `health-check`
pub(super) async fn health_check(
    global: &Global,
    only: Option<&str>,
    chat: bool,
    out: &Output,
) -> Result<ExitCode, Fail> {
    let config = files::load(global)?.config;
    let providers = providers(&config, only)?;
    let backends = if chat { backends(&config, &providers)? } else { Vec::new() };
    let within = Duration::from_secs(config.settings.health_check_timeout_seconds);
    let transport = Reqwest::new();
    let bar = out.progress(providers.len() + backends.len());
    let lists = providers.iter().map(async |provider| {
        let row = Row::check(provider, None, within, probe::list(transport.clone(), provider)).await;
        bar.inc(1);
        row
    });
    let chats = backends.iter().map(async |backend| {
        let call = probe::one_token(transport.clone(), backend);
        let row = Row::check(backend.provider(), Some(&backend.id().model), within, call).await;
        bar.inc(1);
        row
    });
    let (mut rows, chats) = tokio::join!(join_all(lists), join_all(chats));
    bar.finish_and_clear();
    rows.extend(chats);
    let failed = rows.iter().filter(|row| row.state == State::Unhealthy).count();
    out.value(&json!({ "healthy": failed == 0, "checks": rows }));
    let table: Vec<Vec<Cell>> = rows.iter().map(Row::cells).collect();
    out.table(&["provider", "model", "state", "latency", "error"], &table);
    Ok(match (only, failed) {
        (None, 0) => out.verdict(true, "Health check completed"),
        (None, failed) => out.verdict(false, format_args!("{failed} of {} checks failed", rows.len())),
        (Some(id), 0) => out.verdict(true, format_args!("Provider {id} is healthy")),
        (Some(id), _) => out.verdict(false, format_args!("Provider {id} is not healthy")),
    })
}

/// `test-backend`
pub(super) async fn test(
    global: &Global,
    id: &str,
    model: &str,
    streamed: bool,
    out: &Output,
) -> Result<ExitCode, Fail> {
    let config = files::load(global)?.config;
    let file = config.providers.get(id).ok_or_else(|| no_such_provider(&config, id))?;
    if !file.models.iter().any(|known| known == model) {
        return Err(Fail::new(format!("provider `{id}` lists no model `{model}`; it has {}", file.models.join(", "))));
    }
    let provider = Arc::new(built(&config, id, Some(model))?);
    let started = Instant::now();
    let result = if streamed {
        stream::one_token(&provider, model).await.map(|first| Some(millis(first)))
    } else {
        let backend = Arc::new(Backend::new(provider.clone(), model));
        probe::one_token(Reqwest::new(), &backend).await.map(|()| None).map_err(|refused| refused.to_string())
    };
    let latency_ms = millis(started.elapsed());
    let first_token_ms = result.as_ref().ok().copied().flatten();
    out.value(&json!({
        "ok": result.is_ok(),
        "provider": id,
        "model": model,
        "stream": streamed,
        "latency_ms": latency_ms,
        "time_to_first_token_ms": first_token_ms,
        "error": result.as_ref().err(),
    }));
    let code = match &result {
        Ok(_) => out.verdict(true, format_args!("Backend {id}:{model} connectivity test passed")),
        Err(why) => out.verdict(false, format_args!("Backend {id}:{model} connectivity test failed: {why}")),
    };
    out.line(format_args!("  - latency {latency_ms} ms"));
    if let Some(first) = first_token_ms {
        out.line(format_args!("  - time to first token {first} ms"));
    }
    Ok(code)
}

/// Returns the enabled providers, or the one that is named.
fn providers(config: &Config, only: Option<&str>) -> Result<Vec<Provider>, Fail> {
    let Some(id) = only else {
        let enabled = config.providers.iter().filter(|(_, provider)| provider.enabled);
        return enabled.map(|(id, _)| built(config, id, None)).collect();
    };
    match config.providers.get(id) {
        Some(provider) if provider.enabled => Ok(vec![built(config, id, None)?]),
        Some(_) => Err(Fail::new(format!("provider `{id}` is disabled"))),
        None => Err(no_such_provider(config, id)),
    }
}

/// Returns a provider as its models are reached, or as a model of it is. A key that is not in the file is got first.
pub(super) fn built(config: &Config, id: &str, model: Option<&str>) -> Result<Provider, Fail> {
    let unusable = |why: String| Fail::new(format!("providers.{id}: {why}"));
    let (keys, file) = (ProviderKeys::new(config, None), &config.providers[id]);
    fetch(&keys, file.key_source.as_ref()).map_err(unusable)?;
    let route = model.and_then(|model| file.routes.iter().find(|route| route.route.serves(model)));
    build::provider(id, file, &config.settings, route, &keys).map_err(|error| unusable(error.to_string()))
}

/// Gets the keys that are not in the file, or the one from this source.
fn fetch(keys: &ProviderKeys, only: Option<&KeySource>) -> Result<(), String> {
    for (source, key) in keys.iter().filter(|(source, _)| only == Some(*source)) {
        key.set(source.fetch()?.expose_secret()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn no_such_provider(config: &Config, id: &str) -> Fail {
    let known: Vec<&str> = config.providers.keys().map(String::as_str).collect();
    Fail::new(format!("there is no provider `{id}`; the file has {}", known.join(", ")))
}

/// Returns the enabled backends of these providers, each once even if several models share it.
fn backends(config: &Config, providers: &[Provider]) -> Result<Vec<Arc<Backend>>, Fail> {
    let keys = ProviderKeys::new(config, None);
    for provider in providers {
        fetch(&keys, config.providers[&**provider.id()].key_source.as_ref()).map_err(Fail::new)?;
    }
    let built = build::build(config, &Default::default(), &keys).map_err(Fail::new)?;
    let mut seen = HashSet::new();
    let enabled = built.models.iter().filter(|model| model.is_enabled()).flat_map(Model::backends);
    let asked =
        enabled.filter(|backend| backend.is_enabled() && providers.iter().any(|p| p.id() == backend.provider().id()));
    Ok(asked.filter(|backend| seen.insert(backend.id().clone())).cloned().collect())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

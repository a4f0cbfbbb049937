//! The difference between two configurations, by name only, because a value may be a secret.

use std::fmt;

use indexmap::IndexMap;
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::config::{Config, Provider, Responses, Settings, Store};

/// The changes that a reload applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Changes {
    /// Paths of settings with another value, such as `retry_budget.ratio`.
    pub settings: Vec<String>,
    /// Paths of changed keys in other tables without ids, such as `database.url`.
    pub tables: Vec<String>,
    /// The users that changed, by table id.
    pub users: Changed,
    /// The providers that changed, by table id.
    pub providers: Changed,
    /// The models that changed, by table id.
    pub models: Changed,
    /// The teams that changed, by table id.
    pub teams: Changed,
    /// The prices that changed, by name.
    pub prices: Changed,
}

/// The changed tables of one kind, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Changed {
    /// Tables that exist only in the new configuration.
    pub added: Vec<String>,
    /// Tables that exist only in the previous configuration.
    pub removed: Vec<String>,
    /// Tables that exist in both and differ.
    pub changed: Vec<String>,
}

impl Changes {
    /// Compares two configurations.
    pub(crate) fn between(before: &Config, after: &Config) -> Self {
        // Names every table, so that the compiler asks for the comparison of a new one.
        let Config {
            settings: old_settings,
            database: _,
            telemetry: _,
            store: _,
            responses: _,
            users,
            providers,
            models,
            teams,
            prices,
        } = before;
        Self {
            settings: settings(old_settings, &after.settings),
            tables: tables(before, after),
            users: Changed::between(users, &after.users, PartialEq::eq),
            providers: Changed::between(providers, &after.providers, same_provider),
            models: Changed::between(models, &after.models, PartialEq::eq),
            teams: Changed::between(teams, &after.teams, PartialEq::eq),
            prices: Changed::between(prices, &after.prices, PartialEq::eq),
        }
    }

    /// Returns whether the configurations are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Changed {
    fn between<T>(before: &IndexMap<String, T>, after: &IndexMap<String, T>, same: impl Fn(&T, &T) -> bool) -> Self {
        let only = |of: &IndexMap<String, T>, other: &IndexMap<String, T>| {
            of.keys().filter(|id| !other.contains_key(*id)).cloned().collect()
        };
        let differs = |(id, old): (&String, &T)| after.get(id).is_some_and(|new| !same(old, new)).then(|| id.clone());
        Self {
            added: only(after, before),
            removed: only(before, after),
            changed: before.iter().filter_map(differs).collect(),
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        let mut before = "";
        let mut list = |sign: &str, what: &str, ids: &[String]| {
            for id in ids {
                write!(f, "{before}{sign}{what}{id}")?;
                before = ", ";
            }
            Ok(())
        };
        list("~", "settings.", &self.settings)?;
        list("~", "", &self.tables)?;
        let kinds = [
            ("users.", &self.users),
            ("providers.", &self.providers),
            ("models.", &self.models),
            ("teams.", &self.teams),
            ("prices.", &self.prices),
        ];
        for (what, of) in kinds {
            list("+", what, &of.added)?;
            list("-", what, &of.removed)?;
            list("~", what, &of.changed)?;
        }
        Ok(())
    }
}

/// Returns the paths of the settings that differ.
fn settings(before: &Settings, after: &Settings) -> Vec<String> {
    fn walk(path: &str, before: &serde_json::Value, after: &serde_json::Value, found: &mut Vec<String>) {
        match (before, after) {
            (serde_json::Value::Object(old), serde_json::Value::Object(new)) => {
                for (key, value) in new {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, old.get(key).unwrap_or(&serde_json::Value::Null), value, found);
                }
            }
            _ if before != after => found.push(path.to_owned()),
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let (Ok(before), Ok(after)) = (serde_json::to_value(before), serde_json::to_value(after)) {
        walk("", &before, &after, &mut found);
    }
    found
}

/// Returns the paths of the keys that differ in other tables without ids.
fn tables(before: &Config, after: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let (old, new) = (before.database.as_ref(), after.database.as_ref());
    let mut add = |differs: bool, path: &str| found.extend(differs.then(|| path.to_owned()));
    add(old.map(|database| &database.url) != new.map(|database| &database.url), "database.url");
    if let (Some(old), Some(new)) = (old, new) {
        add(old.retain_days != new.retain_days, "database.retain_days");
        add(old.record_user != new.record_user, "database.record_user");
    }
    let (old, new) = (&before.telemetry, &after.telemetry);
    add(old.otlp_endpoint != new.otlp_endpoint, "telemetry.otlp_endpoint");
    add(old.otlp_headers != new.otlp_headers, "telemetry.otlp_headers");
    add(old.service_name != new.service_name, "telemetry.service_name");
    add(old.resource_attributes != new.resource_attributes, "telemetry.resource_attributes");
    add(old.sample_ratio != new.sample_ratio, "telemetry.sample_ratio");
    add(old.metrics_interval_seconds != new.metrics_interval_seconds, "telemetry.metrics_interval_seconds");
    let (old, new) = (before.store.as_ref(), after.store.as_ref());
    let url = |store: Option<&Store>| store.map(|store| store.url.expose_secret().to_owned());
    add(url(old) != url(new), "store.url");
    if let (Some(old), Some(new)) = (old, new) {
        let Store { url: _, mode, lease, on_error, timeout_ms, prefix } = old;
        add(*mode != new.mode, "store.mode");
        add(*lease != new.lease, "store.lease");
        add(*on_error != new.on_error, "store.on_error");
        add(*timeout_ms != new.timeout_ms, "store.timeout_ms");
        add(*prefix != new.prefix, "store.prefix");
    }
    let Responses { done_event, store, max_stored_bytes } = &before.responses;
    add(*done_event != after.responses.done_event, "responses.done_event");
    add(*store != after.responses.store, "responses.store");
    add(*max_stored_bytes != after.responses.max_stored_bytes, "responses.max_stored_bytes");
    found
}

/// Compares two providers field by field, because a secret has no `PartialEq`.
fn same_provider(a: &Provider, b: &Provider) -> bool {
    let Provider {
        name,
        base_url,
        api_key,
        models,
        headers,
        enabled,
        timeout_seconds,
        plain_timeout_seconds,
        connect_timeout_seconds,
        max_retries,
        backend_type,
        api_version,
        stream_usage,
        forward_user_agent,
        propagate_trace,
        max_connections,
        preset,
        region,
        project,
        key_header,
        chat_url,
        chat_stream_url,
        anthropic_version,
        options,
        key_source,
        routes,
    } = a;
    api_key.expose_secret() == b.api_key.expose_secret()
        && (name, base_url, models, headers) == (&b.name, &b.base_url, &b.models, &b.headers)
        && (enabled, stream_usage, max_retries) == (&b.enabled, &b.stream_usage, &b.max_retries)
        && (timeout_seconds, plain_timeout_seconds) == (&b.timeout_seconds, &b.plain_timeout_seconds)
        && (connect_timeout_seconds, backend_type) == (&b.connect_timeout_seconds, &b.backend_type)
        && (forward_user_agent, propagate_trace) == (&b.forward_user_agent, &b.propagate_trace)
        && *max_connections == b.max_connections
        && *api_version == b.api_version
        && (preset, region, project, key_header) == (&b.preset, &b.region, &b.project, &b.key_header)
        && (chat_url, chat_stream_url) == (&b.chat_url, &b.chat_stream_url)
        && (anthropic_version, options, key_source) == (&b.anthropic_version, &b.options, &b.key_source)
        && *routes == b.routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FULL_EXAMPLE, parse};

    fn read(text: &str) -> Config {
        // Hex digits will do as a digest as well as for a key; tokens differ from each other.
        let secret = |name: &str| Some(name.bytes().cycle().take(32).map(|b| format!("{b:02x}")).collect());
        parse(text, &secret).unwrap().config
    }

    #[test]
    fn equal_configurations_have_no_changes() {
        assert!(Changes::between(&read(FULL_EXAMPLE), &read(FULL_EXAMPLE)).is_empty());
    }

    /// Returns a configuration with these values and these further tables.
    fn file(key: &str, weight: &str, user: &str, ratio: &str, tables: &str) -> Config {
        read(&format!(
            r#"
            [settings]
            [settings.retry_budget]
            ratio = {ratio}
            [users.{user}]
            token = "a-token-of-at-least-16"
            [providers.local]
            base_url = "http://127.0.0.1:9/v1"
            api_key = "{key}"
            models = ["llama"]
            [models.llama]
            name = "llama"
            [[models.llama.backends]]
            provider = "local"
            model = "llama"
            weight = {weight}
            {tables}
            "#
        ))
    }

    #[test]
    fn lists_the_changes_of_every_table() {
        let with = |tables: &str| file("", "1.0", "me", "0.2", tables);
        let changed = |before: &str, after: &str| Changes::between(&with(before), &with(after)).tables;
        let store = |rest: &str| format!("[store]\nurl = \"redis://:word@127.0.0.1\"\n{rest}");
        assert_eq!(changed("", &store("")), ["store.url"]);
        assert_eq!(changed(&store(""), ""), ["store.url"]);
        let other = store("mode = \"leased\"\nlease = \"1%\"\non_error = \"deny\"\ntimeout_ms = 90\nprefix = \"b\"");
        let keys = ["store.mode", "store.lease", "store.on_error", "store.timeout_ms", "store.prefix"];
        assert_eq!(changed(&store(""), &other), keys);
        let responses = "[responses]\ndone_event = false\nmax_stored_bytes = 1048576";
        assert_eq!(changed("", responses), ["responses.done_event", "responses.max_stored_bytes"]);
    }

    #[test]
    fn lists_changed_names_without_values() {
        let before = file("sk-one", "1.0", "me", "0.2", "");
        let changes = Changes::between(&before, &file("sk-two", "2.0", "you", "0.3", ""));
        let text = changes.to_string();
        assert_eq!(text, "~settings.retry_budget.ratio, +users.you, -users.me, ~providers.local, ~models.llama");
        let json = serde_json::to_value(&changes).unwrap();
        assert_eq!(json["users"], serde_json::json!({ "added": ["you"], "removed": ["me"], "changed": [] }));
        assert!(!format!("{changes:?}{json}{text}").contains("sk-"));
    }
}

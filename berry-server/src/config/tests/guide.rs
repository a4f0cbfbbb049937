//! The configuration guide lists every key with its default.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use toml::de::DeTable;

use super::super::presets::ACCEPTS;
use super::super::reader::Reader;
use super::super::{FULL_EXAMPLE, Settings, Telemetry, read};
use super::{SMALL, good};

const GUIDE: &str = include_str!("../../../docs/configuration.md");

/// Returns the documented keys of each kind of table, with the cell of the default.
fn documented_keys() -> BTreeMap<(String, String), String> {
    let mut kind = String::new();
    let mut documented = BTreeMap::new();
    for line in GUIDE.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let name = heading.split('`').nth(1).unwrap_or_default();
            let inner = name.trim_matches(['[', ']']).replace("<id>", "*");
            kind = if name.starts_with("[[") { format!("{inner}[]") } else { inner };
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells: Vec<&str> = row.split(" | ").collect();
            let key = cells[0].trim_end_matches('`');
            assert!(!kind.is_empty(), "{line}");
            assert!(documented.insert((kind.clone(), key.to_owned()), cells[1].to_owned()).is_none(), "{line}");
        }
    }
    documented
}

#[test]
fn guide_lists_exactly_the_known_keys() {
    let documented = documented_keys();
    let kinds: BTreeSet<&String> = documented.keys().map(|(kind, _)| kind).collect();
    let root = DeTable::parse(FULL_EXAMPLE).unwrap();
    let reader = Reader::new(FULL_EXAMPLE, root.get_ref(), &|_| None);
    read(&reader, root.get_ref());
    // A nested table has its own section.
    let inner = |kind: &str, key: &str| kind.is_empty() || kinds.contains(&format!("{kind}.{key}"));
    let known = reader.known().into_keys().filter(|(kind, key)| !inner(kind, key));
    let known: BTreeSet<_> = known.map(|(kind, key)| (kind.to_owned(), key.to_owned())).collect();
    assert_eq!(documented.into_keys().collect::<BTreeSet<_>>(), known);
}

/// Returns the defaults of the program.
fn defaults() -> Value {
    let loaded = good(SMALL).config;
    let (user, provider, model) = (&loaded.users["admin"], &loaded.providers["openai"], &loaded.models["gpt_4o"]);
    let backend = &model.backends[0];
    let database = good(&format!("{SMALL}\n[database]\nurl = \"sqlite://berry.db\"\n")).config.database.unwrap();
    let store = good(&format!("{SMALL}\n[store]\nurl = \"redis://127.0.0.1:6379\"\n")).config.store.unwrap();
    assert_eq!(store.lease, 50_000);
    let team = &good(&format!("{SMALL}\n[teams.t]\n")).config.teams["t"];
    let settings = serde_json::to_value(Settings::default()).unwrap();
    let telemetry = Telemetry::default();
    json!({
        "settings.smart_ai.confidence_adjustments": settings["smart_ai"]["confidence_adjustments"],
        "settings.smart_ai": settings["smart_ai"],
        "settings.retry_budget": settings["retry_budget"],
        "settings": settings,
        "responses": loaded.responses,
        "database": { "retain_days": database.retain_days, "record_user": database.record_user },
        "telemetry": {
            "otlp_endpoint": telemetry.otlp_endpoint.unwrap_or_default(),
            "service_name": telemetry.service_name,
            "sample_ratio": telemetry.sample_ratio,
            "metrics_interval_seconds": telemetry.metrics_interval_seconds,
        },
        "store": { "mode": store.mode, "lease": "5%", "on_error": store.on_error, "timeout_ms": store.timeout_ms, "prefix": store.prefix },
        "teams.*": { "models": team.models, "enabled": team.enabled },
        "users.*": { "allowed_models": user.allowed_models, "enabled": user.enabled, "tags": [] },
        "providers.*": {
            "enabled": provider.enabled,
            "connect_timeout_seconds": provider.connect_timeout_seconds,
            "backend_type": provider.backend_type,
            "stream_usage": provider.stream_usage,
            "forward_user_agent": provider.forward_user_agent,
            "propagate_trace": provider.propagate_trace,
            "max_connections": provider.max_connections,
            "api_key_ttl_seconds": crate::config::providers::DEFAULT_KEY_TTL,
            "token_limit": provider.options.token_limit(),
            "reasoning_history": provider.options.reasoning_history(),
        },
        "providers.*.accepts": ACCEPTS
            .iter()
            .map(|(key, field)| ((*key).to_owned(), json!(provider.options.accepts(*field))))
            .collect::<serde_json::Map<_, _>>(),
        "models.*": {
            "strategy": model.strategy,
            "enabled": model.enabled,
            "fallbacks": model.fallbacks,
            "default_for": model.default_for,
            "stream_recovery": model.stream_recovery,
            "on_unsupported": model.on_unsupported,
            "answer_model": model.answer_model,
        },
        "models.*.backends[]": {
            "weight": backend.weight,
            "priority": backend.priority,
            "enabled": backend.enabled,
            "tags": backend.tags,
            "billing_mode": backend.billing_mode,
            "probe": backend.probe,
            "max_in_flight": backend.max_in_flight,
            "supports_prefill": backend.supports_prefill,
            "sampling": backend.sampling,
            "thinking": backend.thinking,
            "think_tags": backend.think_tags,
            "openai_api": backend.openai_api,
        },
    })
}

#[test]
fn guide_shows_the_defaults_of_the_program() {
    let (defaults, mut compared) = (defaults(), 0);
    for ((kind, key), cell) in documented_keys() {
        let Some(cell) = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) else { continue };
        // This default is the value of another key.
        if cell.starts_with("settings.") {
            continue;
        }
        let value: Value = serde_json::from_str(cell).unwrap_or_else(|error| panic!("{kind}.{key}: {error}"));
        assert_eq!(defaults[&kind][&key], value, "{kind}.{key}");
        compared += 1;
    }
    assert!(compared > 50, "{compared}");
}

//! The guide's reference names every key, with its true default.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use toml::de::DeTable;

use super::super::reader::Reader;
use super::super::{FULL_EXAMPLE, Settings, read};
use super::{SMALL, good};

const GUIDE: &str = include_str!("../../../docs/configuration.md");

/// The keys of each kind of table, with the cell that tells the default.
fn told() -> BTreeMap<(String, String), String> {
    let mut kind = String::new();
    let mut told = BTreeMap::new();
    for line in GUIDE.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let name = heading.split('`').nth(1).unwrap_or_default();
            let inner = name.trim_matches(['[', ']']).replace("<id>", "*");
            kind = if name.starts_with("[[") { format!("{inner}[]") } else { inner };
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells: Vec<&str> = row.split(" | ").collect();
            let key = cells[0].trim_end_matches('`');
            assert!(!kind.is_empty(), "{line}");
            assert!(told.insert((kind.clone(), key.to_owned()), cells[1].to_owned()).is_none(), "{line}");
        }
    }
    told
}

#[test]
fn it_names_every_key_and_no_other() {
    let told = told();
    let kinds: BTreeSet<&String> = told.keys().map(|(kind, _)| kind).collect();
    let root = DeTable::parse(FULL_EXAMPLE).unwrap();
    let reader = Reader::new(FULL_EXAMPLE, root.get_ref(), &|_| None);
    read(&reader, root.get_ref());
    // A table within a table has a part of its own.
    let inner = |kind: &str, key: &str| kind.is_empty() || kinds.contains(&format!("{kind}.{key}"));
    let known = reader.known().into_keys().filter(|(kind, key)| !inner(kind, key));
    let known: BTreeSet<_> = known.map(|(kind, key)| (kind.to_owned(), key.to_owned())).collect();
    assert_eq!(told.into_keys().collect::<BTreeSet<_>>(), known);
}

/// The defaults as the program has them.
fn defaults() -> Value {
    let loaded = good(SMALL).config;
    let (user, provider, model) = (&loaded.users["admin"], &loaded.providers["openai"], &loaded.models["gpt_4o"]);
    let backend = &model.backends[0];
    let database = good(&format!("{SMALL}\n[database]\nurl = \"sqlite://berry.db\"\n")).config.database.unwrap();
    let store = good(&format!("{SMALL}\n[store]\nurl = \"redis://127.0.0.1:6379\"\n")).config.store.unwrap();
    assert_eq!(store.lease, 50_000);
    let team = &good(&format!("{SMALL}\n[teams.t]\n")).config.teams["t"];
    let settings = serde_json::to_value(Settings::default()).unwrap();
    json!({
        "settings.smart_ai.confidence_adjustments": settings["smart_ai"]["confidence_adjustments"],
        "settings.smart_ai": settings["smart_ai"],
        "settings.retry_budget": settings["retry_budget"],
        "settings": settings,
        "responses": loaded.responses,
        "database": { "retain_days": database.retain_days, "record_user": database.record_user },
        "store": { "mode": store.mode, "lease": "5%", "on_error": store.on_error, "timeout_ms": store.timeout_ms, "prefix": store.prefix },
        "teams.*": { "models": team.models, "enabled": team.enabled },
        "users.*": { "allowed_models": user.allowed_models, "enabled": user.enabled, "tags": [] },
        "providers.*": {
            "enabled": provider.enabled,
            "connect_timeout_seconds": provider.connect_timeout_seconds,
            "backend_type": provider.backend_type,
            "stream_usage": provider.stream_usage,
            "forward_user_agent": provider.forward_user_agent,
            "max_connections": provider.max_connections,
        },
        "models.*": {
            "strategy": model.strategy,
            "enabled": model.enabled,
            "fallbacks": model.fallbacks,
            "default_for": model.default_for,
            "stream_recovery": model.stream_recovery,
            "on_unsupported": model.on_unsupported,
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
fn its_defaults_are_the_programs() {
    let (defaults, mut compared) = (defaults(), 0);
    for ((kind, key), cell) in told() {
        let Some(cell) = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) else { continue };
        // One that is another key's value.
        if cell.starts_with("settings.") {
            continue;
        }
        let value: Value = serde_json::from_str(cell).unwrap_or_else(|error| panic!("{kind}.{key}: {error}"));
        assert_eq!(defaults[&kind][&key], value, "{kind}.{key}");
        compared += 1;
    }
    assert!(compared > 50, "{compared}");
}

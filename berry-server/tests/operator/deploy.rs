//! The deployment files fit the guide: the alerts and the Grafana dashboard use only metrics that exist.

use std::collections::BTreeSet;

use serde_json::Value;

const ALERTS: &str = include_str!("../../deploy/alerts.yml");
const DASHBOARD: &str = include_str!("../../deploy/grafana-dashboard.json");
const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// Returns the metrics listed in the guide.
fn documented_metrics() -> BTreeSet<&'static str> {
    let table = OPERATIONS.split("## Metrics").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.split('`').nth(1).unwrap()).collect()
}

/// Returns the metric names in an expression: the words that begin with the prefix of a family.
fn metrics(expression: &str) -> Vec<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let families = ["http_", "backend_", "load_balance_", "smart_ai_", "circuit_breaker_", "berry_"];
    let words = expression.split(|c: char| !word(c));
    words.filter(|word| families.iter().any(|family| word.starts_with(family))).collect()
}

fn exists(name: &str) -> bool {
    let parts = ["_bucket", "_sum", "_count"];
    let base = parts.iter().find_map(|part| {
        name.strip_suffix(part).filter(|base| base.ends_with("_seconds") || base.ends_with("_per_second"))
    });
    documented_metrics().contains(base.unwrap_or(name))
}

#[test]
fn deployments_can_write_the_database_of_the_guide() {
    let keys = include_str!("../../docs/keys.md");
    assert!(keys.contains("url = \"sqlite:///var/lib/berry/berry.db\""));
    let unit = include_str!("../../deploy/berry-server.service");
    assert!(unit.contains("\nProtectSystem=strict\n") && unit.contains("\nStateDirectory=berry\n"));
    let compose = include_str!("../../deploy/docker-compose.yml");
    assert!(compose.contains("read_only: true") && compose.contains(":/var/lib/berry\n"));
}

#[test]
fn alerts_use_existing_metrics() {
    let used = metrics(ALERTS);
    assert!(used.len() >= 10, "{used:?}");
    for name in used {
        assert!(exists(name), "{name}");
    }
}

#[test]
fn grafana_dashboard_uses_every_metric() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut used = BTreeSet::new();
    for target in dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap())
    {
        let expression = target["expr"].as_str().unwrap();
        let names = metrics(expression);
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            assert!(exists(name), "{name} in {expression}");
            used.insert(name.trim_end_matches("_bucket").to_owned());
        }
    }
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(used, documented_metrics());
}

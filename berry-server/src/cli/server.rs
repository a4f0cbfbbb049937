//! The commands that query a running server.

use std::process::ExitCode;

use http::Method;
use serde_json::{Map, Value, json};

use super::{
    global::Global,
    output::{Cell, Fail, Output, Tone},
    remote::Remote,
};

/// `metrics`
pub(super) async fn metrics(global: &Global, detailed: bool, out: &Output) -> Result<ExitCode, Fail> {
    let value = Remote::new(global)?.request(Method::GET, &["metrics"], &[]).await?;
    out.value(&value);
    let status = text(&value["status"]);
    let up = value["uptime_seconds"].as_u64().unwrap_or_default();
    out.line(format_args!("{status}, up for {up} s\n"));
    let providers = value["providers"].as_object();
    let rows: Vec<Vec<Cell>> = entries(providers).map(provider).collect();
    out.table(&["provider", "state", "requests", "succeeded", "failed", "latency"], &rows);
    if detailed {
        let models = entries(providers).flat_map(|(id, value)| {
            entries(value["models"].as_object()).map(move |(name, value)| model(id, name, value))
        });
        out.line("");
        let head = ["provider", "model", "state", "requests", "errors", "breaker", "confidence", "in flight"];
        out.table(&head, &models.collect::<Vec<_>>());
    }
    let strategies = value["load_balancer"]["strategy_distribution"].as_object();
    let rows: Vec<_> = entries(strategies).map(|(name, picks)| vec![Cell::new(name), Cell::new(picks)]).collect();
    out.line("");
    out.table(&["strategy", "selections"], &rows);
    Ok(ExitCode::SUCCESS)
}

/// `metrics --live`: for the health checks of containers.
pub(super) async fn live(global: &Global, out: &Output) -> Result<ExitCode, Fail> {
    Remote::new(global)?.check_alive().await?;
    out.value(&json!({ "alive": true }));
    out.line("alive");
    Ok(ExitCode::SUCCESS)
}

fn provider((id, value): (&String, &Value)) -> Vec<Cell> {
    let latency = value["average_latency_ms"].as_f64().map(|ms| format!("{ms:.0} ms"));
    vec![
        Cell::new(id),
        health(&value["healthy"]),
        Cell::new(&value["total_requests"]),
        Cell::new(&value["successful_requests"]),
        Cell::new(&value["failed_requests"]),
        Cell::maybe(latency),
    ]
}

fn model(provider: &str, name: &str, value: &Value) -> Vec<Cell> {
    vec![
        Cell::new(provider),
        Cell::new(name),
        health(&value["healthy"]),
        Cell::new(&value["requests"]),
        Cell::new(&value["errors"]),
        Cell::new(text(&value["circuit"])),
        Cell::maybe(value["confidence"].as_f64().map(|confidence| format!("{confidence:.2}"))),
        Cell::new(&value["in_flight"]),
    ]
}

fn health(value: &Value) -> Cell {
    match value.as_bool() {
        Some(true) => Cell::tone("healthy", Tone::Good),
        Some(false) => Cell::tone("unhealthy", Tone::Bad),
        None => Cell::new("unused"),
    }
}

/// `explain`
pub(super) async fn explain(global: &Global, model: &str, user: Option<&str>, out: &Output) -> Result<ExitCode, Fail> {
    let query: Vec<_> =
        [("model", Some(model)), ("user", user)].into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
    let value = Remote::new(global)?.request(Method::GET, &["admin", "explain"], &query).await?;
    out.value(&value);
    out.line(format_args!("{} by {}\n", text(&value["model"]), text(&value["strategy"])));
    let candidates = value["candidates"].as_array().into_iter().flatten();
    let row = |value: &Value| {
        let is_in = value["in"].as_bool().unwrap_or_default();
        let share = value["probability"].as_f64().unwrap_or_default() * 100.0;
        let tone = if is_in { Tone::Good } else { Tone::Bad };
        vec![
            Cell::new(text(&value["provider"])),
            Cell::new(text(&value["model"])),
            Cell::tone(if is_in { "in" } else { "out" }, tone),
            Cell::new(format_args!("{share:.1} %")),
            Cell::new(&value["weight"]),
            Cell::maybe(value["effective_weight"].as_f64().map(|weight| format!("{weight:.3}"))),
            Cell::new(text(&value["state"])),
            Cell::new(text(&value["why"])),
        ]
    };
    let head = ["provider", "model", "choice", "chance", "weight", "effective", "state", "why"];
    out.table(&head, &candidates.map(row).collect::<Vec<_>>());
    Ok(ExitCode::SUCCESS)
}

/// `reload`
pub(super) async fn reload(global: &Global, out: &Output) -> Result<ExitCode, Fail> {
    let value = Remote::new(global)?.request(Method::POST, &["admin", "reload-config"], &[]).await?;
    out.value(&value);
    for warning in value["warnings"].as_array().into_iter().flatten() {
        out.warn(format_args!("warning: {}", finding(warning)));
    }
    let code = out.verdict(true, "Configuration is reloaded");
    let changes = changes(&value["changes"]);
    if changes.is_empty() {
        out.line("  - no changes");
    }
    for change in changes {
        out.line(format_args!("  - {change}"));
    }
    Ok(code)
}

/// Returns the changes of a reload as lines such as `users: added alice`.
fn changes(value: &Value) -> Vec<String> {
    let names = |list: &Value| {
        let names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        names.collect::<Vec<_>>().join(", ")
    };
    let mut lines = Vec::new();
    for (kind, what) in entries(value.as_object()) {
        let settings = what.is_array().then(|| ("changed", names(what)));
        let tables = ["added", "removed", "changed"].into_iter().map(|how| (how, names(&what[how])));
        let all = settings.into_iter().chain(tables).filter(|(_, names)| !names.is_empty());
        lines.extend(all.map(|(how, names)| format!("{kind}: {how} {names}")));
    }
    lines
}

/// Formats a finding about a configuration as `validate-config` does.
fn finding(value: &Value) -> String {
    let line = value["line"].as_u64().map(|line| format!("line {line}: ")).unwrap_or_default();
    format!("{line}{}: {}", text(&value["path"]), text(&value["message"]))
}

fn entries(map: Option<&Map<String, Value>>) -> impl Iterator<Item = (&String, &Value)> {
    map.into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("–")
}

//! The commands that ask a running server.

use std::process::ExitCode;

use http::Method;
use serde_json::{Map, Value, json};

use super::{
    Global,
    output::{Cell, Fail, Mood, Output},
    remote::Remote,
};

/// `metrics`
pub(super) async fn metrics(global: &Global, detailed: bool, out: &Output) -> Result<ExitCode, Fail> {
    let told = Remote::new(global)?.ask(Method::GET, &["metrics"], &[]).await?;
    out.value(&told);
    let status = text(&told["status"]);
    let up = told["uptime_seconds"].as_u64().unwrap_or_default();
    out.line(format_args!("{status}, for {up} s\n"));
    let providers = told["providers"].as_object();
    let rows: Vec<Vec<Cell>> = entries(providers).map(provider).collect();
    out.table(&["provider", "state", "requests", "well", "failed", "latency"], &rows);
    if detailed {
        let models = entries(providers)
            .flat_map(|(id, told)| entries(told["models"].as_object()).map(move |(name, told)| model(id, name, told)));
        out.line("");
        let head = ["provider", "model", "state", "requests", "errors", "breaker", "confidence", "in flight"];
        out.table(&head, &models.collect::<Vec<_>>());
    }
    let strategies = told["load_balancer"]["strategy_distribution"].as_object();
    let rows: Vec<_> = entries(strategies).map(|(name, picks)| vec![Cell::new(name), Cell::new(picks)]).collect();
    out.line("");
    out.table(&["strategy", "choices"], &rows);
    Ok(ExitCode::SUCCESS)
}

/// `metrics --live`: for the health checks of containers.
pub(super) async fn live(global: &Global, out: &Output) -> Result<ExitCode, Fail> {
    Remote::new(global)?.lives().await?;
    out.value(&json!({ "alive": true }));
    out.line("alive");
    Ok(ExitCode::SUCCESS)
}

fn provider((id, told): (&String, &Value)) -> Vec<Cell> {
    let latency = told["average_latency_ms"].as_f64().map(|ms| format!("{ms:.0} ms"));
    vec![
        Cell::new(id),
        health(&told["healthy"]),
        Cell::new(&told["total_requests"]),
        Cell::new(&told["successful_requests"]),
        Cell::new(&told["failed_requests"]),
        Cell::maybe(latency),
    ]
}

fn model(provider: &str, name: &str, told: &Value) -> Vec<Cell> {
    vec![
        Cell::new(provider),
        Cell::new(name),
        health(&told["healthy"]),
        Cell::new(&told["requests"]),
        Cell::new(&told["errors"]),
        Cell::new(text(&told["circuit"])),
        Cell::maybe(told["confidence"].as_f64().map(|confidence| format!("{confidence:.2}"))),
        Cell::new(&told["in_flight"]),
    ]
}

fn health(told: &Value) -> Cell {
    match told.as_bool() {
        Some(true) => Cell::mood("healthy", Mood::Good),
        Some(false) => Cell::mood("unhealthy", Mood::Bad),
        None => Cell::new("unused"),
    }
}

/// `explain`
pub(super) async fn explain(global: &Global, model: &str, user: Option<&str>, out: &Output) -> Result<ExitCode, Fail> {
    let query: Vec<_> =
        [("model", Some(model)), ("user", user)].into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
    let told = Remote::new(global)?.ask(Method::GET, &["admin", "explain"], &query).await?;
    out.value(&told);
    out.line(format_args!("{} by {}\n", text(&told["model"]), text(&told["strategy"])));
    let candidates = told["candidates"].as_array().into_iter().flatten();
    let row = |told: &Value| {
        let is_in = told["in"].as_bool().unwrap_or_default();
        let share = told["probability"].as_f64().unwrap_or_default() * 100.0;
        let mood = if is_in { Mood::Good } else { Mood::Bad };
        vec![
            Cell::new(text(&told["provider"])),
            Cell::new(text(&told["model"])),
            Cell::mood(if is_in { "in" } else { "out" }, mood),
            Cell::new(format_args!("{share:.1} %")),
            Cell::new(&told["weight"]),
            Cell::maybe(told["effective_weight"].as_f64().map(|weight| format!("{weight:.3}"))),
            Cell::new(text(&told["state"])),
            Cell::new(text(&told["why"])),
        ]
    };
    let head = ["provider", "model", "choice", "chance", "weight", "effective", "state", "why"];
    out.table(&head, &candidates.map(row).collect::<Vec<_>>());
    Ok(ExitCode::SUCCESS)
}

/// `reload`
pub(super) async fn reload(global: &Global, out: &Output) -> Result<ExitCode, Fail> {
    let told = Remote::new(global)?.ask(Method::POST, &["admin", "reload-config"], &[]).await?;
    out.value(&told);
    for warning in told["warnings"].as_array().into_iter().flatten() {
        out.warn(format_args!("warning: {}", finding(warning)));
    }
    let code = out.verdict(true, "Configuration is reloaded");
    let changes = changes(&told["changes"]);
    if changes.is_empty() {
        out.line("  - nothing has changed");
    }
    for change in changes {
        out.line(format_args!("  - {change}"));
    }
    Ok(code)
}

/// What a reload has changed, each as a line such as `users: added alice`.
fn changes(told: &Value) -> Vec<String> {
    let names = |list: &Value| {
        let names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        names.collect::<Vec<_>>().join(", ")
    };
    let mut lines = Vec::new();
    for (kind, what) in entries(told.as_object()) {
        let settings = what.is_array().then(|| ("changed", names(what)));
        let tables = ["added", "removed", "changed"].into_iter().map(|how| (how, names(&what[how])));
        let all = settings.into_iter().chain(tables).filter(|(_, names)| !names.is_empty());
        lines.extend(all.map(|(how, names)| format!("{kind}: {how} {names}")));
    }
    lines
}

/// A finding about a configuration, as a load prints it.
fn finding(told: &Value) -> String {
    let line = told["line"].as_u64().map(|line| format!("line {line}: ")).unwrap_or_default();
    format!("{line}{}: {}", text(&told["path"]), text(&told["message"]))
}

fn entries(map: Option<&Map<String, Value>>) -> impl Iterator<Item = (&String, &Value)> {
    map.into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("–")
}

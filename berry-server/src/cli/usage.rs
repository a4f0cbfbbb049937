//! The command that shows what was spent.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::{
    global::Global,
    output::{Cell, Fail, Output},
    remote::Remote,
};

/// The columns of sums, with their heads.
const SUMS: [(&str, &str); 9] = [
    ("requests", "requests"),
    ("failed", "failed"),
    ("input_tokens", "input"),
    ("cached_tokens", "cached"),
    ("cache_write_tokens", "cache writes"),
    ("output_tokens", "output"),
    ("reasoning_tokens", "reasoning"),
    ("cost", "cost $"),
    ("wasted_cost", "wasted $"),
];

/// The options of `usage`.
#[derive(Args, Clone, Debug)]
pub(super) struct UsageArgs {
    /// From this time on: RFC 3339, or a date in UTC [default: the beginning of the month].
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this time [default: now].
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// What the sums are kept apart by: user, team, key, model, backend, day, separated by commas.
    #[arg(long, value_name = "LIST", default_value = "user,model")]
    by: String,
    /// Only this user.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only this team.
    #[arg(long, value_name = "ID")]
    team: Option<String>,
    /// Only this key.
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only this model, by its public name.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Print CSV.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// `usage`
pub(super) async fn usage(global: &Global, args: &UsageArgs, out: &Output) -> Result<ExitCode, Fail> {
    let given = [
        ("from", args.from.as_deref()),
        ("to", args.to.as_deref()),
        ("by", Some(args.by.as_str())),
        ("user", args.user.as_deref()),
        ("team", args.team.as_deref()),
        ("key", args.key.as_deref()),
        ("model", args.model.as_deref()),
    ];
    let mut query: Vec<_> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let remote = Remote::new(global)?;
    if args.csv {
        query.push(("format", "csv"));
        out.line(remote.text(&["admin", "usage"], &query).await?.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let value = remote.request(Method::GET, &["admin", "usage"], &query).await?;
    out.value(&value);
    let by: Vec<&str> = value["by"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let head: Vec<&str> = by.iter().copied().chain(SUMS.map(|(_, head)| head)).collect();
    let sums = |of: &Value| SUMS.map(|(name, _)| Cell::new(plain(&of[name])));
    let rows = value["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| by.iter().map(|by| Cell::maybe(entry[by].as_str())).chain(sums(entry)).collect::<Vec<_>>());
    let mut rows: Vec<_> = rows.collect();
    let names = by.iter().enumerate().map(|(index, _)| Cell::new(if index == 0 { "total" } else { "" }));
    rows.push(names.chain(sums(&value["total"])).collect());
    out.line(format_args!("from {} to {}\n", plain(&value["from"]), plain(&value["to"])));
    out.table(&head, &rows);
    Ok(ExitCode::SUCCESS)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

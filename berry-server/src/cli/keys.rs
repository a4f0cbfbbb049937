//! The commands that change keys, users and teams of a running server.

use std::process::ExitCode;

use clap::{ArgGroup, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    global::Global,
    output::{Cell, Fail, Output, Tone},
    remote::Remote,
    values::{Values, expiry, period},
};

/// The commands under `key`.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and print it, once.
    #[command(group = ArgGroup::new("owner").required(true).args(["user", "team"]))]
    Create {
        /// The user that it belongs to.
        #[arg(long, value_name = "ID")]
        user: Option<String>,
        /// The team that it belongs to.
        #[arg(long, value_name = "ID")]
        team: Option<String>,
        #[command(flatten)]
        values: Values,
        /// From when on it is refused: a time (RFC 3339), or a period such as `30d`, `12h`, `45m`.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// List keys, without their secrets.
    List {
        /// Only keys of this user.
        #[arg(long, value_name = "ID")]
        user: Option<String>,
        /// Only keys of this team.
        #[arg(long, value_name = "ID")]
        team: Option<String>,
        /// Include revoked keys.
        #[arg(long)]
        revoked: bool,
    },
    /// Show a key, without its secret.
    Show {
        /// The key's id.
        id: String,
    },
    /// Change what is given; the rest stays.
    Update {
        /// The key's id.
        id: String,
        #[command(flatten)]
        values: Values,
        /// From when on it is refused: a time (RFC 3339), a period such as `30d`, or `never`.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// Refuse a key until it is enabled again.
    Disable {
        /// The key's id.
        id: String,
    },
    /// Accept a key that was disabled.
    Enable {
        /// The key's id.
        id: String,
    },
    /// Give a key another secret and print it, once.
    Rotate {
        /// The key's id.
        id: String,
        /// How long the secret before stays valid, such as `24h`.
        #[arg(long, value_name = "PERIOD", default_value = "0s")]
        grace: String,
    },
    /// Refuse a key for ever.
    Revoke {
        /// The key's id.
        id: String,
    },
}

/// The commands under `user` and `team`.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum OwnerCommand {
    /// Make one.
    Create {
        /// The id: letters, digits, `-`, `_`, `.`, `@`.
        id: String,
        /// The team that it is in.
        #[arg(long, value_name = "ID")]
        team: Option<String>,
        #[command(flatten)]
        values: Values,
    },
    /// List all, with those of the file.
    List,
    /// Show one.
    Show {
        /// The id.
        id: String,
    },
    /// Change what is given; the rest stays.
    Update {
        /// The id.
        id: String,
        /// The team that it is in; empty for none.
        #[arg(long, value_name = "ID")]
        team: Option<String>,
        #[command(flatten)]
        values: Values,
    },
    /// Refuse all its keys until it is enabled again.
    Disable {
        /// The id.
        id: String,
    },
    /// Accept the keys of one that was disabled.
    Enable {
        /// The id.
        id: String,
    },
    /// Delete one. The keys of a user are revoked; a team must be empty.
    Delete {
        /// The id.
        id: String,
    },
}

/// `key …`
pub(super) async fn key(global: &Global, command: &KeyCommand, out: &Output) -> Result<ExitCode, Fail> {
    let remote = Remote::new(global)?;
    let change =
        async |id: &str, members: Value| remote.send(Method::PATCH, &["admin", "keys", id], &[], Some(&members)).await;
    match command {
        KeyCommand::Create { user, team, values, expires } => {
            let mut members = values.members()?;
            for (name, value) in [("user", user), ("team", team)] {
                if let Some(value) = value {
                    members.insert(name.to_owned(), json!(value));
                }
            }
            if let Some(expires) = expires {
                members.insert("expires_at".to_owned(), json!(expiry(expires)?));
            }
            let made = remote.send(Method::POST, &["admin", "keys"], &[], Some(&Value::Object(members))).await?;
            Ok(secret(&made, out))
        }
        KeyCommand::List { user, team, revoked } => {
            let keys = all_keys(&remote, user.as_deref(), team.as_deref(), *revoked).await?;
            out.value(&json!({ "data": keys }));
            let head = ["id", "key", "name", "owner", "state", "expires", "models", "limits"];
            out.table(&head, &keys.iter().map(row).collect::<Vec<_>>());
            Ok(ExitCode::SUCCESS)
        }
        KeyCommand::Show { id } => {
            let key = remote.request(Method::GET, &["admin", "keys", id], &[]).await?;
            Ok(shown(&key, out))
        }
        KeyCommand::Update { id, values, expires } => {
            let mut members = values.members()?;
            if let Some(expires) = expires {
                let at = if expires == "never" { Value::Null } else { json!(expiry(expires)?) };
                members.insert("expires_at".to_owned(), at);
            }
            Ok(shown(&change(id, Value::Object(members)).await?, out))
        }
        KeyCommand::Disable { id } => Ok(shown(&change(id, json!({ "enabled": false })).await?, out)),
        KeyCommand::Enable { id } => Ok(shown(&change(id, json!({ "enabled": true })).await?, out)),
        KeyCommand::Rotate { id, grace } => {
            let seconds = period(grace).ok_or_else(|| Fail::new(format!("`{grace}` is no period such as `24h`")))?;
            let body = json!({ "grace_seconds": seconds });
            let made = remote.send(Method::POST, &["admin", "keys", id, "rotate"], &[], Some(&body)).await?;
            Ok(secret(&made, out))
        }
        KeyCommand::Revoke { id } => {
            let key = remote.send(Method::DELETE, &["admin", "keys", id], &[], None).await?;
            Ok(shown(&key, out))
        }
    }
}

/// Returns all pages of the list.
async fn all_keys(remote: &Remote, user: Option<&str>, team: Option<&str>, revoked: bool) -> Result<Vec<Value>, Fail> {
    let (mut keys, mut after) = (Vec::new(), String::new());
    loop {
        let given = [("user", user), ("team", team), ("revoked", revoked.then_some("true")), ("after", Some(&*after))];
        let mut query: Vec<_> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        query.push(("limit", "1000"));
        let page = remote.request(Method::GET, &["admin", "keys"], &query).await?;
        keys.extend(page["data"].as_array().into_iter().flatten().cloned());
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return Ok(keys),
        }
    }
}

/// `user …` and `team …`; `kind` is the plural.
pub(super) async fn owner(
    global: &Global,
    kind: &'static str,
    command: &OwnerCommand,
    out: &Output,
) -> Result<ExitCode, Fail> {
    let remote = Remote::new(global)?;
    // A team's team is its parent.
    let above = if kind == "teams" { "parent" } else { "team" };
    let change =
        async |id: &str, members: Value| remote.send(Method::PATCH, &["admin", kind, id], &[], Some(&members)).await;
    let one = match command {
        OwnerCommand::Create { id, team, values } => {
            let mut members = values.members()?;
            members.insert("id".to_owned(), json!(id));
            if let Some(team) = team {
                members.insert(above.to_owned(), json!(team));
            }
            remote.send(Method::POST, &["admin", kind], &[], Some(&Value::Object(members))).await?
        }
        OwnerCommand::List => {
            let all = remote.request(Method::GET, &["admin", kind], &[]).await?;
            out.value(&all);
            let rows = all["data"].as_array().into_iter().flatten().map(|one| owner_row(one, above));
            out.table(&["id", "name", above, "state", "models", "limits", "source"], &rows.collect::<Vec<_>>());
            return Ok(ExitCode::SUCCESS);
        }
        OwnerCommand::Show { id } => remote.request(Method::GET, &["admin", kind, id], &[]).await?,
        OwnerCommand::Update { id, team, values } => {
            let mut members = values.members()?;
            if let Some(team) = team {
                members.insert(above.to_owned(), if team.is_empty() { Value::Null } else { json!(team) });
            }
            change(id, Value::Object(members)).await?
        }
        OwnerCommand::Disable { id } => change(id, json!({ "enabled": false })).await?,
        OwnerCommand::Enable { id } => change(id, json!({ "enabled": true })).await?,
        OwnerCommand::Delete { id } => remote.send(Method::DELETE, &["admin", kind, id], &[], None).await?,
    };
    Ok(shown(&one, out))
}

/// Prints a key with its secret.
fn secret(made: &Value, out: &Output) -> ExitCode {
    out.value(made);
    out.line(made["key"].as_str().unwrap_or_default());
    out.warn(format_args!("id {}; the key is not shown again", made["id"].as_str().unwrap_or_default()));
    ExitCode::SUCCESS
}

/// Prints all members of one.
fn shown(one: &Value, out: &Output) -> ExitCode {
    out.value(one);
    let members = one.as_object().into_iter().flatten();
    let rows: Vec<_> = members.map(|(name, value)| vec![Cell::new(name), Cell::new(plain(value))]).collect();
    out.table(&["", ""], &rows);
    ExitCode::SUCCESS
}

/// Formats a value for people.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "–".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(members) if members.is_empty() => "–".to_owned(),
        Value::Object(members) => {
            let mut settings = Vec::new();
            flatten("", members, &mut settings);
            settings.join(" ")
        }
        other => other.to_string(),
    }
}

/// Writes nested members as `--limit` takes them: `models.fast.requests_per_minute=30`.
fn flatten(prefix: &str, members: &Map<String, Value>, settings: &mut Vec<String>) {
    for (name, value) in members {
        match value {
            Value::Object(inner) => flatten(&format!("{prefix}{name}."), inner, settings),
            value => settings.push(format!("{prefix}{name}={}", plain(value))),
        }
    }
}

fn state(one: &Value) -> Cell {
    if !one["revoked_at"].is_null() {
        return Cell::tone("revoked", Tone::Bad);
    }
    match one["enabled"].as_bool() {
        Some(true) => Cell::tone("enabled", Tone::Good),
        _ => Cell::tone("disabled", Tone::Doubtful),
    }
}

fn row(key: &Value) -> Vec<Cell> {
    let owner = match key["user"].as_str() {
        Some(user) => user.to_owned(),
        None => format!("team {}", plain(&key["team"])),
    };
    vec![
        Cell::new(plain(&key["id"])),
        Cell::new(plain(&key["hint"])),
        Cell::new(plain(&key["name"])),
        Cell::new(owner),
        state(key),
        Cell::new(plain(&key["expires_at"])),
        Cell::new(plain(&key["models"])),
        Cell::new(plain(&key["limits"])),
    ]
}

fn owner_row(one: &Value, above: &str) -> Vec<Cell> {
    vec![
        Cell::new(plain(&one["id"])),
        Cell::new(plain(&one["name"])),
        Cell::new(plain(&one[above])),
        state(one),
        Cell::new(plain(&one["models"])),
        Cell::new(plain(&one["limits"])),
        Cell::new(plain(&one["source"])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_limits_as_they_are_given() {
        let limits = json!({ "cost_per_day": "5.00", "models": { "fast": { "requests_per_minute": 30 } } });
        assert_eq!(plain(&limits), "cost_per_day=5.00 models.fast.requests_per_minute=30");
        assert_eq!(plain(&json!({})), "–");
        assert_eq!(plain(&json!(["fast", "slow"])), "fast, slow");
    }
}

//! Keys, users and teams as the database has them, and as the API shows them.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::limits::Limits;
use crate::database::Row;

/// The columns of a key, in the order that [`KeyRecord::of`] reads them.
pub(super) const KEY: &str = "k.id, k.hint, k.name, k.user_id, k.team_id, k.tags, k.models, k.limits, k.enabled, \
                              k.created_at, k.expires_at, k.revoked_at, k.version";
pub(super) const USER: &str = "id, name, team, tags, models, limits, enabled, created_at, deleted, version";
pub(super) const TEAM: &str = "id, name, parent, models, limits, enabled, created_at, deleted, version";

/// A key, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Keys::Key)]
pub(crate) struct KeyRecord {
    /// The id, which commands and the ledger name.
    pub(crate) id: String,
    /// The first and the last characters of the key.
    pub(crate) hint: String,
    /// A label for people.
    pub(crate) name: String,
    /// The user that it belongs to.
    pub(crate) user: Option<String>,
    /// The team that it belongs to, if it belongs to no user.
    pub(crate) team: Option<String>,
    /// Its tags; empty for those of its user.
    pub(crate) tags: Vec<String>,
    /// Names or ids of the models that it may use, among those of its owner; empty for all of these.
    pub(crate) models: Vec<String>,
    /// Its limits, beside those of its owner.
    #[schema(value_type = Limits)]
    pub(crate) limits: Json,
    /// Whether it is accepted.
    pub(crate) enabled: bool,
    /// When it was made.
    pub(crate) created_at: String,
    /// From when on it is refused.
    pub(crate) expires_at: Option<String>,
    /// When it was revoked.
    pub(crate) revoked_at: Option<String>,
    #[serde(skip)]
    pub(crate) version: i64,
}

impl KeyRecord {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            id: row.text(0).to_owned(),
            hint: row.text(1).to_owned(),
            name: row.text(2).to_owned(),
            user: row.maybe_text(3).map(str::to_owned),
            team: row.maybe_text(4).map(str::to_owned),
            tags: list(row.text(5)),
            models: list(row.text(6)),
            limits: object(row.text(7)),
            enabled: row.integer(8) != 0,
            created_at: time(row.integer(9)),
            expires_at: row.maybe_integer(10).map(time),
            revoked_at: row.maybe_integer(11).map(time),
            version: row.integer(12),
        }
    }
}

/// A user.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Keys::User)]
pub(crate) struct UserRecord {
    /// The id.
    pub(crate) id: String,
    /// A label for people.
    pub(crate) name: String,
    /// The user's team.
    pub(crate) team: Option<String>,
    /// The tags, which open backends and `/admin/*`.
    pub(crate) tags: Vec<String>,
    /// Names or ids of the models that the user may use; empty for all.
    pub(crate) models: Vec<String>,
    /// The limits of all keys of the user together; empty for users of the file, which has them.
    #[schema(value_type = Limits)]
    pub(crate) limits: Json,
    /// Whether the user's keys are accepted.
    pub(crate) enabled: bool,
    /// When the user was made; null for users of the file.
    pub(crate) created_at: Option<String>,
    /// `file` or `database`.
    pub(crate) source: &'static str,
    #[serde(skip)]
    pub(crate) is_deleted: bool,
    #[serde(skip)]
    pub(crate) version: i64,
}

impl UserRecord {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            id: row.text(0).to_owned(),
            name: row.text(1).to_owned(),
            team: row.maybe_text(2).map(str::to_owned),
            tags: list(row.text(3)),
            models: list(row.text(4)),
            limits: object(row.text(5)),
            enabled: row.integer(6) != 0,
            created_at: Some(time(row.integer(7))),
            source: "database",
            is_deleted: row.integer(8) != 0,
            version: row.integer(9),
        }
    }
}

/// A team.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Keys::Team)]
pub(crate) struct TeamRecord {
    /// The id.
    pub(crate) id: String,
    /// A label for people.
    pub(crate) name: String,
    /// The team that it is a part of.
    pub(crate) parent: Option<String>,
    /// Names or ids of the models that its members may use; empty for all.
    pub(crate) models: Vec<String>,
    /// The limits of all members together; empty for teams of the file, which has them.
    #[schema(value_type = Limits)]
    pub(crate) limits: Json,
    /// Whether the keys of its members are accepted.
    pub(crate) enabled: bool,
    /// When the team was made; null for teams of the file.
    pub(crate) created_at: Option<String>,
    /// `file` or `database`.
    pub(crate) source: &'static str,
    #[serde(skip)]
    pub(crate) is_deleted: bool,
    #[serde(skip)]
    pub(crate) version: i64,
}

impl TeamRecord {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            id: row.text(0).to_owned(),
            name: row.text(1).to_owned(),
            parent: row.maybe_text(2).map(str::to_owned),
            models: list(row.text(3)),
            limits: object(row.text(4)),
            enabled: row.integer(5) != 0,
            created_at: Some(time(row.integer(6))),
            source: "database",
            is_deleted: row.integer(7) != 0,
            version: row.integer(8),
        }
    }
}

/// Reads a list of strings.
fn list(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_default()
}

fn object(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|_| Json::Object(serde_json::Map::new()))
}

/// Writes a list of strings.
pub(super) fn json(list: &[String]) -> String {
    serde_json::to_string(list).unwrap_or_else(|_| "[]".to_owned())
}

/// Formats milliseconds since 1970 as RFC 3339.
pub(super) fn time(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

/// Returns the milliseconds since 1970.
pub(super) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

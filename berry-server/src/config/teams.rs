//! Reads `[teams.<id>]`.

use super::{limits, limits::Limits, reader::Table};

/// `[teams.<id>]`
#[derive(Debug, Clone, PartialEq)]
pub struct Team {
    /// A label for humans; the table's id when the file gives none.
    pub name: String,
    /// The id of the team that this one is a part of.
    pub parent: Option<String>,
    /// Public names or table ids of the models that its members may call; empty = all.
    pub models: Vec<String>,
    /// The members of a disabled team are refused.
    pub enabled: bool,
    /// The limits of all members together.
    pub limits: Limits,
}

pub(super) fn read(id: &str, mut t: Table<'_>) -> Team {
    let mut team = Team {
        name: t.string("name").unwrap_or_else(|| id.to_owned()),
        parent: t.string("parent"),
        models: t.strings("models", |_| None),
        enabled: true,
        limits: limits::read(t.table("limits", "users.*.limits")),
    };
    t.flag("enabled", &mut team.enabled);
    t.finish();
    team
}

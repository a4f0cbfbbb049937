//! Changes of keys, users and teams. Each is one transaction, acknowledged after its commit, and in force on this replica
//! when the caller has the response.

mod keys;
mod teams;
mod users;

use serde_json::Value as Json;

pub(crate) use self::{
    keys::{KeyChange, KeyFilter, NewKey},
    teams::{NewTeam, TeamChange},
    users::{NewUser, UserChange},
};
use super::{Directory, limits, people};
use crate::database::{DatabaseError, Statement};

/// Takes the number of a change. The row's lock lets changes commit in the order of their numbers.
const NEXT: &str = "UPDATE berry_state SET value = value + 1 WHERE name = 'version'";
/// The number that [`NEXT`] has taken in the same transaction.
const VERSION: &str = "(SELECT value FROM berry_state WHERE name = 'version')";
/// The longest id of a user or team, and the longest name, in characters.
const MAX_ID: usize = 128;

/// Why a change was refused.
#[derive(Debug)]
pub(crate) enum ChangeError {
    /// There is no such key, user or team.
    NotFound,
    /// It contradicts what is there, with the reason.
    Conflict(String),
    /// A value is wrong: its name, and the rule.
    Invalid(&'static str, String),
    /// The database does not answer.
    Unavailable,
}

impl From<DatabaseError> for ChangeError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Conflict => Self::Conflict("it was changed at the same time; try again".to_owned()),
            DatabaseError::Unavailable(_) | DatabaseError::Failed(_) => Self::Unavailable,
        }
    }
}

/// Those whose limits and models hold for someone, too.
#[derive(Clone, Copy, Default)]
struct Owner<'a> {
    user: Option<&'a str>,
    team: Option<&'a str>,
}

type Result<T> = std::result::Result<T, ChangeError>;

impl Directory {
    fn check_team(&self, param: &'static str, id: &str) -> Result<()> {
        let message = || format!("there is no team `{id}`; make it first, or name one of the file");
        self.team(id).map(drop).map_err(|_| ChangeError::Invalid(param, message()))
    }

    /// Checks limits of someone within an owner, who may call `models` alone, and writes them as the database has them.
    fn checked_limits(&self, given: Option<Json>, models: &[String], owner: Owner<'_>) -> Result<String> {
        let Some(json) = given else { return Ok("{}".to_owned()) };
        let refuse = |message| ChangeError::Invalid("limits", message);
        let limits = limits::parse(&json).map_err(refuse)?;
        let people = self.inner().people.load();
        let mut lists = people.narrowing(owner.user, owner.team);
        lists.extend(people::models(models));
        people.check_limits(&limits, &lists).map_err(refuse)?;
        Ok(json.to_string())
    }

    /// Commits a change and puts it into force.
    async fn change(&self, mut statements: Vec<Statement>) -> Result<()> {
        statements.insert(0, Statement::new(NEXT, Vec::new()).expecting(1));
        self.database().transaction(statements).await?;
        self.inner().fleet.announce_keys();
        // It is committed: if reading it fails, the next round reads it.
        let _ = self.refresh().await;
        Ok(())
    }
}

fn invalid(param: &'static str, message: &str) -> ChangeError {
    ChangeError::Invalid(param, message.to_owned())
}

fn of_the_file(kind: &str, id: &str) -> ChangeError {
    ChangeError::Conflict(format!("the {kind} `{id}` is in the configuration file; change it there"))
}

fn checked_id(id: &str) -> Result<String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if (1..=MAX_ID).contains(&id.len()) && id.chars().all(is_good) {
        return Ok(id.to_owned());
    }
    Err(invalid("id", "an id has 1 to 128 letters, digits, `-`, `_`, `.` or `@`"))
}

fn checked_name(name: &str) -> Result<String> {
    if name.chars().count() <= MAX_ID && !name.chars().any(char::is_control) {
        return Ok(name.to_owned());
    }
    Err(invalid("name", "a name has at most 128 characters and no control characters"))
}

fn checked_tags(tags: &[String]) -> Result<Vec<String>> {
    if tags.iter().any(|tag| tag.is_empty() || tag.contains(|c: char| c.is_whitespace() || c.is_control())) {
        return Err(invalid("tags", "a tag must not be empty nor hold spaces or control characters"));
    }
    Ok(tags.to_vec())
}

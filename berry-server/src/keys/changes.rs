//! Changes of keys, users and teams. Each is one transaction, acknowledged after its commit, and in force on this replica
//! when the caller has the response.

use jiff::Timestamp;
use serde_json::Value as Json;

use super::{
    Directory, limits,
    records::{KEY, KeyRecord, TeamRecord, UserRecord, json, now},
    token::{self, Token},
};
use crate::database::{DatabaseError, Statement, Value};

/// Takes the number of a change. The row's lock lets changes commit in the order of their numbers.
const NEXT: &str = "UPDATE berry_state SET value = value + 1 WHERE name = 'version'";
/// The number that [`NEXT`] has taken in the same transaction.
const VERSION: &str = "(SELECT value FROM berry_state WHERE name = 'version')";
/// How often a change is tried again that another replica has overtaken.
const TRIES: usize = 5;
/// The longest id of a user or team, and the longest name, in bytes.
const MAX_ID: usize = 128;
/// How long a replaced token is kept after its end, for replicas that were away.
const KEEP_TOKENS_MS: i64 = 24 * 3_600_000;

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

type Result<T> = std::result::Result<T, ChangeError>;

/// A key to be made.
#[derive(Debug, Default)]
pub(crate) struct NewKey {
    pub(crate) user: Option<String>,
    pub(crate) team: Option<String>,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) models: Vec<String>,
    pub(crate) limits: Option<Json>,
    pub(crate) expires_at: Option<String>,
}

/// New values of a key; what is absent stays.
#[derive(Debug, Default)]
pub(crate) struct KeyChange {
    pub(crate) name: Option<String>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) models: Option<Vec<String>>,
    pub(crate) limits: Option<Json>,
    /// `Some(None)` removes the expiry.
    pub(crate) expires_at: Option<Option<String>>,
    pub(crate) enabled: Option<bool>,
}

/// Which keys a list has.
#[derive(Debug, Default)]
pub(crate) struct KeyFilter {
    pub(crate) user: Option<String>,
    pub(crate) team: Option<String>,
    pub(crate) with_revoked: bool,
    /// The id after which the list begins.
    pub(crate) after: String,
    pub(crate) limit: u32,
}

/// A user to be made.
#[derive(Debug, Default)]
pub(crate) struct NewUser {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) team: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) models: Vec<String>,
    pub(crate) limits: Option<Json>,
}

/// New values of a user; what is absent stays.
#[derive(Debug, Default)]
pub(crate) struct UserChange {
    pub(crate) name: Option<String>,
    /// `Some(None)` takes the user out of its team.
    pub(crate) team: Option<Option<String>>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) models: Option<Vec<String>>,
    pub(crate) limits: Option<Json>,
    pub(crate) enabled: Option<bool>,
}

/// A team to be made.
#[derive(Debug, Default)]
pub(crate) struct NewTeam {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) parent: Option<String>,
    pub(crate) models: Vec<String>,
    pub(crate) limits: Option<Json>,
}

/// New values of a team; what is absent stays.
#[derive(Debug, Default)]
pub(crate) struct TeamChange {
    pub(crate) name: Option<String>,
    /// `Some(None)` takes the team out of its parent.
    pub(crate) parent: Option<Option<String>>,
    pub(crate) models: Option<Vec<String>>,
    pub(crate) limits: Option<Json>,
    pub(crate) enabled: Option<bool>,
}

impl Directory {
    /// Makes a key. Its text is in the result alone.
    pub(crate) async fn create_key(&self, new: NewKey) -> Result<(Token, KeyRecord)> {
        self.refresh().await?;
        match (&new.user, &new.team) {
            (Some(user), None) => self.check_user("user", user)?,
            (None, Some(team)) => self.check_team("team", team)?,
            _ => return Err(invalid("user", "a key belongs to a user or to a team; give one of the two")),
        }
        let (token, id) = (Token::random(), token::id("key_"));
        let insert = format!(
            "INSERT INTO berry_keys (id, hint, name, user_id, team_id, tags, models, limits, enabled, created_at, \
             expires_at, revoked_at, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, NULL, {VERSION})"
        );
        let params = vec![
            id.as_str().into(),
            token.hint().into(),
            checked_name(&new.name)?.into(),
            new.user.into(),
            new.team.into(),
            json(&checked_tags(&new.tags)?).into(),
            json(&new.models).into(),
            checked_limits(new.limits)?.into(),
            now().into(),
            new.expires_at.as_deref().map(expiry).transpose()?.into(),
        ];
        self.change(vec![Statement::new(insert, params), token_of(&token, &id)]).await?;
        Ok((token, self.key(&id).await?))
    }

    /// Returns a key.
    pub(crate) async fn key(&self, id: &str) -> Result<KeyRecord> {
        let sql = format!("SELECT {KEY} FROM berry_keys k WHERE k.id = $1");
        let rows = self.database().query(sql, vec![id.into()]).await?;
        rows.first().map(KeyRecord::of).ok_or(ChangeError::NotFound)
    }

    /// Returns a page of keys, by id.
    pub(crate) async fn keys(&self, filter: KeyFilter) -> Result<Vec<KeyRecord>> {
        let mut sql = format!("SELECT {KEY} FROM berry_keys k WHERE k.id > $1");
        let mut params: Vec<Value> = vec![filter.after.into()];
        for (column, value) in [("user_id", filter.user), ("team_id", filter.team)] {
            if let Some(value) = value {
                params.push(value.into());
                sql.push_str(&format!(" AND k.{column} = ${}", params.len()));
            }
        }
        if !filter.with_revoked {
            sql.push_str(" AND k.revoked_at IS NULL");
        }
        sql.push_str(&format!(" ORDER BY k.id LIMIT {}", filter.limit));
        Ok(self.database().query(sql, params).await?.iter().map(KeyRecord::of).collect())
    }

    /// Changes a key.
    pub(crate) async fn update_key(&self, id: &str, change: &KeyChange) -> Result<KeyRecord> {
        for _ in 0..TRIES {
            let before = self.key(id).await?;
            if before.revoked_at.is_some() {
                return Err(revoked());
            }
            let expires_at = match &change.expires_at {
                Some(at) => at.as_deref().map(expiry).transpose()?,
                None => before.expires_at.as_deref().map(expiry).transpose()?,
            };
            let update = format!(
                "UPDATE berry_keys SET name = $1, tags = $2, models = $3, limits = $4, expires_at = $5, enabled = $6, \
                 version = {VERSION} WHERE id = $7 AND version = $8"
            );
            let params = vec![
                checked_name(change.name.as_deref().unwrap_or(&before.name))?.into(),
                json(&checked_tags(change.tags.as_deref().unwrap_or(&before.tags))?).into(),
                json(change.models.as_deref().unwrap_or(&before.models)).into(),
                checked_limits(change.limits.clone().or(Some(before.limits)))?.into(),
                expires_at.into(),
                change.enabled.unwrap_or(before.enabled).into(),
                id.into(),
                before.version.into(),
            ];
            match self.change(vec![Statement::new(update, params).expecting(1)]).await {
                Err(ChangeError::Conflict(_)) => {}
                Err(error) => return Err(error),
                Ok(()) => return self.key(id).await,
            }
        }
        Err(DatabaseError::Conflict.into())
    }

    /// Gives a key another token. The one before stays valid for `grace_ms`.
    pub(crate) async fn rotate_key(&self, id: &str, grace_ms: i64) -> Result<(Token, KeyRecord)> {
        if self.key(id).await?.revoked_at.is_some() {
            return Err(revoked());
        }
        let (token, now) = (Token::random(), now());
        let update =
            format!("UPDATE berry_keys SET hint = $1, version = {VERSION} WHERE id = $2 AND revoked_at IS NULL");
        let until = now.saturating_add(grace_ms);
        let statements = vec![
            Statement::new(update, vec![token.hint().into(), id.into()]).expecting(1),
            Statement::new(
                "UPDATE berry_tokens SET expires_at = $1 WHERE key_id = $2 AND (expires_at IS NULL OR expires_at > $3)",
                vec![until.into(), id.into(), until.into()],
            ),
            Statement::new(
                "DELETE FROM berry_tokens WHERE key_id = $1 AND expires_at < $2",
                vec![id.into(), (now - KEEP_TOKENS_MS).into()],
            ),
            token_of(&token, id),
        ];
        self.change(statements).await?;
        Ok((token, self.key(id).await?))
    }

    /// Revokes a key for ever. A key that was revoked before stays as it is.
    pub(crate) async fn revoke_key(&self, id: &str) -> Result<KeyRecord> {
        self.key(id).await?;
        let update =
            format!("UPDATE berry_keys SET revoked_at = $1, version = {VERSION} WHERE id = $2 AND revoked_at IS NULL");
        self.change(vec![Statement::new(update, vec![now().into(), id.into()])]).await?;
        self.key(id).await
    }

    /// Makes a user.
    pub(crate) async fn create_user(&self, new: NewUser) -> Result<UserRecord> {
        self.refresh().await?;
        let id = checked_id(&new.id)?;
        if self.inner().people.load().user(&id).is_some() {
            return Err(ChangeError::Conflict(format!("there is a user `{id}`")));
        }
        if let Some(team) = &new.team {
            self.check_team("team", team)?;
        }
        // One that was deleted may be made again.
        let insert = format!(
            "INSERT INTO berry_users (id, name, team, tags, models, limits, enabled, created_at, deleted, version) \
             VALUES ($1, $2, $3, $4, $5, $6, 1, $7, 0, {VERSION}) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
             team = excluded.team, tags = excluded.tags, models = excluded.models, limits = excluded.limits, enabled = 1, \
             created_at = excluded.created_at, deleted = 0, version = excluded.version WHERE berry_users.deleted = 1"
        );
        let params = vec![
            id.as_str().into(),
            checked_name(new.name.as_deref().unwrap_or(&id))?.into(),
            new.team.into(),
            json(&checked_tags(&new.tags)?).into(),
            json(&new.models).into(),
            checked_limits(new.limits)?.into(),
            now().into(),
        ];
        self.change(vec![Statement::new(insert, params).expecting(1)]).await?;
        self.user(&id)
    }

    /// Returns a user.
    pub(crate) fn user(&self, id: &str) -> Result<UserRecord> {
        self.inner().people.load().user(id).cloned().ok_or(ChangeError::NotFound)
    }

    /// Changes a user.
    pub(crate) async fn update_user(&self, id: &str, change: UserChange) -> Result<UserRecord> {
        let before = self.changeable_user(id).await?;
        let team = change.team.unwrap_or(before.team);
        if let Some(team) = &team {
            self.check_team("team", team)?;
        }
        let update = format!(
            "UPDATE berry_users SET name = $1, team = $2, tags = $3, models = $4, limits = $5, enabled = $6, \
             version = {VERSION} WHERE id = $7 AND version = $8"
        );
        let params = vec![
            checked_name(&change.name.unwrap_or(before.name))?.into(),
            team.into(),
            json(&checked_tags(&change.tags.unwrap_or(before.tags))?).into(),
            json(&change.models.unwrap_or(before.models)).into(),
            checked_limits(change.limits.or(Some(before.limits)))?.into(),
            change.enabled.unwrap_or(before.enabled).into(),
            id.into(),
            before.version.into(),
        ];
        self.change(vec![Statement::new(update, params).expecting(1)]).await?;
        self.user(id)
    }

    /// Deletes a user, and revokes its keys.
    pub(crate) async fn delete_user(&self, id: &str) -> Result<UserRecord> {
        let before = self.changeable_user(id).await?;
        let delete = format!("UPDATE berry_users SET deleted = 1, version = {VERSION} WHERE id = $1 AND version = $2");
        let revoke = format!(
            "UPDATE berry_keys SET revoked_at = $1, version = {VERSION} WHERE user_id = $2 AND revoked_at IS NULL"
        );
        let statements = vec![
            Statement::new(delete, vec![id.into(), before.version.into()]).expecting(1),
            Statement::new(revoke, vec![now().into(), id.into()]),
        ];
        self.change(statements).await?;
        Ok(before)
    }

    /// Makes a team.
    pub(crate) async fn create_team(&self, new: NewTeam) -> Result<TeamRecord> {
        self.refresh().await?;
        let id = checked_id(&new.id)?;
        if self.inner().people.load().team(&id).is_some() {
            return Err(ChangeError::Conflict(format!("there is a team `{id}`")));
        }
        if let Some(parent) = &new.parent {
            self.check_team("parent", parent)?;
        }
        let insert = format!(
            "INSERT INTO berry_teams (id, name, parent, models, limits, enabled, created_at, deleted, version) \
             VALUES ($1, $2, $3, $4, $5, 1, $6, 0, {VERSION}) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
             parent = excluded.parent, models = excluded.models, limits = excluded.limits, enabled = 1, \
             created_at = excluded.created_at, deleted = 0, version = excluded.version WHERE berry_teams.deleted = 1"
        );
        let params = vec![
            id.as_str().into(),
            checked_name(new.name.as_deref().unwrap_or(&id))?.into(),
            new.parent.into(),
            json(&new.models).into(),
            checked_limits(new.limits)?.into(),
            now().into(),
        ];
        self.change(vec![Statement::new(insert, params).expecting(1)]).await?;
        self.team(&id)
    }

    /// Returns a team.
    pub(crate) fn team(&self, id: &str) -> Result<TeamRecord> {
        self.inner().people.load().team(id).cloned().ok_or(ChangeError::NotFound)
    }

    /// Changes a team.
    pub(crate) async fn update_team(&self, id: &str, change: TeamChange) -> Result<TeamRecord> {
        let before = self.changeable_team(id).await?;
        let parent = change.parent.unwrap_or(before.parent);
        if let Some(parent) = &parent {
            self.check_team("parent", parent)?;
            self.check_circle(id, parent)?;
        }
        let update = format!(
            "UPDATE berry_teams SET name = $1, parent = $2, models = $3, limits = $4, enabled = $5, version = {VERSION} \
             WHERE id = $6 AND version = $7"
        );
        let params = vec![
            checked_name(&change.name.unwrap_or(before.name))?.into(),
            parent.into(),
            json(&change.models.unwrap_or(before.models)).into(),
            checked_limits(change.limits.or(Some(before.limits)))?.into(),
            change.enabled.unwrap_or(before.enabled).into(),
            id.into(),
            before.version.into(),
        ];
        self.change(vec![Statement::new(update, params).expecting(1)]).await?;
        self.team(id)
    }

    /// Deletes a team that has no members, no parts and no keys.
    pub(crate) async fn delete_team(&self, id: &str) -> Result<TeamRecord> {
        let before = self.changeable_team(id).await?;
        let keys = KeyFilter { team: Some(id.to_owned()), limit: 1, ..KeyFilter::default() };
        if self.inner().people.load().is_team_in_use(id) || !self.keys(keys).await?.is_empty() {
            let message = "the team has users, keys or teams; move or remove these first";
            return Err(ChangeError::Conflict(message.to_owned()));
        }
        let delete = format!("UPDATE berry_teams SET deleted = 1, version = {VERSION} WHERE id = $1 AND version = $2");
        self.change(vec![Statement::new(delete, vec![id.into(), before.version.into()]).expecting(1)]).await?;
        Ok(before)
    }

    async fn changeable_user(&self, id: &str) -> Result<UserRecord> {
        self.refresh().await?;
        match self.user(id)? {
            user if user.source == "file" => Err(of_the_file("user", id)),
            user => Ok(user),
        }
    }

    async fn changeable_team(&self, id: &str) -> Result<TeamRecord> {
        self.refresh().await?;
        match self.team(id)? {
            team if team.source == "file" => Err(of_the_file("team", id)),
            team => Ok(team),
        }
    }

    fn check_user(&self, param: &'static str, id: &str) -> Result<()> {
        let message = || format!("there is no user `{id}`; make it first, or name one of the file");
        self.user(id).map(drop).map_err(|_| ChangeError::Invalid(param, message()))
    }

    fn check_team(&self, param: &'static str, id: &str) -> Result<()> {
        let message = || format!("there is no team `{id}`; make it first, or name one of the file");
        self.team(id).map(drop).map_err(|_| ChangeError::Invalid(param, message()))
    }

    /// A team is not within itself.
    fn check_circle(&self, id: &str, parent: &str) -> Result<()> {
        let people = self.inner().people.load();
        let mut above = Some(parent.to_owned());
        for _ in 0..64 {
            match above {
                None => return Ok(()),
                Some(team) if team == id => break,
                Some(team) => above = people.team(&team).and_then(|team| team.parent.clone()),
            }
        }
        Err(invalid("parent", "the team would be a part of itself"))
    }

    /// Commits a change and puts it into force.
    async fn change(&self, mut statements: Vec<Statement>) -> Result<()> {
        statements.insert(0, Statement::new(NEXT, Vec::new()).expecting(1));
        self.database().transaction(statements).await?;
        // It is committed: if reading it fails, the next round reads it.
        let _ = self.refresh().await;
        Ok(())
    }
}

fn token_of(token: &Token, key: &str) -> Statement {
    let insert = "INSERT INTO berry_tokens (digest, key_id, expires_at) VALUES ($1, $2, NULL)";
    Statement::new(insert, vec![token.digest().as_slice().into(), key.into()])
}

fn invalid(param: &'static str, message: &str) -> ChangeError {
    ChangeError::Invalid(param, message.to_owned())
}

fn of_the_file(kind: &str, id: &str) -> ChangeError {
    ChangeError::Conflict(format!("the {kind} `{id}` is in the configuration file; change it there"))
}

fn revoked() -> ChangeError {
    ChangeError::Conflict("the key was revoked, which is for ever; create another".to_owned())
}

fn checked_id(id: &str) -> Result<String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if (1..=MAX_ID).contains(&id.len()) && id.chars().all(is_good) {
        return Ok(id.to_owned());
    }
    Err(invalid("id", "an id has 1 to 128 letters, digits, `-`, `_`, `.` or `@`"))
}

fn checked_name(name: &str) -> Result<String> {
    if name.len() <= MAX_ID && !name.chars().any(char::is_control) {
        return Ok(name.to_owned());
    }
    Err(invalid("name", "a name has at most 128 bytes and no control characters"))
}

fn checked_tags(tags: &[String]) -> Result<Vec<String>> {
    if tags.iter().any(|tag| tag.is_empty() || tag.contains(char::is_whitespace)) {
        return Err(invalid("tags", "a tag must not be empty nor hold spaces"));
    }
    Ok(tags.to_vec())
}

fn checked_limits(given: Option<Json>) -> Result<String> {
    let Some(json) = given else { return Ok("{}".to_owned()) };
    limits::parse(&json).map_err(|message| ChangeError::Invalid("limits", message))?;
    Ok(json.to_string())
}

/// Reads a time as milliseconds since 1970.
fn expiry(text: &str) -> Result<i64> {
    let message = "must be a time with its offset (RFC 3339), like `2027-01-31T00:00:00Z`";
    text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|_| invalid("expires_at", message))
}

//! Changes of keys.

use jiff::Timestamp;
use serde_json::Value as Json;

use super::{ChangeError, Owner, Result, VERSION, checked_name, checked_tags, invalid};
use crate::{
    database::{DatabaseError, Statement, Value},
    keys::{
        Directory,
        records::{KEY, KeyRecord, json, now},
        token::{self, Token},
    },
};

/// How often a change is tried again that another replica has overtaken.
const TRIES: usize = 5;
/// How long a replaced token is kept after its end, for replicas that were away.
const KEEP_TOKENS_MS: i64 = 24 * 3_600_000;

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

impl Directory {
    /// Makes a key. Its text is in the result alone.
    pub(crate) async fn create_key(&self, new: NewKey) -> Result<(Token, KeyRecord)> {
        self.refresh().await?;
        match (&new.user, &new.team) {
            (Some(user), None) => self.check_user("user", user)?,
            (None, Some(team)) => self.check_team("team", team)?,
            _ => return Err(invalid("user", "a key belongs to a user or to a team; give one of the two")),
        }
        let owner = Owner { user: new.user.as_deref(), team: new.team.as_deref() };
        let limits = self.checked_limits(new.limits, &new.models, owner)?;
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
            limits.into(),
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
            let models = change.models.as_deref().unwrap_or(&before.models);
            let limits = match &change.limits {
                // What was given before is not checked again, so that a key can always be disabled.
                None => before.limits.to_string(),
                given => {
                    let owner = Owner { user: before.user.as_deref(), team: before.team.as_deref() };
                    self.checked_limits(given.clone(), models, owner)?
                }
            };
            let update = format!(
                "UPDATE berry_keys SET name = $1, tags = $2, models = $3, limits = $4, expires_at = $5, enabled = $6, \
                 version = {VERSION} WHERE id = $7 AND version = $8"
            );
            let params = vec![
                checked_name(change.name.as_deref().unwrap_or(&before.name))?.into(),
                json(&checked_tags(change.tags.as_deref().unwrap_or(&before.tags))?).into(),
                json(models).into(),
                limits.into(),
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

    fn check_user(&self, param: &'static str, id: &str) -> Result<()> {
        let message = || format!("there is no user `{id}`; make it first, or name one of the file");
        self.user(id).map(drop).map_err(|_| ChangeError::Invalid(param, message()))
    }
}

fn token_of(token: &Token, key: &str) -> Statement {
    let insert = "INSERT INTO berry_tokens (digest, key_id, expires_at) VALUES ($1, $2, NULL)";
    Statement::new(insert, vec![token.digest().as_slice().into(), key.into()])
}

fn revoked() -> ChangeError {
    ChangeError::Conflict("the key was revoked, which is for ever; create another".to_owned())
}

/// Reads a time as milliseconds since 1970.
fn expiry(text: &str) -> Result<i64> {
    let message = "must be a time with its offset (RFC 3339), like `2027-01-31T00:00:00Z`";
    text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|_| invalid("expires_at", message))
}

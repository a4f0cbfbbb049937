//! Changes of users.

use serde_json::Value as Json;

use super::{ChangeError, Owner, Result, VERSION, checked_id, checked_name, checked_tags, of_the_file};
use crate::{
    database::Statement,
    keys::{
        Directory,
        records::{UserRecord, json, now},
    },
};

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

impl Directory {
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
        let owner = Owner { team: new.team.as_deref(), ..Owner::default() };
        let limits = self.checked_limits(new.limits, &new.models, owner)?;
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
            limits.into(),
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
        let models = change.models.unwrap_or(before.models);
        let owner = Owner { team: team.as_deref(), ..Owner::default() };
        let limits = match change.limits {
            None => before.limits.to_string(),
            given => self.checked_limits(given, &models, owner)?,
        };
        let update = format!(
            "UPDATE berry_users SET name = $1, team = $2, tags = $3, models = $4, limits = $5, enabled = $6, \
             version = {VERSION} WHERE id = $7 AND version = $8"
        );
        let params = vec![
            checked_name(&change.name.unwrap_or(before.name))?.into(),
            team.into(),
            json(&checked_tags(&change.tags.unwrap_or(before.tags))?).into(),
            json(&models).into(),
            limits.into(),
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

    async fn changeable_user(&self, id: &str) -> Result<UserRecord> {
        self.refresh().await?;
        match self.user(id)? {
            user if user.source == "file" => Err(of_the_file("user", id)),
            user => Ok(user),
        }
    }
}

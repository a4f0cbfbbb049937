//! Changes of teams.

use serde_json::Value as Json;

use super::{ChangeError, KeyFilter, Owner, Result, VERSION, checked_id, checked_name, invalid, of_the_file};
use crate::{
    database::Statement,
    keys::{
        Directory,
        records::{TeamRecord, json, now},
    },
};

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
        let owner = Owner { team: new.parent.as_deref(), ..Owner::default() };
        let limits = self.checked_limits(new.limits, &new.models, owner)?;
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
            limits.into(),
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
        let models = change.models.unwrap_or(before.models);
        let owner = Owner { team: parent.as_deref(), ..Owner::default() };
        let limits = match change.limits {
            None => before.limits.to_string(),
            given => self.checked_limits(given, &models, owner)?,
        };
        let update = format!(
            "UPDATE berry_teams SET name = $1, parent = $2, models = $3, limits = $4, enabled = $5, version = {VERSION} \
             WHERE id = $6 AND version = $7"
        );
        let params = vec![
            checked_name(&change.name.unwrap_or(before.name))?.into(),
            parent.into(),
            json(&models).into(),
            limits.into(),
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

    async fn changeable_team(&self, id: &str) -> Result<TeamRecord> {
        self.refresh().await?;
        match self.team(id)? {
            team if team.source == "file" => Err(of_the_file("team", id)),
            team => Ok(team),
        }
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
}

//! The users, teams and models of the configuration, as the keys of the database need them.

use std::{collections::HashMap, iter, sync::Arc};

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use super::records::{TeamRecord, UserRecord};
use crate::config::{
    Config, Model, Team,
    accounts::{Teams, prices},
    build::Caller,
    missing_price,
};

/// The users and teams of the configuration.
#[derive(Debug, Default)]
pub(crate) struct FilePeople {
    pub(super) users: HashMap<String, FileUser>,
    pub(super) teams: HashMap<String, TeamRecord>,
    /// The teams with their parents.
    pub(super) chains: Teams,
    pub(super) models: Vec<FileModel>,
}

/// A model of the file, as limits are checked against it.
#[derive(Debug)]
pub(super) struct FileModel {
    pub(super) id: String,
    pub(super) name: String,
    /// Why no limit of cost can hold for it.
    pub(super) missing_price: Option<String>,
}

#[derive(Debug)]
pub(super) struct FileUser {
    pub(super) record: UserRecord,
    pub(super) caller: Arc<Caller>,
    pub(super) expires_at: Option<Timestamp>,
}

impl FilePeople {
    pub(crate) fn new(config: &Config, callers: &HashMap<String, Arc<Caller>>) -> Self {
        let chains = Teams::new(config);
        let team = |(id, team): (&String, &Team)| {
            let record = TeamRecord {
                id: id.clone(),
                name: team.name.clone(),
                parent: team.parent.clone(),
                models: team.models.clone(),
                limits: Json::Object(Map::new()),
                enabled: team.enabled,
                created_at: None,
                source: "file",
                is_deleted: false,
                version: 0,
            };
            (id.clone(), record)
        };
        let user = |(id, caller): (&String, &Arc<Caller>)| {
            let user = config.users.get(id)?;
            let record = UserRecord {
                id: id.clone(),
                name: user.name.clone(),
                team: user.team.clone(),
                tags: user.tags.clone(),
                models: user.allowed_models.clone(),
                limits: Json::Object(Map::new()),
                enabled: user.enabled && chains.of(user).is_enabled,
                created_at: None,
                source: "file",
                is_deleted: false,
                version: 0,
            };
            Some((id.clone(), FileUser { record, caller: caller.clone(), expires_at: user.expires_at }))
        };
        let users = callers.iter().filter_map(user).collect();
        let prices = prices(config);
        let model = |(id, model): (&String, &Model)| FileModel {
            id: id.clone(),
            name: model.name.clone(),
            missing_price: missing_price(config, &prices, iter::once(model)),
        };
        let models = config.models.iter().map(model).collect();
        Self { users, teams: config.teams.iter().map(team).collect(), chains, models }
    }
}

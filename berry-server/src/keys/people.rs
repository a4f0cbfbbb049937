//! Users and teams of the file and of the database together, and what their keys may do.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use berry_tower::spend::{Account, Measure, SpendLimit, SpendLimits, Subject};
use jiff::Timestamp;
use serde_json::Value as Json;

use super::{
    Own, RuntimeKey,
    file_people::{FileModel, FilePeople},
    limits,
    records::{TeamRecord, UserRecord},
};
use crate::config::{
    build::{Caller, Grants},
    suggest,
};

/// More teams within each other are surely a mistake.
const DEEPEST_TEAM: usize = 32;

/// A user or a team that keys belong to.
#[derive(Clone, Debug)]
struct Owner {
    /// The id of callers with these keys.
    caller_id: Arc<str>,
    /// Whether the owner and its teams are enabled.
    is_active: bool,
    grants: Arc<Grants>,
}

/// Everyone, at one moment.
#[derive(Debug, Default)]
pub(super) struct People {
    file: Arc<FilePeople>,
    users: HashMap<String, UserRecord>,
    teams: HashMap<String, TeamRecord>,
    user_owners: HashMap<Arc<str>, Owner>,
    team_owners: HashMap<Arc<str>, Owner>,
    /// When the next user of the file expires.
    pub(super) next_expiry: Option<Timestamp>,
}

/// A team with its parents.
struct Chain {
    is_active: bool,
    allowed: Vec<Arc<HashSet<String>>>,
    subjects: Vec<Arc<Subject>>,
}

impl People {
    /// Returns everyone with the users and teams of another configuration.
    pub(super) fn with_file(&self, file: Arc<FilePeople>) -> Self {
        Self::new(file, self.users.clone(), self.teams.clone())
    }

    /// Returns everyone after changes in the database.
    pub(super) fn with_changes(&self, users: &[UserRecord], teams: &[TeamRecord]) -> Self {
        let (mut all_users, mut all_teams) = (self.users.clone(), self.teams.clone());
        for user in users {
            if user.is_deleted {
                all_users.remove(&user.id)
            } else {
                all_users.insert(user.id.clone(), user.clone())
            };
        }
        for team in teams {
            if team.is_deleted {
                all_teams.remove(&team.id)
            } else {
                all_teams.insert(team.id.clone(), team.clone())
            };
        }
        Self::new(self.file.clone(), all_users, all_teams)
    }

    /// Returns the users and teams of the file alone.
    pub(super) fn without_stored(&self) -> Self {
        Self::new(self.file.clone(), HashMap::new(), HashMap::new())
    }

    /// Works everyone out anew, since a user of the file has expired.
    pub(super) fn renewed(&self) -> Self {
        self.with_file(self.file.clone())
    }

    fn new(file: Arc<FilePeople>, users: HashMap<String, UserRecord>, teams: HashMap<String, TeamRecord>) -> Self {
        let mut people = Self { file, users, teams, ..Self::default() };
        let now = Timestamp::now();
        let expiries = people.file.users.values().filter_map(|user| user.expires_at).filter(|at| *at > now);
        people.next_expiry = expiries.min();
        for id in people.teams.keys().chain(people.file.teams.keys()) {
            let chain = people.chain(Some(id));
            let grants =
                Grants { tags: Vec::new(), allowed: chain.allowed, quota: None, account: Account::new(chain.subjects) };
            let owner =
                Owner { caller_id: format!("team:{id}").into(), is_active: chain.is_active, grants: Arc::new(grants) };
            people.team_owners.insert(id.as_str().into(), owner);
        }
        for (id, user) in &people.users {
            people.user_owners.insert(id.as_str().into(), people.stored_user(id, user));
        }
        for (id, user) in &people.file.users {
            let is_active = user.record.enabled && user.expires_at.is_none_or(|at| at > now);
            let owner = Owner { caller_id: user.caller.id.clone(), is_active, grants: user.caller.grants.clone() };
            people.user_owners.insert(id.as_str().into(), owner);
        }
        people
    }

    fn stored_user(&self, id: &str, user: &UserRecord) -> Owner {
        let chain = self.chain(user.team.as_deref());
        let mut allowed = chain.allowed;
        allowed.extend(models(&user.models));
        let own = Subject::new("user", id).with_limits(limits::parse(&user.limits).unwrap_or_default());
        let grants = Grants {
            tags: user.tags.iter().map(|tag| tag.as_str().into()).collect(),
            allowed,
            quota: None,
            account: Account::new([Arc::new(own)].into_iter().chain(chain.subjects)),
        };
        Owner { caller_id: id.into(), is_active: user.enabled && chain.is_active, grants: Arc::new(grants) }
    }

    /// Follows a team to its last parent. One that is missing, or that is its own parent, makes it inactive: its limits
    /// are not known.
    fn chain<'a>(&'a self, mut team: Option<&'a str>) -> Chain {
        let mut chain = Chain { is_active: true, allowed: Vec::new(), subjects: Vec::new() };
        while let Some(id) = team {
            // The parents of a team of the file are in the file.
            if let Some(of_file) = self.file.chains.get(id) {
                chain.is_active &= of_file.is_enabled;
                chain.allowed.extend(of_file.models.iter().cloned());
                chain.subjects.extend(of_file.subjects.iter().cloned());
                return chain;
            }
            let Some(record) = self.team(id).filter(|_| chain.subjects.len() < DEEPEST_TEAM) else {
                chain.is_active = false;
                return chain;
            };
            chain.is_active &= record.enabled;
            chain.allowed.extend(models(&record.models));
            let subject = Subject::new("team", id).with_limits(limits::parse(&record.limits).unwrap_or_default());
            chain.subjects.push(Arc::new(subject));
            team = record.parent.as_deref();
        }
        chain
    }

    /// Returns the caller of a key, and whether the key is accepted.
    pub(super) fn caller(&self, key: &Arc<RuntimeKey>) -> (Arc<Caller>, bool) {
        let owner = match (&key.user, &key.team) {
            (Some(user), _) => self.user_owners.get(user),
            (None, Some(team)) => self.team_owners.get(team),
            (None, None) => None,
        };
        let Some(owner) = owner else {
            let ownerless = Caller { id: "nobody".into(), grants: Arc::default(), key: Some(key.clone()) };
            return (Arc::new(ownerless), false);
        };
        let grants = match &key.own {
            None => owner.grants.clone(),
            Some(own) => Arc::new(narrowed(&owner.grants, &key.id, own)),
        };
        let caller = Caller { id: owner.caller_id.clone(), grants, key: Some(key.clone()) };
        (Arc::new(caller), key.is_enabled && owner.is_active)
    }

    /// Returns the shared text of a user's id, so that the user's keys need no copies.
    pub(super) fn user_id(&self, id: &str) -> Arc<str> {
        self.user_owners.get_key_value(id).map_or_else(|| id.into(), |(id, _)| id.clone())
    }

    /// Returns the shared text of a team's id.
    pub(super) fn team_id(&self, id: &str) -> Arc<str> {
        self.team_owners.get_key_value(id).map_or_else(|| id.into(), |(id, _)| id.clone())
    }

    /// Returns the user in force with this id.
    pub(super) fn user(&self, id: &str) -> Option<&UserRecord> {
        self.file.users.get(id).map(|user| &user.record).or_else(|| self.users.get(id))
    }

    /// Returns the team in force with this id.
    pub(super) fn team(&self, id: &str) -> Option<&TeamRecord> {
        self.file.teams.get(id).or_else(|| self.teams.get(id))
    }

    /// Returns the lists of models that narrow a key of the user or team.
    pub(super) fn narrowing(&self, user: Option<&str>, team: Option<&str>) -> Vec<Arc<HashSet<String>>> {
        let owner = user.and_then(|id| self.user_owners.get(id)).or_else(|| self.team_owners.get(team?));
        owner.map_or_else(Vec::new, |owner| owner.grants.allowed.clone())
    }

    /// Checks limits of someone who may call the models that are in all of `lists`: a limit of a model that is not
    /// there, or of a cost that is not known, would never hold.
    ///
    /// # Errors
    /// Returns a message that names the key and the cure.
    pub(super) fn check_limits(&self, limits: &SpendLimits, lists: &[Arc<HashSet<String>>]) -> Result<(), String> {
        let has_cost = |limits: &[SpendLimit]| limits.iter().any(|limit| limit.measure() == Measure::Cost);
        let check_price = |path: &str, model: &FileModel| match &model.missing_price {
            Some(message) => Err(format!("{path}: a limit of cost cannot hold: {message}")),
            None => Ok(()),
        };
        for name in limits.models() {
            let path = format!("limits.models.{name}");
            let Some(model) = self.file.models.iter().find(|model| *model.name == **name) else {
                let names = self.file.models.iter().map(|model| model.name.as_str());
                return Err(format!("{path}: no model has this name{}", suggest::instead(name, names)));
            };
            if has_cost(limits.of_model(name)) {
                check_price(&path, model)?;
            }
        }
        let may_call =
            |model: &&FileModel| lists.iter().all(|list| list.contains(&model.name) || list.contains(&model.id));
        let mut callable = self.file.models.iter().filter(may_call).filter(|_| has_cost(limits.of_all()));
        callable.try_for_each(|model| check_price("limits", model))
    }

    /// Returns the users in force, by id.
    pub(super) fn all_users(&self) -> Vec<UserRecord> {
        let stored = self.users.values().filter(|user| !self.file.users.contains_key(&user.id));
        let mut all: Vec<_> = self.file.users.values().map(|user| &user.record).chain(stored).cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Returns the teams in force, by id.
    pub(super) fn all_teams(&self) -> Vec<TeamRecord> {
        let stored = self.teams.values().filter(|team| !self.file.teams.contains_key(&team.id));
        let mut all: Vec<_> = self.file.teams.values().chain(stored).cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Returns whether a team has members, parts, or is missing nothing of these.
    pub(super) fn is_team_in_use(&self, id: &str) -> bool {
        let named = |team: &Option<String>| team.as_deref() == Some(id);
        self.all_users().iter().any(|user| named(&user.team)) || self.all_teams().iter().any(|team| named(&team.parent))
    }
}

/// An empty list allows everything.
pub(super) fn models(list: &[String]) -> Option<Arc<HashSet<String>>> {
    (!list.is_empty()).then(|| Arc::new(list.iter().cloned().collect()))
}

/// Returns what a key may do that has something of its own.
fn narrowed(owner: &Grants, id: &str, own: &Own) -> Grants {
    let mut allowed = owner.allowed.clone();
    allowed.extend(models(&own.models));
    let tags =
        if own.tags.is_empty() { owner.tags.clone() } else { own.tags.iter().map(|tag| tag.as_str().into()).collect() };
    let limits = serde_json::from_str(&own.limits).ok().and_then(|json: Json| limits::parse(&json).ok());
    let account = match limits.filter(|limits| !limits.is_empty()) {
        Some(limits) => owner.account.child(Arc::new(Subject::new("key", id).with_limits(limits))),
        None => owner.account.clone(),
    };
    Grants { tags, allowed, quota: owner.quota.clone(), account }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn team(id: &str, parent: Option<&str>, models: &[&str]) -> TeamRecord {
        TeamRecord {
            id: id.to_owned(),
            name: id.to_owned(),
            parent: parent.map(str::to_owned),
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            limits: json!({ "requests_per_minute": 5 }),
            enabled: true,
            created_at: None,
            source: "database",
            is_deleted: false,
            version: 1,
        }
    }

    fn user(id: &str, team: Option<&str>) -> UserRecord {
        UserRecord {
            id: id.to_owned(),
            name: id.to_owned(),
            team: team.map(str::to_owned),
            tags: vec!["basic".to_owned()],
            models: Vec::new(),
            limits: json!({}),
            enabled: true,
            created_at: None,
            source: "database",
            is_deleted: false,
            version: 1,
        }
    }

    fn key(user: Option<&str>, team: Option<&str>, own: Option<Own>) -> Arc<RuntimeKey> {
        let shared = |id: Option<&str>| id.map(Arc::from);
        Arc::new(RuntimeKey {
            id: "key_1".into(),
            user: shared(user),
            team: shared(team),
            own: own.map(Box::new),
            is_enabled: true,
        })
    }

    #[test]
    fn a_key_has_what_its_user_and_all_teams_allow() {
        let teams = [team("all", None, &["a", "b"]), team("part", Some("all"), &["b", "c"])];
        let people = People::default().with_changes(&[user("ann", Some("part"))], &teams);
        let own = Own { tags: vec!["gold".to_owned()], models: Vec::new(), limits: "{}".to_owned() };
        let (caller, accepted) = people.caller(&key(Some("ann"), None, None));
        assert!(accepted);
        assert_eq!((&*caller.id, caller.tags[0].as_ref()), ("ann", "basic"));
        let allows = |name: &str| caller.allowed.iter().all(|list| list.contains(name));
        assert_eq!(["a", "b", "c"].map(allows), [false, true, false]);
        let kinds: Vec<_> = caller.account.subjects().iter().map(|subject| (subject.kind(), &**subject.id())).collect();
        assert_eq!(kinds, [("user", "ann"), ("team", "part"), ("team", "all")]);
        let (caller, _) = people.caller(&key(Some("ann"), None, Some(own)));
        assert_eq!(caller.tags[0].as_ref(), "gold");
        let limited = Own { tags: Vec::new(), models: Vec::new(), limits: r#"{"cost_total":"1"}"#.to_owned() };
        let (caller, _) = people.caller(&key(None, Some("part"), Some(limited)));
        assert_eq!((&*caller.id, caller.account.subjects()[0].kind()), ("team:part", "key"));
    }

    #[test]
    fn a_key_of_a_disabled_missing_or_circular_owner_is_refused() {
        let accepted = |users: &[UserRecord], teams: &[TeamRecord]| {
            People::default().with_changes(users, teams).caller(&key(Some("ann"), None, None)).1
        };
        let disabled_team = TeamRecord { enabled: false, ..team("t", None, &[]) };
        assert!(accepted(&[user("ann", Some("t"))], &[team("t", None, &[])]));
        assert!(!accepted(&[user("ann", Some("t"))], &[disabled_team]));
        assert!(!accepted(&[user("ann", Some("t"))], &[]));
        assert!(!accepted(&[user("ann", Some("t"))], &[team("t", Some("t"), &[])]));
        assert!(!accepted(&[UserRecord { enabled: false, ..user("ann", None) }], &[]));
        assert!(!accepted(&[], &[]));
    }
}

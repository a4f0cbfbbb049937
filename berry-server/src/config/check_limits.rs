//! The rules of teams, limits and prices.

use std::collections::HashSet;

use berry_tower::spend::Prices;

use super::{
    accounts,
    file::{Config, Model},
    limits::Limits,
    lines::join,
    reader::Reader,
    suggest,
};

/// Checks teams, limits and prices of a configuration whose single values have been checked.
pub(super) fn check(config: &Config, reader: &Reader<'_>) {
    let check = Check { config, reader, prices: accounts::prices(config) };
    check.teams();
    check.cycles();
    for (id, team) in &config.teams {
        let path = join(&join("teams", id), "limits");
        check.limits(&path, &team.limits, &|model| in_list(&team.models, model));
    }
    for (id, user) in &config.users {
        let table = join("users", id);
        if let Some(team) = user.team.as_ref().filter(|team| !config.teams.contains_key(*team)) {
            check.unknown_team(&join(&table, "team"), team, None);
        }
        check.given_twice(id);
        check.limits(&join(&table, "limits"), &user.limits, &|(id, model)| user.allows(id, &model.name));
    }
    check.prices_in_use();
}

struct Check<'a> {
    config: &'a Config,
    reader: &'a Reader<'a>,
    prices: Prices,
}

fn in_list(list: &[String], (id, model): (&str, &Model)) -> bool {
    list.is_empty() || list.iter().any(|it| it == id || *it == model.name)
}

impl Check<'_> {
    /// Reports a team that does not exist; `own` is the team that names it as its parent.
    fn unknown_team(&self, path: &str, team: &str, own: Option<&str>) {
        let others = self.config.teams.keys().map(String::as_str).filter(|team| Some(*team) != own);
        let instead = suggest::instead(team, others);
        let cure = if instead.is_empty() { format!("; add `[teams.{team}]`") } else { instead };
        self.reader.error(path, format_args!("unknown team `{team}`{cure}"));
    }

    fn teams(&self) {
        for (id, team) in &self.config.teams {
            let table = join("teams", id);
            if let Some(parent) = team.parent.as_ref().filter(|parent| !self.config.teams.contains_key(*parent)) {
                self.unknown_team(&join(&table, "parent"), parent, Some(id));
            }
            for (index, entry) in team.models.iter().enumerate() {
                if self.model(entry).is_none() {
                    let names = self.config.models.values().map(|model| model.name.as_str());
                    let instead = suggest::instead(entry, names);
                    let path = format!("{}[{index}]", join(&table, "models"));
                    self.reader.warn(&path, format_args!("no model has the name or id `{entry}`{instead}"));
                }
            }
        }
    }

    /// A team that is a part of itself has no outermost limits.
    fn cycles(&self) {
        let mut told = HashSet::new();
        for id in self.config.teams.keys() {
            let mut chain = vec![id.as_str()];
            while let Some(parent) = chain.last().and_then(|last| self.config.teams.get(*last)?.parent.as_deref()) {
                if let Some(at) = chain.iter().position(|it| *it == parent) {
                    let cycle = &chain[at..];
                    // One error for each cycle, at its first team in the file.
                    if cycle[0] == id && cycle.iter().all(|team| told.insert((*team).to_owned())) {
                        let text = cycle.join("` → `");
                        let message = format!("is a cycle: `{text}` → `{parent}`; remove one of these parents");
                        self.reader.error(&join(&join("teams", id), "parent"), message);
                    }
                    break;
                }
                chain.push(parent);
            }
        }
    }

    /// A limit in both the old table and the new one could mean either.
    fn given_twice(&self, id: &str) {
        let user = &self.config.users[id];
        let (old, new) = (&user.rate_limit, &user.limits);
        let both = [
            ("requests_per_minute", old.requests_per_minute.is_some() && new.requests_per_minute.is_some()),
            ("requests_per_hour", old.requests_per_hour.is_some() && new.requests_per_hour.is_some()),
            ("requests_per_day", old.requests_per_day.is_some() && new.requests_per_day.is_some()),
            ("max_concurrent_requests", old.max_concurrent_requests.is_some() && new.max_concurrent_requests.is_some()),
        ];
        for (key, _) in both.into_iter().filter(|(_, both)| *both) {
            let path = join(&join(&join("users", id), "limits"), key);
            self.reader.error(&path, format_args!("stands in `[users.{id}.rate_limit]`, too; remove one of them"));
        }
    }

    fn model<'a>(&'a self, named: &str) -> Option<(&'a str, &'a Model)> {
        find_model(self.config, named)
    }

    fn limits(&self, path: &str, limits: &Limits, may_call: &dyn Fn((&str, &Model)) -> bool) {
        for (named, of_model) in &limits.models {
            let path = join(&join(path, "models"), named);
            match self.model(named) {
                None => {
                    let names = self.config.models.values().map(|model| model.name.as_str());
                    let instead = suggest::instead(named, names);
                    self.reader.error(&path, format_args!("no model has the name or id `{named}`{instead}"));
                }
                Some((_, model)) => {
                    if let Some(key) = of_model.cost_key() {
                        self.priced(&join(&path, key), [model].into_iter());
                    }
                }
            }
        }
        if let Some(key) = limits.cost_key() {
            let models = self.config.models.iter().filter(|(id, model)| may_call((id, model)));
            self.priced(&join(path, key), models.map(|(_, model)| model));
        }
    }

    fn priced<'a>(&'a self, path: &str, models: impl Iterator<Item = &'a Model>) {
        if let Some(message) = missing_price(self.config, &self.prices, models) {
            self.reader.error(path, message);
        }
    }

    /// A price that no model uses is most likely misspelt.
    fn prices_in_use(&self) {
        for name in self.config.prices.keys() {
            let mut models = self.config.models.values();
            let is_used =
                models.any(|model| model.name == *name || model.backends.iter().any(|backend| backend.model == *name));
            if !is_used {
                let names = self.config.models.values().map(|model| model.name.as_str());
                let backends = self.config.models.values().flat_map(|model| &model.backends);
                let mut seen = HashSet::new();
                let names = names.chain(backends.map(|backend| backend.model.as_str()));
                let names: Vec<&str> = names.filter(|name| seen.insert(*name)).collect();
                let instead = suggest::instead(name, names);
                self.reader.warn(&join("prices", name), format_args!("no model or backend has this name{instead}"));
            }
        }
    }
}

/// Returns a model by its table id or its public name.
fn find_model<'a>(config: &'a Config, named: &str) -> Option<(&'a str, &'a Model)> {
    let models = &config.models;
    let by_id = models.get_key_value(named);
    by_id.or_else(|| models.iter().find(|(_, model)| model.name == named)).map(|(id, model)| (id.as_str(), model))
}

/// Returns what to do about a backend without a price that a request for one of `models` may reach. A limit of cost
/// holds only where there is none.
pub(crate) fn missing_price<'a>(
    config: &'a Config,
    prices: &Prices,
    models: impl Iterator<Item = &'a Model>,
) -> Option<String> {
    let mut missing = Vec::new();
    let mut seen = HashSet::new();
    let mut next: Vec<&Model> = models.filter(|model| model.enabled).collect();
    while let Some(model) = next.pop() {
        if !seen.insert(&model.name) {
            continue;
        }
        next.extend(model.fallbacks.iter().filter_map(|name| find_model(config, name)).map(|(_, model)| model));
        for backend in model.backends.iter().filter(|backend| backend.enabled) {
            let id = accounts::backend_id(backend);
            if prices.find(&model.name, Some(&id)).is_none() {
                missing.push((model.name.as_str(), id.to_string()));
            }
        }
    }
    missing.sort();
    missing.dedup();
    let (model, backend) = missing.first()?;
    let more = match missing.len() {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    Some(format!(
        "model `{model}` has no price at backend `{backend}`{more}; add `[prices.\"{model}\"]` with `input` and \
         `output`, or a `price` to the backend; what costs nothing has the price \"0\""
    ))
}

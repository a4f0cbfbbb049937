//! Checks across tables: references, uniqueness, cycles, and models that no user can reach.

use std::collections::{HashMap, HashSet};

use super::file::{Backend, Config, Model, User};
use super::lines::join;
use super::reader::Reader;
use super::suggest;
use berry_tower::select::TagPolicy;

/// The maximum length of a chain of fallbacks.
const MAX_FALLBACK_DEPTH: usize = 100;

/// Checks the relations between the values of a configuration.
pub(super) fn check(config: &Config, reader: &Reader<'_>) {
    let check = Check { config, reader };
    check.check_required_tables();
    check.tokens();
    check.names();
    for (id, model) in &config.models {
        check.backends(id, model);
        check.fallbacks(id, model);
    }
    check.cycles();
    check.defaults();
    check.reach();
    check.allowed_models();
    check.providers_in_use();
    check.billing();
    if !config.users.is_empty() && !check.active_users().any(User::is_admin) {
        let message =
            "no enabled user has the tag `admin`, so nobody can call `/admin/*`; add `tags = [\"admin\"]` to one";
        reader.warn("users", message);
    }
}

struct Check<'a> {
    config: &'a Config,
    reader: &'a Reader<'a>,
}

impl<'a> Check<'a> {
    fn active_users(&self) -> impl Iterator<Item = &'a User> + use<'a> {
        self.config.users.values().filter(|user| user.enabled)
    }

    fn failed(&self, path: &str) -> bool {
        self.reader.log.borrow().has_error(path)
    }

    /// Requires at least one table of each kind, so that a half-written file does not empty a running gateway.
    fn check_required_tables(&self) {
        let Config { users, providers, models, .. } = self.config;
        let tables = [("providers", providers.is_empty()), ("models", models.is_empty()), ("users", users.is_empty())];
        for (table, empty) in tables {
            if empty {
                let one = table.trim_end_matches('s');
                self.reader.error(table, format_args!("the file has no {one}; add `[{table}.<id>]`"));
            }
        }
    }

    /// Requires a different token for each user, whether given as text or as a digest.
    fn tokens(&self) {
        let mut owners = HashMap::new();
        for (id, user) in &self.config.users {
            let table = join("users", id);
            let key = match user.credential.token() {
                Some(_) => join(&table, "token"),
                None => join(&table, "token_sha256"),
            };
            if self.failed(&key) {
                continue;
            }
            if let Some(owner) = owners.insert(user.credential.digest(), id) {
                let message = format!("user `{owner}` has the same token; each user needs one of its own");
                self.reader.error(&key, message);
            }
        }
    }

    /// Requires unique public names, and ids that differ from the names of other models.
    fn names(&self) {
        let models = &self.config.models;
        let mut owners: HashMap<&str, &str> = HashMap::new();
        for (id, model) in models {
            let table = join("models", id);
            if let Some(owner) = owners.insert(&model.name, id) {
                let message = format!("model `{owner}` has the same name; names are unique");
                self.reader.error(&join(&table, "name"), message);
            }
        }
        for id in models.keys() {
            if let Some(owner) = owners.get(id.as_str()).filter(|owner| *owner != id) {
                let message = format!("the id `{id}` is also the name of model `{owner}`; rename one of them");
                self.reader.error(&join("models", id), message);
            }
        }
    }

    fn backends(&self, id: &str, model: &Model) {
        let list = join(&join("models", id), "backends");
        let mut seen = HashSet::new();
        for (index, backend) in model.backends.iter().enumerate() {
            let path = format!("{list}[{index}]");
            self.reference(&path, backend);
            let named = !backend.provider.is_empty() && !backend.model.is_empty();
            if named && !seen.insert((&backend.provider, &backend.model)) {
                let message = format!(
                    "provider `{}` with model `{}` is listed twice; use `weight` to give it more",
                    backend.provider, backend.model
                );
                self.reader.error(&path, message);
            }
        }
        let usable = |backend: &Backend| {
            let provider = self.config.providers.get(&backend.provider);
            backend.enabled && provider.is_none_or(|provider| provider.enabled)
        };
        if model.enabled && !model.backends.iter().any(usable) {
            let message = "none is enabled with an enabled provider; enable one, or set the model's `enabled = false`";
            self.reader.error(&list, message);
        }
    }

    fn reference(&self, path: &str, backend: &Backend) {
        let providers = &self.config.providers;
        let Backend { provider, model, .. } = backend;
        let table = join("providers", provider);
        let Some(found) = providers.get(provider) else {
            if !self.failed(&table) && !self.failed("providers") {
                let instead = suggest::instead(provider, providers.keys().map(String::as_str));
                let message = format!("unknown provider `{provider}`{instead}");
                self.reader.error(&join(path, "provider"), message);
            }
            return;
        };
        if !found.models.contains(model) && !self.failed(&join(&table, "models")) {
            let instead = suggest::instead(model, found.models.iter().map(String::as_str));
            let message = format!("`{model}` is not in `{table}.models`{instead}");
            self.reader.error(&join(path, "model"), message);
        }
    }

    fn fallbacks(&self, id: &str, model: &Model) {
        let list = join(&join("models", id), "fallbacks");
        let mut seen = HashSet::new();
        for (index, name) in model.fallbacks.iter().enumerate() {
            let path = format!("{list}[{index}]");
            let models = &self.config.models;
            if !seen.insert(name) {
                self.reader.error(&path, format_args!("`{name}` is listed twice"));
            } else if *name == model.name {
                self.reader.error(&path, "a model cannot be its own fallback");
            } else if let Some(by_id) = models.get(name).filter(|other| other.name != *name) {
                let right = &by_id.name;
                self.reader.error(&path, format_args!("`{name}` is a table id; write the model's name, `{right}`"));
            } else if let Some(other) = self.by_name(name) {
                if !other.enabled {
                    self.reader.warn(&path, format_args!("model `{name}` is disabled, so nothing falls back to it"));
                }
            } else {
                let names = models.values().map(|model| model.name.as_str());
                let instead = suggest::instead(name, names);
                self.reader.error(&path, format_args!("unknown model `{name}`{instead}"));
            }
        }
    }

    /// Allows at most one default model per endpoint.
    fn defaults(&self) {
        let mut seen = HashSet::new();
        for (id, model) in &self.config.models {
            for (index, endpoint) in model.default_for.iter().enumerate() {
                let path = format!("{}[{index}]", join(&join("models", id), "default_for"));
                if endpoint != "moderations" {
                    self.reader
                        .error(&path, format_args!("`{endpoint}` has no default model; only `moderations` has one"));
                } else if model.enabled && !seen.insert(endpoint) {
                    self.reader.error(&path, format_args!("another model is the default for `{endpoint}` already"));
                }
            }
        }
    }

    fn by_name(&self, name: &str) -> Option<&'a Model> {
        self.config.models.values().find(|model| model.name == name)
    }

    /// Reports each cycle of fallbacks once.
    fn cycles(&self) {
        let mut done = HashSet::new();
        for model in self.config.models.values() {
            self.follow(model, &mut Vec::new(), &mut done);
        }
    }

    fn follow(&self, model: &'a Model, trail: &mut Vec<&'a str>, done: &mut HashSet<&'a str>) {
        if let Some(begin) = trail.iter().position(|name| *name == model.name) {
            // A model that is its own fallback is already reported.
            if trail.len() - begin > 1 {
                self.report_cycle(&trail[begin..]);
            }
            return;
        }
        if done.contains(model.name.as_str()) {
            return;
        }
        if trail.len() == MAX_FALLBACK_DEPTH {
            let message = format!("fallbacks lead more than {MAX_FALLBACK_DEPTH} models deep");
            return self.reader.error("models", message);
        }
        trail.push(&model.name);
        for next in model.fallbacks.iter().filter_map(|name| self.by_name(name)) {
            self.follow(next, trail, done);
        }
        trail.pop();
        done.insert(&model.name);
    }

    fn report_cycle(&self, cycle: &[&str]) {
        let last = cycle.last().copied().unwrap_or_default();
        let of_last = |(_, model): &(&String, &Model)| model.name == last;
        let Some((id, _)) = self.config.models.iter().find(of_last) else {
            return;
        };
        let path_text = cycle.join("` → `");
        let path = join(&join("models", id), "fallbacks");
        let message = format!("fallbacks go round in a circle: `{path_text}` → `{}`; remove one of them", cycle[0]);
        self.reader.error(&path, message);
    }

    /// Warns about models and backends that no user can reach.
    fn reach(&self) {
        let models = self.config.models.iter().filter(|(_, model)| model.enabled);
        for (id, model) in models {
            let table = join("models", id);
            let mut allowed = self.active_users().filter(|user| user.allows(id, &model.name));
            let opens = |user: &User| model.backends.iter().any(|backend| self.opens(user, backend));
            if !self.config.users.is_empty() && !allowed.any(opens) {
                let message = "no enabled user may reach this model; see the users' `allowed_models` and `tags`";
                self.reader.warn(&table, message);
            }
            for (index, backend) in model.backends.iter().enumerate() {
                if backend.enabled && !self.shared(backend) {
                    let message = "no enabled user shares any of these tags, so only admins can use this backend";
                    let path = format!("{}[{index}].tags", join(&table, "backends"));
                    self.reader.warn(&path, message);
                }
            }
        }
    }

    fn opens(&self, user: &User, backend: &Backend) -> bool {
        backend.enabled && (user.is_admin() || self.shares(user, backend))
    }

    fn shared(&self, backend: &Backend) -> bool {
        let barred = backend.tags.iter().any(|tag| tag != "premium");
        !barred || self.active_users().any(|user| self.shares(user, backend))
    }

    fn shares(&self, user: &User, backend: &Backend) -> bool {
        let mut bars = backend.tags.iter().filter(|tag| *tag != "premium").peekable();
        let open = self.config.settings.tag_policy == TagPolicy::Open && user.tags.is_empty();
        open || bars.peek().is_none() || bars.any(|tag| user.tags.contains(tag))
    }

    fn allowed_models(&self) {
        let models = &self.config.models;
        for (id, user) in &self.config.users {
            for (index, entry) in user.allowed_models.iter().enumerate() {
                if models.contains_key(entry) || self.by_name(entry).is_some() {
                    continue;
                }
                let names = models.values().map(|model| model.name.as_str());
                let instead = match entry.as_str() {
                    "*" => "; an empty list allows every model".to_owned(),
                    _ => suggest::instead(entry, names),
                };
                let path = format!("{}[{index}]", join(&join("users", id), "allowed_models"));
                self.reader.warn(&path, format_args!("no model has the name or id `{entry}`{instead}"));
            }
        }
    }

    /// A backend is probed by what all models say about it, so they must agree on what a probe costs.
    fn billing(&self) {
        let mut first: HashMap<(&str, &str), (String, &Backend)> = HashMap::new();
        for (id, model) in &self.config.models {
            for (at, backend) in model.backends.iter().enumerate() {
                let place = format!("{}[{at}].billing_mode", join(&join("models", id), "backends"));
                match first.get(&(backend.provider.as_str(), backend.model.as_str())) {
                    Some((other, known)) if known.billing_mode != backend.billing_mode => {
                        let message = format!(
                            "is `{}`, but `{other}` is `{}` for the same model of the provider; it is never probed",
                            backend.billing_mode, known.billing_mode
                        );
                        self.reader.warn(&place, message);
                    }
                    Some(_) => {}
                    None => {
                        first.insert((&backend.provider, &backend.model), (place, backend));
                    }
                }
            }
        }
    }

    fn providers_in_use(&self) {
        let backends = self.config.models.values().flat_map(|model| &model.backends);
        let used: HashSet<&str> = backends.map(|backend| backend.provider.as_str()).collect();
        for (id, provider) in &self.config.providers {
            if provider.enabled && !used.contains(id.as_str()) {
                self.reader.warn(&join("providers", id), "no model uses this provider");
            }
        }
    }
}

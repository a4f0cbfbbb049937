//! Who is counted: a tree of subjects, each with limits of its own.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use super::Money;
use crate::store::{Calendar, Rule};

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Measure {
    /// Requests.
    Requests,
    /// Tokens of requests and responses together.
    Tokens,
    /// Nano-dollars.
    Cost,
    /// Requests in flight.
    Concurrency,
}

impl Measure {
    /// Returns the name in keys and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Cost => "cost",
            Self::Concurrency => "concurrency",
        }
    }
}

/// One limit: what it counts, and how much of it is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpendLimit {
    measure: Measure,
    rule: Rule,
}

impl SpendLimit {
    /// Creates a limit.
    #[must_use]
    pub const fn new(measure: Measure, rule: Rule) -> Self {
        Self { measure, rule }
    }

    /// Returns what it counts.
    #[must_use]
    pub const fn measure(&self) -> Measure {
        self.measure
    }

    /// Returns how much is allowed.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        self.rule
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The limits of one subject, for all models together and for single ones.
///
/// ```
/// use berry_tower::spend::SpendLimits;
///
/// let limits = SpendLimits::new()
///     .requests_per_minute(60)
///     .cost_per_day("5.00".parse().unwrap())
///     .for_model("gpt-4o", SpendLimits::new().tokens_per_minute(100_000));
/// assert_eq!(limits.of_model("gpt-4o").len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendLimits {
    all: Vec<SpendLimit>,
    by_model: HashMap<Arc<str>, Vec<SpendLimit>>,
}

impl SpendLimits {
    /// Creates limits that allow everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a limit. It replaces one that counts the same in the same window.
    #[must_use]
    pub fn with(mut self, limit: SpendLimit) -> Self {
        let same = |it: &SpendLimit| it.measure == limit.measure && it.rule.window_name() == limit.rule.window_name();
        self.all.retain(|it| !same(it));
        self.all.push(limit);
        self
    }

    fn rolling(self, measure: Measure, period: Duration, limit: u64) -> Self {
        self.with(SpendLimit::new(measure, Rule::Rolling { period, limit }))
    }

    fn calendar(self, window: Calendar, limit: Money) -> Self {
        self.with(SpendLimit::new(Measure::Cost, Rule::Calendar { window, limit: limit.nanos() }))
    }

    /// Allows so many requests in a minute.
    #[must_use]
    pub fn requests_per_minute(self, limit: u64) -> Self {
        self.rolling(Measure::Requests, MINUTE, limit)
    }

    /// Allows so many requests in an hour.
    #[must_use]
    pub fn requests_per_hour(self, limit: u64) -> Self {
        self.rolling(Measure::Requests, HOUR, limit)
    }

    /// Allows so many requests in a day.
    #[must_use]
    pub fn requests_per_day(self, limit: u64) -> Self {
        self.rolling(Measure::Requests, DAY, limit)
    }

    /// Allows so many tokens in a minute.
    #[must_use]
    pub fn tokens_per_minute(self, limit: u64) -> Self {
        self.rolling(Measure::Tokens, MINUTE, limit)
    }

    /// Allows so many tokens in an hour.
    #[must_use]
    pub fn tokens_per_hour(self, limit: u64) -> Self {
        self.rolling(Measure::Tokens, HOUR, limit)
    }

    /// Allows so many tokens in a day.
    #[must_use]
    pub fn tokens_per_day(self, limit: u64) -> Self {
        self.rolling(Measure::Tokens, DAY, limit)
    }

    /// Allows so much cost in a calendar day in UTC.
    #[must_use]
    pub fn cost_per_day(self, limit: Money) -> Self {
        self.calendar(Calendar::Day, limit)
    }

    /// Allows so much cost in a calendar month in UTC.
    #[must_use]
    pub fn cost_per_month(self, limit: Money) -> Self {
        self.calendar(Calendar::Month, limit)
    }

    /// Allows so much cost in all.
    #[must_use]
    pub fn cost_total(self, limit: Money) -> Self {
        self.calendar(Calendar::Total, limit)
    }

    /// Allows so many requests in flight.
    #[must_use]
    pub fn max_concurrent_requests(self, limit: u64) -> Self {
        self.with(SpendLimit::new(Measure::Concurrency, Rule::Concurrent { limit }))
    }

    /// Adds limits that count the requests for one model, by its public name.
    #[must_use]
    pub fn for_model(mut self, model: impl Into<Arc<str>>, limits: Self) -> Self {
        self.by_model.insert(model.into(), limits.all);
        self
    }

    /// Returns the limits for all models together.
    #[must_use]
    pub fn of_all(&self) -> &[SpendLimit] {
        &self.all
    }

    /// Returns the limits for one model alone.
    #[must_use]
    pub fn of_model(&self, model: &str) -> &[SpendLimit] {
        self.by_model.get(model).map_or(&[], Vec::as_slice)
    }

    /// Returns the models that have limits of their own.
    pub fn models(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_model.keys()
    }

    /// Whether everything is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.by_model.values().all(Vec::is_empty)
    }
}

/// A limit with the key of its counter in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) key: Arc<str>,
    pub(super) limit: SpendLimit,
}

/// Someone whose requests are counted: a key, a user, or a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    kind: &'static str,
    id: Arc<str>,
    limits: SpendLimits,
    all: Vec<Counter>,
    by_model: HashMap<Arc<str>, Vec<Counter>>,
}

impl Subject {
    /// Creates a subject without limits; `kind` and `id` together must be unique.
    pub fn new(kind: &'static str, id: impl Into<Arc<str>>) -> Self {
        Self { kind, id: id.into(), limits: SpendLimits::new(), all: Vec::new(), by_model: HashMap::new() }
    }

    /// Sets the limits.
    #[must_use]
    pub fn with_limits(mut self, limits: SpendLimits) -> Self {
        let counters = |limits: &[SpendLimit], model: Option<&str>| {
            let key = |limit: &SpendLimit| {
                let (measure, window) = (limit.measure.name(), limit.rule.window_name());
                let model = model.map_or_else(String::new, |model| format!(":{model}"));
                Arc::from(format!("{}:{}:{measure}:{window}{model}", self.kind, self.id))
            };
            limits.iter().map(|limit| Counter { key: key(limit), limit: *limit }).collect::<Vec<_>>()
        };
        self.all = counters(&limits.all, None);
        let by_model = limits.by_model.iter();
        self.by_model = by_model.map(|(model, limits)| (model.clone(), counters(limits, Some(model)))).collect();
        self.limits = limits;
        self
    }

    /// Returns its kind, such as `user`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns its id.
    #[must_use]
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Returns its limits.
    #[must_use]
    pub const fn limits(&self) -> &SpendLimits {
        &self.limits
    }

    /// Returns all counters, each with the model that it is for.
    pub(super) fn all_counters(&self) -> impl Iterator<Item = (Option<&Arc<str>>, &Counter)> {
        let by_model = self.by_model.iter().flat_map(|(model, all)| all.iter().map(move |it| (Some(model), it)));
        self.all.iter().map(|counter| (None, counter)).chain(by_model)
    }

    /// Returns the counters of a request for a model.
    pub(super) fn counters(&self, model: &str) -> impl Iterator<Item = &Counter> {
        self.all.iter().chain(self.by_model.get(model).into_iter().flatten())
    }
}

/// Those whom a request is counted for: its key, the key's user, the user's team and the team's
/// parents. Every limit of each of them holds.
///
/// It is cheap to clone, and made once for each caller.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    group: Arc<str>,
    subjects: Arc<[Arc<Subject>]>,
    has_limits: bool,
}

impl Account {
    /// Creates an account of subjects, the innermost first.
    pub fn new(subjects: impl IntoIterator<Item = Arc<Subject>>) -> Self {
        let subjects: Arc<[Arc<Subject>]> = subjects.into_iter().collect();
        let group = subjects.last().map_or_else(|| "none".into(), |root| format!("{}:{}", root.kind, root.id).into());
        let has_limits = subjects.iter().any(|subject| !subject.limits.is_empty());
        Self { group, subjects, has_limits }
    }

    /// Returns the account of a subject within this one, such as a key of a user.
    #[must_use]
    pub fn child(&self, subject: Arc<Subject>) -> Self {
        Self::new([subject].into_iter().chain(self.subjects.iter().cloned()))
    }

    /// Returns the subjects, the innermost first.
    #[must_use]
    pub fn subjects(&self) -> &[Arc<Subject>] {
        &self.subjects
    }

    /// Returns the subject of a kind, the innermost where there are several.
    #[must_use]
    pub fn subject(&self, kind: &str) -> Option<&Arc<Subject>> {
        self.subjects.iter().find(|subject| subject.kind == kind)
    }

    /// Returns the name of the outermost subject. Counters of one group are kept in one place of a
    /// store, so that one step can change several of them.
    #[must_use]
    pub const fn group(&self) -> &Arc<str> {
        &self.group
    }

    /// Whether any subject has a limit.
    #[must_use]
    pub const fn has_limits(&self) -> bool {
        self.has_limits
    }
}

impl Default for Account {
    /// Creates an account without subjects.
    fn default() -> Self {
        Self::new([])
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.subjects.iter().map(|subject| format!("{}:{}", subject.kind, subject.id));
        f.debug_list().entries(names).finish()
    }
}

//! One row of the ledger.

use std::sync::Arc;

use berry_tower::{attempt::BackendId, progress::Usage, spend::SpendRecord};
use jiff::Timestamp;

use super::LedgerContext;
use crate::{config::build::Caller, database::Value};

/// The columns of a row, in the order of [`LedgerRow::values`].
pub(super) const COLUMNS: &str = "id, finished_at, key_id, user_id, team_id, endpoint, model, served_model, provider, \
                                  backend_model, input_tokens, cached_tokens, cache_write_tokens, output_tokens, \
                                  reasoning_tokens, cost_nanos, wasted_nanos, status, outcome, attempts, latency_ms, \
                                  first_token_ms, end_user";
/// The number of [`COLUMNS`].
pub(super) const WIDTH: usize = 23;

/// The highest cost of a row, in nano-dollars: some 70,000 dollars. A broken upstream can report any number of tokens, and
/// a sum beyond 64 bits would be refused by the database, with all rows of its batch.
const MAX_COST: u64 = 1 << 46;

/// What a finished request leaves behind.
#[derive(Debug)]
pub(super) struct LedgerRow {
    pub(super) finished_at: i64,
    caller: Option<Arc<Caller>>,
    end_user: Option<String>,
    endpoint: &'static str,
    model: Arc<str>,
    served_model: Option<Arc<str>>,
    backend: Option<BackendId>,
    pub(super) usage: Usage,
    pub(super) cost: u64,
    pub(super) wasted: u64,
    status: u16,
    outcome: &'static str,
    attempts: u32,
    latency_ms: u64,
    first_token_ms: Option<u64>,
}

/// What the sums of an hour are kept by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HourKey {
    pub(super) hour: i64,
    pub(super) key: String,
    pub(super) user: String,
    pub(super) team: String,
    pub(super) model: String,
    pub(super) backend: String,
}

pub(super) const HOUR_MS: i64 = 3_600_000;

impl LedgerRow {
    pub(super) fn of(record: &SpendRecord<'_>) -> Self {
        let context = record.context;
        let (caller, end_user) = match context.and_then(|context| context.downcast_ref::<LedgerContext>()) {
            Some(context) => (Some(context.caller.clone()), context.end_user.clone()),
            None => (context.and_then(|context| context.clone().downcast::<Caller>().ok()), None),
        };
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            finished_at: Timestamp::now().as_millisecond(),
            caller,
            end_user,
            endpoint: record.endpoint.map_or("", |endpoint| endpoint.path()),
            model: record.model.clone(),
            served_model: record.served_model.cloned(),
            backend: record.backend.cloned(),
            usage: record.usage.unwrap_or_default(),
            cost: record.cost.unwrap_or_default().nanos().min(MAX_COST),
            wasted: record.wasted.nanos().min(MAX_COST),
            status: record.status.map_or(0, |status| status.as_u16()),
            outcome: record.outcome.name(),
            attempts: record.attempts,
            latency_ms: millis(record.elapsed),
            first_token_ms: record.first_token_after.map(millis),
        }
    }

    /// A row without an account.
    #[cfg(test)]
    pub(super) fn example(finished_at: i64, model: &str, usage: Usage) -> Self {
        Self {
            finished_at,
            caller: None,
            end_user: None,
            endpoint: "/chat/completions",
            model: model.into(),
            served_model: Some(model.into()),
            backend: None,
            usage,
            cost: 1,
            wasted: 0,
            status: 200,
            outcome: "complete",
            attempts: 1,
            latency_ms: 1,
            first_token_ms: None,
        }
    }

    fn subject(&self, kind: &str) -> Option<&str> {
        self.caller.as_ref()?.account.subject(kind).map(|subject| &**subject.id())
    }

    fn key(&self) -> Option<&str> {
        self.caller.as_ref()?.key_id()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.outcome != "complete"
    }

    /// A name that the catalogue does not have is the client's text: without a backend it is left out.
    fn model(&self) -> Option<&str> {
        (self.backend.is_some() || self.served_model.is_some()).then_some(&*self.model)
    }

    pub(super) fn hour_key(&self) -> HourKey {
        let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
        let backend = self.backend.as_ref().map(|backend| format!("{}:{}", backend.provider, backend.model));
        HourKey {
            hour: self.finished_at.div_euclid(HOUR_MS) * HOUR_MS,
            key: text(self.key()),
            user: text(self.subject("user")),
            team: text(self.subject("team")),
            model: text(self.model()),
            backend: backend.unwrap_or_default(),
        }
    }

    pub(super) fn values(&self, id: String) -> [Value; WIDTH] {
        let Usage { input, cached, cache_write, output, reasoning, .. } = self.usage;
        let backend = self.backend.as_ref();
        [
            id.into(),
            self.finished_at.into(),
            self.key().into(),
            self.subject("user").into(),
            self.subject("team").into(),
            self.endpoint.into(),
            self.model().into(),
            self.served_model.as_deref().into(),
            backend.map(|backend| &*backend.provider).into(),
            backend.map(|backend| &*backend.model).into(),
            input.into(),
            cached.into(),
            cache_write.into(),
            output.into(),
            reasoning.into(),
            self.cost.into(),
            self.wasted.into(),
            i64::from(self.status).into(),
            self.outcome.into(),
            i64::from(self.attempts).into(),
            self.latency_ms.into(),
            self.first_token_ms.into(),
            self.end_user.as_deref().into(),
        ]
    }
}

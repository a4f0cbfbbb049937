//! What is left of the limits of an account.

use std::sync::Arc;

use super::{Account, SpendLimit, Subject};
use crate::store::{Charge, CounterUsage, Store, TakeError};

/// What is left of one limit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LimitUsage {
    /// Whose limit it is.
    pub subject: Arc<Subject>,
    /// The model that it is for; `None` for all together.
    pub model: Option<Arc<str>>,
    /// The limit.
    pub limit: SpendLimit,
    /// What is left of it.
    pub usage: CounterUsage,
}

impl Account {
    /// Returns what is left of each limit of each subject. It uses nothing.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn usage(&self, store: &dyn Store) -> Result<Vec<LimitUsage>, TakeError> {
        let (mut found, mut charges) = (Vec::new(), Vec::new());
        for subject in self.subjects() {
            for (model, counter) in subject.all_counters() {
                found.push((subject.clone(), model.cloned(), counter.limit));
                charges.push(Charge::new(counter.key.clone(), counter.limit.rule(), 0));
            }
        }
        if charges.is_empty() {
            return Ok(Vec::new());
        }
        let receipt = store.take(self.group(), &charges).await?;
        let usages = found.into_iter().zip(receipt.usages());
        let usage =
            |((subject, model, limit), usage): (_, &CounterUsage)| LimitUsage { subject, model, limit, usage: *usage };
        Ok(usages.map(usage).collect())
    }
}

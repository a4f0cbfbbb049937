//! What is left of an account's limits.

use std::sync::Arc;

use super::{Account, SpendLimit, Subject};
#[cfg(doc)]
use crate::store::Memory;
use crate::store::{Charge, CounterUsage, Store, TakeError};

/// One limit of an account, and what is left of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LimitUsage {
    subject: Arc<Subject>,
    model: Option<Arc<str>>,
    limit: SpendLimit,
    usage: CounterUsage,
}

impl LimitUsage {
    /// Returns whose limit it is.
    #[must_use]
    pub const fn subject(&self) -> &Arc<Subject> {
        &self.subject
    }

    /// Returns the model that it is for; `None` for all models together.
    #[must_use]
    pub const fn model(&self) -> Option<&Arc<str>> {
        self.model.as_ref()
    }

    /// Returns the limit.
    #[must_use]
    pub const fn limit(&self) -> SpendLimit {
        self.limit
    }

    /// Returns how much is allowed, how much of it is left, and when all of it is there again.
    #[must_use]
    pub const fn usage(&self) -> CounterUsage {
        self.usage
    }
}

impl Account {
    /// Returns every limit of every subject, and what is left of it. It uses nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use berry_tower::{spend::{Account, SpendLimits, Subject}, store::Memory};
    /// use std::sync::Arc;
    ///
    /// let limits = SpendLimits::new().tokens_per_minute(100);
    /// let account = Account::new([Arc::new(Subject::new("user", "alice").with_limits(limits))]);
    /// let usage = account.usage(&Memory::new()).await.unwrap();
    /// assert_eq!(usage[0].usage().remaining(), 100);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub async fn usage(&self, store: &dyn Store) -> Result<Vec<LimitUsage>, TakeError> {
        let (mut limits, mut charges) = (Vec::new(), Vec::new());
        for subject in self.subjects() {
            for (model, counter) in subject.all_counters() {
                limits.push((subject.clone(), model.cloned(), counter.limit));
                charges.push(Charge::new(counter.key.clone(), counter.limit.rule(), 0));
            }
        }
        if charges.is_empty() {
            return Ok(Vec::new());
        }
        let receipt = store.take(self.group(), &charges).await?;
        let usages = receipt.usages().to_vec();
        // Nothing was taken.
        store.settle(receipt, vec![0; charges.len()]).await;
        let limits = limits.into_iter().zip(usages);
        Ok(limits.map(|((subject, model, limit), usage)| LimitUsage { subject, model, limit, usage }).collect())
    }
}

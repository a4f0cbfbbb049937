//! Counters of this process, which stand in for a store that is away.

use std::sync::atomic::Ordering::Relaxed;

use super::{OnError, Origin, Shared};
use crate::store::{Charge, Receipt, Rule, TakeError};

impl Shared {
    /// Counts in this process while the store is away.
    pub(super) fn take_locally(&self, group: &str, charges: &[Charge]) -> Result<Receipt, TakeError> {
        let receipt = match self.on_error {
            OnError::Deny => return Err(TakeError::Unavailable),
            OnError::Local => self.local.try_take(group, charges)?,
            OnError::Share => {
                let replicas = self.link.replicas.load(Relaxed).max(1);
                let shares: Vec<Charge> = charges.iter().map(|charge| share(charge, replicas)).collect();
                for (charge, share) in charges.iter().zip(&shares) {
                    self.begin(group, charge, share, replicas);
                }
                self.local.try_take(group, &shares)?
            }
        };
        Ok(Receipt::new(receipt.usages().to_vec(), Origin::Local(receipt)))
    }

    /// Begins to count a limit in this process with what was left of it, divided by the processes.
    fn begin(&self, group: &str, charge: &Charge, share: &Charge, replicas: u64) {
        if self.begun.contains_key(&charge.key) || self.begun.insert(charge.key.clone(), ()).is_some() {
            return;
        }
        let Some(left) = self.left.get(&charge.key).map(|left| *left / replicas) else { return };
        let spent = share.rule.limit().saturating_sub(left);
        if spent > 0 && !matches!(share.rule, Rule::Concurrent { .. }) {
            // What was spent stays spent.
            drop(self.local.try_take(group, &[Charge::new(charge.key.clone(), share.rule, spent)]));
        }
    }
}

/// A charge on this process's share of a limit.
fn share(charge: &Charge, replicas: u64) -> Charge {
    let rule = charge.rule.with_limit(charge.rule.limit() / replicas);
    Charge::new(charge.key.clone(), rule, charge.amount)
}

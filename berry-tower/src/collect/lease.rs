//! The lease of one body on the budget, if there is a budget.

use super::error::CollectError;
use crate::body::{Buffered, ByteBudget, ByteLease};

#[derive(Debug)]
pub(super) struct Lease(Option<ByteLease>);

impl Lease {
    pub(super) fn new(budget: Option<&ByteBudget>) -> Self {
        Self(budget.map(ByteBudget::lease))
    }

    pub(super) fn try_grow(&mut self, bytes: usize) -> Result<(), CollectError> {
        let taken = self.0.as_mut().is_none_or(|lease| lease.try_grow(bytes));
        if taken { Ok(()) } else { Err(CollectError::OverBudget) }
    }

    /// Attaches what the final bytes need of the lease, and gives the rest back.
    pub(super) fn attach(self, body: Buffered) -> Buffered {
        match self.0 {
            None => body,
            Some(mut lease) => {
                lease.shrink_to(body.bytes().len());
                body.with_lease(lease)
            }
        }
    }
}

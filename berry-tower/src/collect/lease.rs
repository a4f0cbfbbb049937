//! The lease of one body on the budget, if there is a budget.

use http::Extensions;

use super::{Budget, error::CollectError};
use crate::body::{Buffered, ByteBudget, ByteLease};

#[derive(Debug)]
pub(super) struct Lease(Option<ByteLease>);

impl Lease {
    /// Returns an empty lease; of a long body, with the request's extensions, it takes the caller's share.
    pub(super) fn new(budget: &Budget, long: Option<&Extensions>) -> Self {
        let caller = || budget.caller.as_ref()?(long?);
        let lease = |bytes: &ByteBudget| caller().map_or_else(|| bytes.lease(), |caller| bytes.lease_for(caller));
        Self(budget.bytes.as_ref().map(lease))
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

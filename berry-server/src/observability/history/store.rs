//! The history of the process.

use std::{cmp::Reverse, sync::Arc};

use tokio::time::Instant;

use super::{
    events::{Event, EventKind, Ring},
    series::Series,
};

/// The most failed attempts that are kept, and the most changes of state.
const EVENTS: usize = 50;

/// The recent past of the process.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) series: Series,
    failed: Ring<Event, EVENTS>,
    /// In a ring of its own, so that many failures do not displace the change that began them.
    changed: Ring<Event, EVENTS>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { series: Series::new(Instant::now()), failed: Ring::default(), changed: Ring::default() }
    }

    pub(crate) fn add(&self, event: Event) {
        match event.kind {
            EventKind::Failed { .. } => self.failed.add(event),
            EventKind::Health { .. } | EventKind::Breaker { .. } => self.changed.add(event),
        }
    }

    /// Returns the latest events of both kinds, the latest first.
    pub(crate) fn events(&self) -> Vec<Arc<Event>> {
        let mut all = self.changed.latest();
        all.extend(self.failed.latest());
        // The sort is stable: events of one moment keep their order.
        all.sort_by_key(|event| Reverse(event.at));
        all
    }
}

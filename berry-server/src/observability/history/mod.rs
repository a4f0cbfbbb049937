//! What a page that is opened now wants to see of the past: the last quarter of an hour as
//! numbers, and the last things that went wrong. The memory for it is fixed; it outlives
//! configurations, and ends with the process.

mod epoch_counter;
mod events;
mod histogram;
mod observer;
mod series;

use std::{cmp::Reverse, sync::Arc};

use tokio::time::Instant;

use self::events::Ring;
pub(crate) use self::{
    events::{Event, EventKind},
    observer::HistoryObserver,
    series::{FinishedRequest, Point, STEP, Series},
};

/// How many failed attempts are kept, and how many changes of state.
const EVENTS: usize = 50;

/// The past of this process.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) series: Series,
    failed: Ring<Event, EVENTS>,
    /// In a ring of their own: when everything fails, it is still told when that began.
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

    /// The last events of both kinds, the latest first.
    pub(crate) fn events(&self) -> Vec<Arc<Event>> {
        let mut all = self.changed.latest();
        all.extend(self.failed.latest());
        // Those of one moment stay in the order in which each kind was added.
        all.sort_by_key(|event| Reverse(event.at));
        all
    }
}

//! Records what happens to the backends.

use std::sync::Arc;

use berry_tower::{
    backend::{BackendId, HealthChange},
    breaker::Transition,
    observe::{AttemptEnd, BackendObserver, Cause, Observer},
};
use jiff::Timestamp;

use super::{
    events::{Event, EventKind},
    store::History,
};

/// [`Observer`] that adds events to the history.
#[derive(Debug)]
pub(crate) struct HistoryObserver(pub(crate) Arc<History>);

/// Records the events of one backend.
#[derive(Debug)]
struct BackendRecorder {
    backend: BackendId,
    history: Arc<History>,
}

impl Observer for HistoryObserver {
    fn backend(&self, id: &BackendId) -> Arc<dyn BackendObserver> {
        Arc::new(BackendRecorder { backend: id.clone(), history: self.0.clone() })
    }
}

impl BackendRecorder {
    fn add(&self, kind: EventKind) {
        self.history.add(Event { at: Timestamp::now(), backend: self.backend.clone(), kind });
    }
}

impl BackendObserver for BackendRecorder {
    fn attempt_ended(&self, attempt: &AttemptEnd<'_>) {
        if attempt.class.is_error() {
            self.add(EventKind::Failed {
                class: attempt.class.name(),
                status: attempt.status.map(|status| status.as_u16()),
                reason: attempt.reason.map(str::to_owned),
            });
        }
    }

    fn health_changed(&self, HealthChange { from, to }: HealthChange, _: Cause) {
        self.add(EventKind::Health { from, to });
    }

    fn breaker_changed(&self, Transition { from, to }: Transition) {
        self.add(EventKind::Breaker { from: from.name(), to: to.name() });
    }
}

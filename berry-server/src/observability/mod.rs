//! Logs, metrics and the history that the dashboard shows.

#[cfg(feature = "observability")]
pub(crate) mod history;
pub mod log;
#[cfg(feature = "observability")]
pub(crate) mod metrics;
#[cfg(not(feature = "observability"))]
#[path = "metrics/off.rs"]
pub(crate) mod metrics;
#[cfg(feature = "otlp")]
pub(crate) mod otlp;
#[cfg(not(feature = "otlp"))]
#[path = "otlp/off.rs"]
pub(crate) mod otlp;
pub(crate) mod outcome;

use std::sync::Arc;

use berry_tower::backend::Catalog;

use self::{metrics::Metrics, otlp::Otlp};
#[cfg(feature = "observability")]
use {
    self::history::{History, HistoryObserver},
    berry_tower::observe::Observer,
};

/// The metrics, the history and the export of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Observability {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) otlp: Arc<Otlp>,
    #[cfg(feature = "observability")]
    pub(crate) history: Arc<History>,
}

impl Observability {
    /// Empty metrics and an empty history.
    pub(crate) fn new() -> Self {
        Self {
            metrics: Metrics::new(),
            otlp: Arc::default(),
            #[cfg(feature = "observability")]
            history: Arc::new(History::new()),
        }
    }

    /// Attaches the observers to a catalogue. Catalogues derived from it inherit them.
    #[cfg(feature = "observability")]
    pub(crate) fn observe(&self, catalog: Catalog) -> Catalog {
        let observers: Vec<Arc<dyn Observer>> =
            vec![self.metrics.observer(), Arc::new(HistoryObserver(self.history.clone()))];
        catalog.observed_by(Arc::new(observers))
    }

    /// Returns the catalogue unchanged.
    #[cfg(not(feature = "observability"))]
    pub(crate) fn observe(&self, catalog: Catalog) -> Catalog {
        catalog
    }
}

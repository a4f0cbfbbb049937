//! Runs the health probes of a configuration for as long as it is in use.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use berry_tower::probe::{Prober, Settings};
use tokio::task::JoinHandle;

use crate::state::Snapshot;

/// The task of the probes. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Probes(JoinHandle<()>);

impl Probes {
    /// Starts probing the backends of a configuration.
    pub(crate) fn start(snapshot: &Snapshot) -> Self {
        let settings = &snapshot.config.settings;
        let prober = Prober::new(
            snapshot.catalog.clone(),
            snapshot.process.transport(),
            Settings {
                interval: Duration::from_secs(settings.health_check_interval_seconds),
                timeout: Duration::from_secs(settings.health_check_timeout_seconds),
                connectivity_interval: Duration::from_secs(settings.smart_ai.lightweight_check_interval_seconds),
            },
        );
        let (first_round, probed) = (prober.first_round(), snapshot.process.probed.clone());
        Self(tokio::spawn(async move {
            let ready = async {
                first_round.await;
                probed.store(true, Relaxed);
            };
            tokio::join!(ready, prober.run());
        }))
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.0.abort();
    }
}

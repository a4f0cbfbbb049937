//! Reloads: another configuration in the place of the one in force, or a report of why not.

mod difference;
mod watch;

use std::sync::Arc;

use jiff::Timestamp;

pub use difference::{Changed, Changes};
pub(crate) use watch::{Watch, watch};

use crate::{
    app::App,
    config::{self, Errors, Finding, Loaded, Seen},
};

/// What came of a reload.
#[derive(Clone, Debug)]
pub(crate) struct Reloaded {
    pub(crate) at: Timestamp,
    /// The new configuration is in force.
    pub(crate) ok: bool,
    /// What was wrong with it.
    pub(crate) errors: Vec<String>,
}

/// A reload that went well.
#[derive(Clone, Debug)]
pub(crate) struct Success {
    pub(crate) changes: Changes,
    pub(crate) warnings: Vec<Finding>,
}

impl App {
    /// Reads the configuration's file again and goes over to what it says now. `cause` is for the
    /// log.
    ///
    /// # Errors
    /// All that is wrong with the file; then the old configuration stays in force.
    pub(crate) async fn reload_file(&self, cause: &'static str) -> Result<Success, Errors> {
        let _turn = self.reloading().await;
        let before = self.snapshot();
        let result = match before.source.clone() {
            None => Err(Errors::no_file()),
            Some(path) => {
                // Looked at first: what changes while it is read is seen by the watch.
                let read = tokio::task::spawn_blocking(move || (Seen::of(&path), config::load(&path))).await;
                read.map_or_else(
                    |error| Err(Errors::unbuildable(&error.to_string(), Vec::new())),
                    |(seen, read)| {
                        before.shared.seen.store(seen.map(Arc::new));
                        read
                    },
                )
            }
        };
        self.turn_to(result, cause)
    }

    /// Goes over to another configuration.
    ///
    /// # Errors
    /// It cannot be built; then the old configuration stays in force.
    pub(crate) async fn reload(&self, loaded: Loaded) -> Result<Success, Errors> {
        let _turn = self.reloading().await;
        if let Some(seen) = &loaded.seen {
            self.snapshot().shared.seen.store(Some(Arc::new(seen.clone())));
        }
        self.turn_to(Ok(loaded), "the program")
    }

    fn turn_to(&self, read: Result<Loaded, Errors>, cause: &'static str) -> Result<Success, Errors> {
        let before = self.snapshot();
        let result = read.and_then(|loaded| {
            let warnings = loaded.warnings.clone();
            let changes = Changes::between(&before.config, &loaded.config);
            match self.replace(loaded) {
                Ok(()) => Ok(Success { changes, warnings }),
                Err(message) => Err(Errors::unbuildable(&message, warnings)),
            }
        });
        tell(&result, cause);
        let errors = result.as_ref().err().map(|errors| errors.findings.iter().map(Finding::to_string).collect());
        let last = Reloaded { at: Timestamp::now(), ok: result.is_ok(), errors: errors.unwrap_or_default() };
        before.shared.last_reload.store(Some(Arc::new(last)));
        result
    }
}

fn tell(result: &Result<Success, Errors>, cause: &'static str) {
    let warnings = match result {
        Ok(Success { changes, warnings }) => {
            tracing::info!(cause, %changes, "the configuration was reloaded");
            warnings
        }
        Err(errors) => {
            for error in &errors.findings {
                tracing::error!(cause, %error, "the new configuration is refused; the old one stays in force");
            }
            &errors.warnings
        }
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

//! Reads a configuration again and applies it.

use std::sync::{Arc, OnceLock, Weak};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::difference::Changes;
use crate::{
    config::{self, Errors, FileVersion, Finding, Loaded},
    state::{ReloadResult, Snapshot},
};

/// A running application that can change its configuration.
pub(crate) trait Apply: Send + Sync {
    /// Returns the current configuration.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// Replaces the current configuration.
    ///
    /// # Errors
    /// Returns a message when the new configuration cannot be built. The previous one then stays in use.
    fn apply(&self, loaded: Loaded) -> Result<(), String>;
}

/// Reloads the configuration of the application that it is bound to, one reload at a time. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reloader(Arc<Inner>);

struct Inner {
    /// Weak, because the application holds services that hold this handle.
    target: OnceLock<Weak<dyn Apply>>,
    turn: Semaphore,
}

impl Default for Reloader {
    fn default() -> Self {
        Self(Arc::new(Inner { target: OnceLock::new(), turn: Semaphore::new(1) }))
    }
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reloader")
    }
}

/// The result of a successful reload.
#[derive(Clone, Debug)]
pub(crate) struct Success {
    pub(crate) changes: Changes,
    pub(crate) warnings: Vec<Finding>,
    /// The new configuration.
    pub(crate) snapshot: Arc<Snapshot>,
}

impl Reloader {
    /// Sets the application to reload. Only the first call has an effect.
    pub(crate) fn bind(&self, target: Weak<dyn Apply>) {
        let _ = self.0.target.set(target);
    }

    fn target(&self) -> Result<Arc<dyn Apply>, Errors> {
        let target = self.0.target.get().and_then(Weak::upgrade);
        target.ok_or_else(|| Errors::unbuildable("the server is stopping", Vec::new()))
    }

    /// Reads the configuration file again and applies it. `cause` is for the log.
    ///
    /// # Errors
    /// Returns every error of the file. The previous configuration then stays in use.
    pub(crate) async fn reload_file(&self, cause: &'static str) -> Result<Success, Errors> {
        // The semaphore is never closed.
        let _turn = self.0.turn.acquire().await;
        let target = self.target()?;
        let before = target.snapshot();
        let result = match before.source.clone() {
            None => Err(Errors::no_file()),
            Some(path) => {
                // The file's metadata is taken first, so that the watcher notices a change during the read.
                let read = tokio::task::spawn_blocking(move || (FileVersion::of(&path), config::load(&path))).await;
                read.map_or_else(
                    |error| Err(Errors::unbuildable(&error.to_string(), Vec::new())),
                    |(file_version, read)| {
                        before.process.file_version.store(file_version.map(Arc::new));
                        read
                    },
                )
            }
        };
        apply(&*target, result, cause)
    }

    /// Applies another configuration.
    ///
    /// # Errors
    /// Returns an error when the configuration cannot be built. The previous one then stays in use.
    pub(crate) async fn reload(&self, loaded: Loaded) -> Result<Success, Errors> {
        let _turn = self.0.turn.acquire().await;
        let target = self.target()?;
        if let Some(file_version) = &loaded.file_version {
            target.snapshot().process.file_version.store(Some(Arc::new(file_version.clone())));
        }
        apply(&*target, Ok(loaded), "the program")
    }
}

/// Applies a loaded configuration, logs the result and stores it for the status pages.
fn apply(target: &dyn Apply, read: Result<Loaded, Errors>, cause: &'static str) -> Result<Success, Errors> {
    let before = target.snapshot();
    let result = read.and_then(|loaded| {
        let mut warnings = loaded.warnings.clone();
        if !before.process.has_database_of(&loaded.config) {
            let message = "another database is used only after a restart".to_owned();
            warnings.push(Finding { path: "database.url".to_owned(), line: None, message });
        }
        let changes = Changes::between(&before.config, &loaded.config);
        match target.apply(loaded) {
            Ok(()) => Ok(Success { changes, warnings, snapshot: target.snapshot() }),
            Err(message) => Err(Errors::unbuildable(&message, warnings)),
        }
    });
    log(&result, cause);
    let errors = result.as_ref().err().map(|errors| errors.findings.iter().map(Finding::to_string).collect());
    let last = ReloadResult { at: Timestamp::now(), ok: result.is_ok(), errors: errors.unwrap_or_default() };
    before.process.last_reload.store(Some(Arc::new(last)));
    result
}

fn log(result: &Result<Success, Errors>, cause: &'static str) {
    let warnings = match result {
        Ok(Success { changes, warnings, .. }) => {
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

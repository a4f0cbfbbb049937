//! The state that requests, status pages and background tasks read: the [`Snapshot`] of a configuration, and the
//! [`Process`], which survives reloads.
//!
//! This module depends on the configuration and the types of the layers, and on none of its readers.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use berry_tower::{
    auth::ApiKeys,
    backend::Catalog,
    body::ByteBudget,
    client::EnvProxy,
    early::{Shutdown, ShutdownSignal},
    retry::{BackoffPolicy, Budget},
    select::TagPolicy,
    spend::Prices,
    store::Store,
};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    authentication::Keys,
    config::{
        Config, DatabaseUrl, FileVersion, Loaded, accounts,
        build::{Built, Caller, ProviderKeys, build},
    },
    fleet::Fleet,
    memory,
};
#[cfg(feature = "database")]
use crate::{
    database::Database,
    keys::{Directory, FilePeople},
    ledger::Ledger,
};

/// The state of the process, which survives reloads.
#[derive(Debug)]
pub(crate) struct Process {
    /// When the server started.
    pub(crate) started: Instant,
    /// Whether the server is draining.
    draining: AtomicBool,
    /// Whether the first round of probes has ended; a reload does not reset it.
    pub(crate) probed: Arc<AtomicBool>,
    /// Ends open streams when it is triggered.
    stop: Shutdown,
    /// The result of the last reload.
    pub(crate) last_reload: ArcSwapOption<ReloadResult>,
    /// The configuration file as it was when it was last read.
    pub(crate) file_version: ArcSwapOption<FileVersion>,
    /// Whether the server listens on a loopback address, so that only this machine reaches it.
    is_loopback: bool,
    /// The connections to providers.
    transport: EnvProxy,
    /// The limit of all request bodies in memory together.
    pub(crate) buffers: ByteBudget,
    /// The number of requests that wait for a free connection slot.
    pub(crate) queued: Gauge,
    /// The notices between replicas.
    pub(crate) fleet: Fleet,
    /// The address of the database at the start.
    database_url: Option<DatabaseUrl>,
    /// The database of the configuration at the start; a reload does not replace it.
    #[cfg(feature = "database")]
    pub(crate) database: Option<Database>,
    /// The keys of the database.
    #[cfg(feature = "database")]
    pub(crate) directory: Option<Directory>,
    /// The ledger of finished requests.
    #[cfg(feature = "database")]
    pub(crate) ledger: Option<Ledger>,
}

/// A number that rises and falls. Cheap to clone; clones share the number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicUsize>);

impl Gauge {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Adds one until the guard is dropped.
    pub(crate) fn enter(&self) -> GaugeGuard<'_> {
        self.0.fetch_add(1, Relaxed);
        GaugeGuard(self)
    }
}

/// See [`Gauge::enter`].
#[derive(Debug)]
pub(crate) struct GaugeGuard<'a>(&'a Gauge);

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// The result of a reload.
#[derive(Clone, Debug)]
pub(crate) struct ReloadResult {
    pub(crate) at: Timestamp,
    /// Whether the new configuration was applied.
    pub(crate) ok: bool,
    /// The errors of the rejected configuration.
    pub(crate) errors: Vec<String>,
}

impl Process {
    pub(crate) fn new(loaded: &Loaded, is_loopback: bool) -> Self {
        #[cfg(feature = "database")]
        let database = loaded.config.database.as_ref().map(|database| Database::new(&database.url));
        let fleet = Fleet::default();
        Self {
            started: Instant::now(),
            draining: AtomicBool::new(false),
            probed: Arc::default(),
            stop: Shutdown::new(),
            last_reload: ArcSwapOption::empty(),
            file_version: ArcSwapOption::from(loaded.file_version.clone().map(Arc::new)),
            is_loopback,
            transport: EnvProxy::default(),
            buffers: ByteBudget::new(usize::MAX),
            queued: Gauge::default(),
            database_url: loaded.config.database.as_ref().map(|database| database.url.clone()),
            #[cfg(feature = "database")]
            directory: database.clone().map(|database| Directory::new(database, fleet.clone())),
            #[cfg(feature = "database")]
            ledger: database.clone().map(Ledger::start),
            #[cfg(feature = "database")]
            database,
            fleet,
        }
    }

    pub(crate) fn transport(&self) -> EnvProxy {
        self.transport.clone()
    }

    /// Whether the database at the start is that of `config`.
    pub(crate) fn has_database_of(&self, config: &Config) -> bool {
        self.database_url.as_ref() == config.database.as_ref().map(|database| &database.url)
    }

    /// Marks the server as not ready for new traffic.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether the first round of probes has ended.
    pub(crate) fn is_probed(&self) -> bool {
        self.probed.load(Relaxed)
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the open streams with an error event.
    pub(crate) fn stop_streams(&self) {
        self.stop.start();
    }

    /// Returns a signal that completes when open streams must end.
    pub(crate) fn stop_signal(&self) -> ShutdownSignal {
        self.stop.signal()
    }
}

/// Everything that is built from one configuration, except for its services.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) process: Arc<Process>,
    pub(crate) config: Config,
    /// The file that the configuration came from.
    pub(crate) source: Option<PathBuf>,
    pub(crate) loaded_at: Timestamp,
    pub(crate) catalog: Catalog,
    /// The users by table id.
    pub(crate) callers: HashMap<String, Arc<Caller>>,
    /// The users by key.
    pub(crate) keys: Keys,
    /// The providers' keys that change from time to time.
    pub(crate) provider_keys: ProviderKeys,
    pub(crate) tag_policy: TagPolicy,
    /// Whether status pages are open to all.
    pub(crate) public_status: bool,
    pub(crate) backoff: BackoffPolicy,
    pub(crate) retry_budget: Arc<Budget>,
    /// The counters of limits, which replicas may share.
    pub(crate) store: Arc<dyn Store>,
    /// What tokens cost.
    pub(crate) prices: Arc<Prices>,
}

impl Snapshot {
    /// Builds the snapshot of `loaded`. Backends and users that also exist in `before` keep their state.
    ///
    /// `observe` attaches the observers to the first catalogue; later catalogues inherit them.
    ///
    /// # Errors
    /// Returns a message when a value cannot be built.
    pub(crate) fn new(
        process: Arc<Process>,
        loaded: Loaded,
        before: Option<&Self>,
        observe: impl FnOnce(Catalog) -> Catalog,
    ) -> Result<Self, String> {
        let Loaded { config, source, .. } = loaded;
        let none = HashMap::new();
        let provider_keys = ProviderKeys::new(&config, before.map(|before| &before.provider_keys));
        let Built { models, tuning, plan, keys, callers, tag_policy } =
            build(&config, before.map_or(&none, |before| &before.callers), &provider_keys)?;
        let catalog = match before {
            Some(before) => before.catalog.fork(),
            None => observe(Catalog::default()),
        };
        catalog.replace(models).map_err(|error| error.to_string())?;
        catalog.retune(&tuning);
        let retry_budget = retry_budget(&config, before);
        let store = store(&config, before)?;
        let prices = Arc::new(accounts::prices(&config));
        let public_status = config.settings.public_status.unwrap_or(process.is_loopback);
        let max_buffered = match config.settings.max_buffered_bytes {
            0 => memory::limit() / 4,
            bytes => bytes,
        };
        let keys = Keys::new(ApiKeys::new(keys));
        #[cfg(feature = "database")]
        let keys = keys.with_directory(process.directory.clone());
        #[cfg(feature = "database")]
        if let Some(directory) = &process.directory {
            directory.set_file(FilePeople::new(&config, &callers));
        }
        #[cfg(feature = "database")]
        if let Some(ledger) = &process.ledger {
            ledger.set(config.database.as_ref());
        }
        process.buffers.set_max(usize::try_from(max_buffered).unwrap_or(usize::MAX));
        Ok(Self {
            public_status,
            process,
            config,
            source,
            loaded_at: Timestamp::now(),
            catalog,
            callers,
            keys,
            provider_keys,
            tag_policy,
            backoff: plan,
            retry_budget,
            store,
            prices,
        })
    }
}

/// Returns the store of `before` if `[store]` is unchanged, otherwise a new one.
fn store(config: &Config, before: Option<&Snapshot>) -> Result<Arc<dyn Store>, String> {
    match before.filter(|before| before.config.store == config.store) {
        Some(before) => Ok(before.store.clone()),
        None => crate::store::open(config.store.as_ref()),
    }
}

/// Returns the budget of `before` if its rule is unchanged, otherwise a new one.
fn retry_budget(config: &Config, before: Option<&Snapshot>) -> Arc<Budget> {
    let rule = &config.settings.retry_budget;
    match before.filter(|before| before.config.settings.retry_budget == *rule) {
        Some(before) => before.retry_budget.clone(),
        None => Arc::new(Budget::new(rule.ratio, rule.min_per_second)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a configuration with an admin and the model `m`, whose backend refuses connections.
    pub(crate) fn loaded(settings: &str) -> Loaded {
        let file = r#"
            [users.root]
            token = "token-of-root-0123456789"
            tags = ["admin"]
            [providers.p]
            base_url = "http://127.0.0.1:9"
            api_key = ""
            models = ["m"]
            [models.m]
            name = "m"
            [[models.m.backends]]
            provider = "p"
            model = "m"
            probe = "none"
        "#;
        crate::config::parse(&format!("[settings]\n{settings}\n{file}"), &|_| None).unwrap()
    }

    pub(crate) fn snapshot() -> Arc<Snapshot> {
        let process = Arc::new(Process::new(&loaded(""), true));
        Arc::new(Snapshot::new(process, loaded(""), None, |catalog| catalog).unwrap())
    }

    #[tokio::test]
    async fn keeps_the_retry_budget_while_its_rule_is_unchanged() {
        let first = snapshot();
        let next = |settings| Snapshot::new(first.process.clone(), loaded(settings), Some(&first), |catalog| catalog);
        assert!(Arc::ptr_eq(&next("").unwrap().retry_budget, &first.retry_budget));
        let changed = next("retry_budget = { ratio = 0.7 }").unwrap();
        assert!(!Arc::ptr_eq(&changed.retry_budget, &first.retry_budget));
    }
}

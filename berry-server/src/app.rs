//! The application: what all requests share, and what serves one configuration.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use berry_tower::{
    backend::Catalog,
    client::Hyper,
    gateway::{Settings, gateway},
    rate_limit::QuotaFromRequest,
    retry::Budget,
    select::TagPolicy,
};
use http::{Extensions, request::Parts};
use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::Instant,
};

use crate::{
    config::{
        Config, Loaded, Seen,
        build::{Built, Caller, build, seconds},
    },
    http::access_log::Who,
    http::routes::{self, Answer, Came, Errors, Front, Gateways},
    observability::metrics::Metrics,
    probes::Probes,
    reload::Reloaded,
};
#[cfg(feature = "observability")]
use {
    crate::observability::history::{History, Keeper},
    berry_tower::observe::Observer,
};

/// What outlives every configuration.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) started: Instant,
    /// The server is on its way out.
    pub(crate) draining: AtomicBool,
    /// The first round of probes has ended; a reload does not undo it.
    pub(crate) probed: Arc<AtomicBool>,
    /// Ends the streams that are open.
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) metrics: Arc<Metrics>,
    /// What came of the last reload.
    pub(crate) last_reload: ArcSwapOption<Reloaded>,
    /// What the configuration's file looked like when it was read last.
    pub(crate) seen: ArcSwapOption<Seen>,
    transport: Hyper,
    #[cfg(feature = "observability")]
    pub(crate) history: Arc<History>,
    /// For handlers that act on the whole; it holds them.
    app: OnceLock<Weak<Inner>>,
}

impl Shared {
    /// The application, unless it is gone.
    pub(crate) fn app(&self) -> Option<App> {
        self.app.get()?.upgrade().map(App)
    }
}

/// What one configuration comes to.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: Config,
    pub(crate) source: Option<PathBuf>,
    pub(crate) loaded_at: Timestamp,
    pub(crate) catalog: Catalog,
    pub(crate) callers: HashMap<String, Arc<Caller>>,
    pub(crate) tag_policy: TagPolicy,
    budget: Arc<Budget>,
}

impl Snapshot {
    pub(crate) fn transport(&self) -> Hyper {
        self.shared.transport.clone()
    }
}

/// The configuration in force and what serves it.
struct Running {
    snapshot: Arc<Snapshot>,
    front: Front,
    _probes: Probes,
}

/// The application; cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    running: ArcSwap<Running>,
    /// Reloads come one after the other; requests have nothing to do with it.
    reloading: Semaphore,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("front", &self.0.running.load().front).finish_non_exhaustive()
    }
}

impl App {
    pub(crate) fn new(loaded: Loaded) -> Result<Self, String> {
        let metrics = Metrics::new();
        metrics.keep();
        let shared = Arc::new(Shared {
            started: Instant::now(),
            draining: AtomicBool::new(false),
            probed: Arc::default(),
            stop: watch::Sender::new(false),
            metrics,
            last_reload: ArcSwapOption::empty(),
            seen: ArcSwapOption::from(loaded.seen.clone().map(Arc::new)),
            transport: Hyper::new(),
            #[cfg(feature = "observability")]
            history: Arc::new(History::new()),
            app: OnceLock::new(),
        });
        let running = ArcSwap::from_pointee(run(&shared, loaded, None)?);
        let inner = Arc::new(Inner { shared, running, reloading: Semaphore::new(1) });
        let _ = inner.shared.app.set(Arc::downgrade(&inner));
        Ok(Self(inner))
    }

    /// Waits for reloads that are under way; the next ones wait until what this gives is dropped.
    pub(crate) async fn reloading(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.reloading.acquire().await.ok()
    }

    /// Goes over to another configuration in one step. Requests under way finish on the old one.
    pub(crate) fn replace(&self, loaded: Loaded) -> Result<(), String> {
        let next = run(&self.0.shared, loaded, Some(&self.snapshot()))?;
        self.0.running.store(Arc::new(next));
        Ok(())
    }

    /// Answers a request by the configuration in force.
    pub(crate) fn serve(&self, request: http::Request<Came>) -> Answer {
        self.0.running.load().front.call(request)
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.running.load().snapshot.clone()
    }

    /// Says that no new traffic should come.
    pub(crate) fn drain(&self) {
        self.0.shared.draining.store(true, Relaxed);
    }

    /// Ends the streams that are open with an error event.
    pub(crate) fn stop_streams(&self) {
        self.0.shared.stop.send_replace(true);
    }
}

/// Makes a configuration run, with the state of the one before it.
fn run(shared: &Arc<Shared>, loaded: Loaded, before: Option<&Snapshot>) -> Result<Running, String> {
    let Loaded { config, source, .. } = loaded;
    let none = HashMap::new();
    let Built { models, tuning, plan, keys, callers, tag_policy } =
        build(&config, before.map_or(&none, |before| &before.callers))?;
    let catalog = match before {
        Some(before) => before.catalog.successor(models, &tuning),
        None => observed(Catalog::tuned(models, &tuning), shared),
    };
    let settings = &config.settings;
    let budget = budget(&config, before);
    let stack = Settings {
        catalog: catalog.clone(),
        transport: shared.transport.clone(),
        plan,
        budget: budget.clone(),
        total_timeout: seconds(settings.total_timeout_seconds),
        keep_alive: seconds(settings.stream_keepalive_seconds),
        commit_after: seconds(settings.commit_after_seconds),
        stop: Some(shared.stop.subscribe()),
        max_body: usize::try_from(settings.max_request_body_bytes).unwrap_or(usize::MAX),
        tags: |extensions: &Extensions| {
            Who::learn(extensions);
            extensions.get::<Arc<Caller>>().map_or(&[], |caller| &caller.tags)
        },
        tag_policy,
        render: Errors::OpenAi,
    };
    let keys = berry_tower::auth::ApiKeys::new(keys);
    let limits = QuotaFromRequest::new(|head: &Parts| {
        Who::learn(&head.extensions);
        head.extensions.get::<Arc<Caller>>()?.quota.as_ref()
    });
    let models = catalog.clone();
    let allow = move |who: &Arc<Caller>, name: &str| {
        // What does not exist is not a question of permission; the selection answers 404.
        models.load().find(name).is_none_or(|model| who.allows(model))
    };
    let messages = Settings { render: Errors::Anthropic, ..stack.clone() };
    let gateways = Gateways {
        messages: gateway(messages, keys.accept_x_api_key(), limits.clone(), allow.clone()),
        openai: gateway(stack, keys.clone(), limits, allow),
    };
    let snapshot = Arc::new(Snapshot {
        shared: shared.clone(),
        config,
        source,
        loaded_at: Timestamp::now(),
        catalog,
        callers,
        tag_policy,
        budget,
    });
    let front = routes::front(&snapshot, &gateways, keys);
    let _probes = Probes::start(&snapshot);
    Ok(Running { snapshot, front, _probes })
}

/// What retries may be spent; what has been, unless the rule is another one.
fn budget(config: &Config, before: Option<&Snapshot>) -> Arc<Budget> {
    let rule = &config.settings.retry_budget;
    match before.filter(|before| before.config.settings.retry_budget == *rule) {
        Some(before) => before.budget.clone(),
        None => Arc::new(Budget::new(rule.ratio, rule.min_per_second)),
    }
}

/// Has what happens to the backends measured, and kept for the dashboard; later catalogues take
/// that over.
#[cfg(feature = "observability")]
fn observed(catalog: Catalog, shared: &Shared) -> Catalog {
    let observers: Vec<Arc<dyn Observer>> = vec![shared.metrics.observer(), Arc::new(Keeper(shared.history.clone()))];
    catalog.observed_by(Arc::new(observers))
}

#[cfg(not(feature = "observability"))]
fn observed(catalog: Catalog, _: &Shared) -> Catalog {
    catalog
}

impl Snapshot {
    pub(crate) fn uptime(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Whether the first round of probes has ended.
    pub(crate) fn probed(&self) -> bool {
        self.shared.probed.load(Relaxed)
    }

    pub(crate) fn draining(&self) -> bool {
        self.shared.draining.load(Relaxed)
    }
}

#[cfg(test)]
impl App {
    /// One that has an admin and a model, for tests; nobody answers there.
    pub(crate) fn of_one_model(settings: &str) -> Self {
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
        let text = format!("[settings]\n{settings}\n{file}");
        Self::new(crate::config::parse(&text, &|_| None).unwrap()).unwrap()
    }
}

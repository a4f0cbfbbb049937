//! Builds the services of a configuration and replaces them when a reload succeeds.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use berry_tower::{
    caller::CallerId,
    collect::CollectLayer,
    gateway::{Settings, core, counter, edge},
    rate_limit::QuotaFromRequest,
};
use http::{Extensions, request::Parts};
use tower_layer::Layer;

use crate::{
    config::{
        Loaded,
        build::{Caller, seconds},
    },
    http::{
        access_log::RequestIdentity,
        error_shape::ErrorShape,
        routes::{self, Answer, Context, Front, Gateways, IncomingBody},
    },
    key_refresh::KeyRefresh,
    observability::Observability,
    probes::Probes,
    reload::{Apply, Reloader},
    spend,
    state::{Process, Snapshot},
};

/// The current configuration with its services and probes.
struct Running {
    snapshot: Arc<Snapshot>,
    front: Front,
    _probes: Probes,
    _key_refresh: KeyRefresh,
}

/// The application. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

struct Inner {
    process: Arc<Process>,
    observability: Observability,
    reloader: Reloader,
    running: ArcSwap<Running>,
    #[cfg(feature = "database")]
    _refreshing: Option<crate::keys::Refreshing>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("front", &self.0.running.load().front).finish_non_exhaustive()
    }
}

impl App {
    /// Builds the services of `loaded` and starts its probes. `is_loopback` is true when the server
    /// listens on a loopback address.
    ///
    /// # Errors
    /// Returns a message when a value of the configuration cannot be built.
    pub(crate) fn new(loaded: Loaded, is_loopback: bool) -> Result<Self, String> {
        let process = Arc::new(Process::new(&loaded, is_loopback));
        let (observability, reloader) = (Observability::new(), Reloader::default());
        let snapshot = Snapshot::new(process.clone(), loaded, None, |catalog| {
            observability.observe(catalog, process.fleet.clone())
        })?;
        let running = ArcSwap::from_pointee(run(snapshot, &observability, &reloader));
        #[cfg(feature = "database")]
        let _refreshing = process.directory.as_ref().map(crate::keys::Directory::follow);
        let inner = Arc::new(Inner {
            process,
            observability,
            reloader,
            running,
            #[cfg(feature = "database")]
            _refreshing,
        });
        let target: Arc<dyn Apply> = inner.clone();
        inner.reloader.bind(Arc::downgrade(&target));
        Ok(Self(inner))
    }

    /// Serves a request with the current configuration.
    pub(crate) fn serve(&self, request: http::Request<IncomingBody>) -> Answer {
        self.0.running.load().front.call(request)
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot()
    }

    /// Sends the telemetry that is queued.
    pub(crate) async fn flush_telemetry(&self) {
        self.0.observability.otlp.flush().await;
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.0.process
    }

    pub(crate) fn reloader(&self) -> &Reloader {
        &self.0.reloader
    }
}

impl Apply for Inner {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.running.load().snapshot.clone()
    }

    /// Replaces the configuration atomically. Requests in flight finish on the previous one.
    fn apply(&self, loaded: Loaded) -> Result<(), String> {
        let before = self.snapshot();
        let next = Snapshot::new(self.process.clone(), loaded, Some(&before), |catalog| catalog)?;
        self.running.store(Arc::new(run(next, &self.observability, &self.reloader)));
        Ok(())
    }
}

/// Returns the fingerprint of the caller of a request with these extensions.
fn caller_id(extensions: &Extensions) -> Option<CallerId> {
    Some(CallerId::of(&*extensions.get::<Arc<Caller>>()?.id))
}

/// Builds the services of a snapshot and starts its probes.
fn run(snapshot: Snapshot, observability: &Observability, reloader: &Reloader) -> Running {
    let snapshot = Arc::new(snapshot);
    snapshot.process.fleet.join(&snapshot.store, &snapshot.catalog);
    let Snapshot { process, config, catalog, keys, tag_policy, backoff, retry_budget, .. } = &*snapshot;
    let settings = &config.settings;
    let max_body = usize::try_from(settings.max_request_body_bytes).unwrap_or(usize::MAX);
    let collect = CollectLayer::new().max_body(max_body).budget(process.buffers.clone());
    let stack = Settings::with_transport(catalog.clone(), process.transport())
        .retry_policy(*backoff)
        .budget(retry_budget.clone())
        .total_timeout(seconds(settings.total_timeout_seconds))
        .keep_alive(seconds(settings.stream_keepalive_seconds))
        .commit_after(seconds(settings.commit_after_seconds))
        .stop(process.stop_signal())
        .collect(collect.clone())
        .tags(|extensions: &Extensions| extensions.get::<Arc<Caller>>().map_or(&[], |caller| &caller.tags))
        .caller(caller_id)
        .tag_policy(*tag_policy)
        .responses_done_event(config.responses.done_event)
        .spend(spend::layer(&snapshot, &observability.metrics))
        .render(ErrorShape::OpenAi);
    let limits = QuotaFromRequest::new(|head: &Parts| {
        RequestIdentity::fill_from(&head.extensions);
        head.extensions.get::<Arc<Caller>>()?.quota.clone()
    });
    let models = catalog.clone();
    let allow = move |caller: &Arc<Caller>, name: &str| {
        // An unknown model passes here, so that the selection responds with 404.
        models.load().find(name).is_none_or(|model| caller.allows(model))
    };
    let messages = stack.clone().render(ErrorShape::Anthropic);
    // As the function of the library, with the store of responses between the reading of a body and the rest.
    macro_rules! gateway {
        ($settings:expr, $errors:expr, $store:expr) => {{
            let inner = core($settings, allow.clone());
            #[cfg(feature = "database")]
            let inner = crate::responses::StoreLayer::new($store).layer(inner);
            edge(collect.clone().caller(caller_id).render($errors).layer(inner), keys.clone(), limits.clone(), $errors)
        }};
    }
    let gateways = Gateways {
        messages_counter: counter(messages.clone(), keys.clone(), limits.clone(), allow.clone()),
        openai_counter: counter(stack.clone(), keys.clone(), limits.clone(), allow.clone()),
        messages: gateway!(messages, ErrorShape::Anthropic, None),
        openai: gateway!(stack, ErrorShape::OpenAi, crate::responses::Responses::of(&snapshot)),
    };
    let context = Context::new(snapshot.clone(), observability.clone(), reloader.clone());
    let front = routes::front(&context, &gateways);
    // Before the probes, which wait for the keys.
    let _key_refresh = KeyRefresh::start(&snapshot.provider_keys);
    let _probes = Probes::start(&snapshot);
    observability.otlp.export(&snapshot, &observability.metrics);
    Running { snapshot, front, _probes, _key_refresh }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns an application with an admin and the model `m`, whose backend refuses connections.
    pub(crate) fn app(settings: &str) -> App {
        App::new(crate::state::tests::loaded(settings), true).unwrap()
    }
}

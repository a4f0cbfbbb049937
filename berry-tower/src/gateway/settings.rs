//! The settings of the gateway.

use std::{fmt, sync::Arc, time::Duration};

use http::Extensions;

use crate::{
    backend::Catalog,
    caller::{CallerId, Callers},
    classify::ModelApiVerdict,
    client::DefaultTransport,
    collect::CollectLayer,
    early::ShutdownSignal,
    render::ApiErrors,
    retry::{BackoffPolicy, Budget},
    select::TagPolicy,
};

type FindCaller = dyn Fn(&Extensions) -> Option<CallerId> + Send + Sync;

pub(super) type FindTags = dyn for<'a> Fn(&'a Extensions) -> &'a [Arc<str>] + Send + Sync;

/// The parts of the standard gateway, apart from who may call it, how often, and for which models.
///
/// The policy of the circuit breakers belongs to the backends: it is a part of the catalogue's
/// [`Tuning`](crate::backend::Tuning).
#[derive(Clone)]
pub struct Settings<R = ApiErrors, T = DefaultTransport, P = BackoffPolicy, C = ModelApiVerdict> {
    pub(super) transport: T,
    pub(super) retry_policy: P,
    pub(super) classify: C,
    pub(super) render: R,
    pub(super) values: Values,
}

/// The settings whose types are fixed.
#[derive(Clone)]
pub(super) struct Values {
    pub(super) catalog: Catalog,
    pub(super) budget: Arc<Budget>,
    pub(super) total_timeout: Option<Duration>,
    pub(super) keep_alive: Option<Duration>,
    pub(super) commit_after: Option<Duration>,
    pub(super) stop: Option<ShutdownSignal>,
    pub(super) collect: CollectLayer,
    pub(super) tags: Arc<FindTags>,
    pub(super) caller: Arc<FindCaller>,
    /// Shared by the services made from clones of the settings.
    pub(super) callers: Arc<Callers>,
    pub(super) tag_policy: TagPolicy,
    pub(super) responses_done_event: bool,
    #[cfg(feature = "spend")]
    pub(super) spend: crate::spend::SpendLayer,
}

impl Settings {
    /// Creates the default settings over a catalogue, with the [default transport](DefaultTransport).
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self::with_transport(catalog, DefaultTransport::default())
    }
}

impl<T> Settings<ApiErrors, T> {
    /// Creates the default settings over a catalogue, with another transport to the upstreams.
    #[must_use]
    pub fn with_transport(catalog: Catalog, transport: T) -> Self {
        let values = Values {
            catalog,
            budget: Arc::default(),
            total_timeout: Some(Duration::from_secs(600)),
            keep_alive: Some(Duration::from_secs(15)),
            commit_after: None,
            stop: None,
            collect: CollectLayer::new(),
            tags: Arc::new(|_| &[]),
            caller: Arc::new(|_| None),
            callers: Arc::default(),
            tag_policy: TagPolicy::Strict,
            responses_done_event: true,
            #[cfg(feature = "spend")]
            spend: crate::spend::SpendLayer::off(),
        };
        Self { transport, retry_policy: BackoffPolicy::default(), classify: ModelApiVerdict, render: ApiErrors, values }
    }
}

impl<R, T, P, C> Settings<R, T, P, C> {
    /// Sets the policy that decides whether and when a failed attempt is followed by another.
    #[must_use]
    pub fn retry_policy<Q>(self, retry_policy: Q) -> Settings<R, T, Q, C> {
        let Self { transport, classify, render, values, .. } = self;
        Settings { transport, retry_policy, classify, render, values }
    }

    /// Sets the verdict on responses and errors of upstreams, for retry, health and breakers alike.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> Settings<R, T, P, D> {
        let Self { transport, retry_policy, render, values, .. } = self;
        Settings { transport, retry_policy, classify, render, values }
    }

    /// Sets the shape of refusals and errors. Default: [`ApiErrors`].
    #[must_use]
    pub fn render<Q>(self, render: Q) -> Settings<Q, T, P, C> {
        let Self { transport, retry_policy, classify, values, .. } = self;
        Settings { transport, retry_policy, classify, render, values }
    }

    /// Sets the budget of retries that all requests share.
    #[must_use]
    pub fn budget(mut self, budget: Arc<Budget>) -> Self {
        self.values.budget = budget;
        self
    }

    /// Sets the limit of all attempts of a request together, until the response's head. `None` means
    /// no limit. Default: 600 s.
    #[must_use]
    pub fn total_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.values.total_timeout = timeout.into();
        self
    }

    /// Sets the silence of a stream after which it receives a comment. `None` means never. Default:
    /// 15 s.
    #[must_use]
    pub fn keep_alive(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.values.keep_alive = after.into();
        self
    }

    /// Sets the time after which the head of a stream is sent although no backend has answered yet.
    /// `None`, the default, means never.
    #[must_use]
    pub fn commit_after(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.values.commit_after = after.into();
        self
    }

    /// Sets the signal that ends open streams. Default: none.
    #[must_use]
    pub fn stop(mut self, signal: impl Into<Option<ShutdownSignal>>) -> Self {
        self.values.stop = signal.into();
        self
    }

    /// Sets the limit of a request body's size in bytes. Default: 32 MiB.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.values.collect = self.values.collect.max_body(bytes);
        self
    }

    /// Sets the layer that reads request bodies, with all of its limits.
    #[must_use]
    pub fn collect(mut self, layer: CollectLayer) -> Self {
        self.values.collect = layer;
        self
    }

    /// Sets the limits of requests, tokens and cost. Default: [off](crate::spend::SpendLayer::off).
    #[cfg(feature = "spend")]
    #[must_use]
    pub fn spend(mut self, layer: crate::spend::SpendLayer) -> Self {
        self.values.spend = layer;
        self
    }

    /// Sets the function that finds a user's tags in the request's extensions. Default: no tags.
    #[must_use]
    pub fn tags<F>(mut self, tags: F) -> Self
    where
        F: for<'a> Fn(&'a Extensions) -> &'a [Arc<str>] + Send + Sync + 'static,
    {
        self.values.tags = Arc::new(tags);
        self
    }

    /// Sets the function that finds a caller's fingerprint in the request's extensions, by which circuit
    /// breakers tell a failing backend from a failing caller, and by which the budget of bodies is divided.
    /// Default: callers are not distinguished.
    #[must_use]
    pub fn caller(mut self, caller: impl Fn(&Extensions) -> Option<CallerId> + Send + Sync + 'static) -> Self {
        self.values.caller = Arc::new(caller);
        self
    }

    /// Sets whether `data: [DONE]` ends streams of the Responses API. Default: it does.
    #[must_use]
    pub fn responses_done_event(mut self, done_event: bool) -> Self {
        self.values.responses_done_event = done_event;
        self
    }

    /// Sets the backends that users without tags may use. Default: [`TagPolicy::Strict`].
    #[must_use]
    pub fn tag_policy(mut self, policy: TagPolicy) -> Self {
        self.values.tag_policy = policy;
        self
    }
}

impl<R: fmt::Debug, T, P: fmt::Debug, C> fmt::Debug for Settings<R, T, P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("retry_policy", &self.retry_policy)
            .field("render", &self.render)
            .field("total_timeout", &self.values.total_timeout)
            .finish_non_exhaustive()
    }
}

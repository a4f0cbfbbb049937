//! Backend selection: sends each attempt to the backend that the model's strategy picks.
//!
//! With an [`Attempt`] in the extensions [`Select`] picks no backend twice, unless the attempt allows
//! it. It counts the request among the backend's requests in flight until the response's body has
//! ended, and then records the outcome in the backend's state.
//!
//! * Needs: `Request<Buffered>` with [`Requested`] in the extensions, from [`Inspect`](crate::inspect). Reads the [`Attempt`]
//!   from [`Retry`](crate::retry) if there is one.
//! * Adds: [`Selected`] and [`RoutedModel`] to the request, and the [`Conversation`] if the model has
//!   backends of another format; [`ServedBy`] and [`RoutedModel`] to the response.
//! * Fails with: [`Unroutable`] if no backend is available, and [`MissingLayer`].
//! * Does not: retry, wait for a backend, or check the health of one that gets no requests; for these
//!   there are [`Retry`](crate::retry) and [`Prober`](crate::probe::Prober). It refuses no request because of an
//!   open breaker, but leaves its backend out.
//!
//! ```
//! use berry_tower::{
//!     backend::{Backend, Catalog, Model, Provider, strategy::Random},
//!     body::Buffered,
//!     error::Unroutable,
//!     inspect::Requested,
//!     select::{SelectLayer, Selected, ServedBy},
//! };
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use std::{convert::Infallible, sync::Arc};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let provider = Arc::new(Provider::new("local", "http://127.0.0.1:8080").unwrap());
//! let catalog = Catalog::new([Model::new("llama", Arc::new(Random), [Backend::new(provider, "llama-70b")])]).unwrap();
//! let inner = service_fn(async |request: Request<Buffered>| {
//!     let selected = request.extensions().get::<Selected>().unwrap();
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(selected.backend().id().to_string()))))
//! });
//! let ask = |model: &str| {
//!     let body = Buffered::from(format!(r#"{{"model":"{model}"}}"#));
//!     let requested = Requested::read(body.bytes()).unwrap();
//!     let mut request = Request::new(body);
//!     request.extensions_mut().insert(requested);
//!     SelectLayer::new(catalog.clone()).layer(inner).oneshot(request)
//! };
//! let response = ask("llama").await.unwrap();
//! assert_eq!(response.extensions().get::<ServedBy>().unwrap().0.to_string(), "local:llama-70b");
//! assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "local:llama-70b");
//!
//! let refused = ask("gpt").await.unwrap_err();
//! assert_eq!(refused.downcast_ref(), Some(&Unroutable::UnknownModel));
//! # }
//! ```

mod account_ids;
pub mod candidates;
mod future;
mod lease;
mod selected;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Extensions, Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

pub use candidates::TagPolicy;
pub use future::ResponseFuture;
pub use lease::{Lease, SelectedBreaker};
pub use selected::{RoutedModel, Selected};

pub use crate::attempt::ServedBy;
use crate::{
    attempt::Attempt,
    backend::{Backend, Catalog, CatalogSnapshot, FallbackPermission, Model, OnUnsupported},
    body::{Buffered, GuardedBody},
    caller::{CallerId, Callers},
    classify::{Classify, ModelApiVerdict},
    dialect::Conversation,
    endpoint::Endpoint,
    error::{BoxError, MissingLayer, Unroutable},
    inspect::Requested,
};
use candidates::{Candidates, SelectionContext, candidates};
use future::State;

/// The maximum number of picks whose slot or trial another request took first.
const MAX_LOST_RACES: usize = 4;

type TagsOf = dyn for<'a> Fn(&'a Extensions) -> &'a [Arc<str>] + Send + Sync;

type FindCaller = dyn Fn(&Extensions) -> Option<CallerId> + Send + Sync;

type MayUse = dyn Fn(&Extensions, &str) -> bool + Send + Sync;

/// [`Layer`] that applies [`Select`].
#[derive(Clone)]
pub struct SelectLayer<C = ModelApiVerdict> {
    catalog: Catalog,
    tags: Arc<TagsOf>,
    caller: Option<Arc<FindCaller>>,
    callers: Arc<Callers>,
    may_use: Option<Arc<MayUse>>,
    policy: TagPolicy,
    classify: C,
}

impl SelectLayer {
    /// Creates a layer that selects among the models of `catalog`, for users without tags, with
    /// [`ModelApiVerdict`].
    pub fn new(catalog: Catalog) -> Self {
        Self {
            catalog,
            tags: Arc::new(|_| &[]),
            caller: None,
            callers: Arc::default(),
            may_use: None,
            policy: TagPolicy::Strict,
            classify: ModelApiVerdict,
        }
    }
}

impl<C> SelectLayer<C> {
    /// Sets how the user's tags are read from the extensions that outer layers have added.
    #[must_use]
    pub fn tags<F>(mut self, tags: F) -> Self
    where
        F: for<'a> Fn(&'a Extensions) -> &'a [Arc<str>] + Send + Sync + 'static,
    {
        self.tags = Arc::new(tags);
        self
    }

    /// Sets the function that finds the caller's fingerprint in what earlier layers have put into the
    /// extensions, for requests that have no [`CallerId`] in theirs. By it, health and circuit breakers
    /// tell a failing backend from a failing caller.
    #[must_use]
    pub fn caller(mut self, caller: impl Fn(&Extensions) -> Option<CallerId> + Send + Sync + 'static) -> Self {
        self.caller = Some(Arc::new(caller));
        self
    }

    /// Shares what is known of callers with other selections.
    #[cfg(feature = "gateway")]
    pub(crate) fn callers(mut self, callers: Arc<Callers>) -> Self {
        self.callers = callers;
        self
    }

    /// Sets the function that says whether the caller in the request's extensions may use a model. It is
    /// called for the fallbacks of models with [`FallbackPermission::Required`]; without a function no
    /// such fallback is permitted.
    #[must_use]
    pub fn permission(mut self, may_use: impl Fn(&Extensions, &str) -> bool + Send + Sync + 'static) -> Self {
        self.may_use = Some(Arc::new(may_use));
        self
    }

    /// Sets which backends users without tags may use.
    #[must_use]
    pub const fn tag_policy(mut self, policy: TagPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how responses and errors are classified.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> SelectLayer<D> {
        let Self { catalog, tags, caller, callers, may_use, policy, .. } = self;
        SelectLayer { catalog, tags, caller, callers, may_use, policy, classify }
    }
}

impl<C: fmt::Debug> fmt::Debug for SelectLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, classify, .. } = self;
        f.debug_struct("SelectLayer").field("policy", policy).field("classify", classify).finish_non_exhaustive()
    }
}

impl<S, C: Clone> Layer<S> for SelectLayer<C> {
    type Service = Select<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Select { inner, layer: Arc::new(self.clone()) }
    }
}

/// Service that sends each request to a backend. See the [module](self).
#[derive(Clone, Debug)]
pub struct Select<S, C = ModelApiVerdict> {
    inner: S,
    layer: Arc<SelectLayer<C>>,
}

impl<S> Select<S> {
    /// Wraps `inner` and selects among the models of `catalog`, for users without tags, with
    /// [`ModelApiVerdict`]. A [`SelectLayer`] has the other settings.
    pub fn new(inner: S, catalog: Catalog) -> Self {
        SelectLayer::new(catalog).layer(inner)
    }
}

impl<S, C> Select<S, C> {
    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, C: Classify + Clone> Select<S, C> {
    fn lease(&self, request: &mut Request<Buffered>) -> Result<Selection<C>, BoxError> {
        Requested::of(request)?;
        let extensions = request.extensions();
        let requested = extensions.get::<Requested>().ok_or(MissingLayer("InspectLayer"))?;
        let attempt = extensions.get::<Attempt>();
        let snapshot = self.layer.catalog.load();
        let asked = snapshot.find(&requested.model).ok_or(Unroutable::UnknownModel)?;
        let fallback_index = attempt.map_or(0, Attempt::fallback_index) as usize;
        let model = model_or_fallback(&snapshot, asked, fallback_index)?;
        if attempt.is_some_and(Attempt::is_callers_fallback)
            && asked.fallback_permission() == FallbackPermission::Required
            && !self.layer.may_use.as_ref().is_some_and(|may_use| may_use(extensions, model.name()))
        {
            return Err(Unroutable::FallbackNotPermitted.into());
        }
        let endpoint = requested.endpoint;
        // The request is parsed only if a backend may need it in another format.
        let translates = |endpoint: &Endpoint| model.backends().iter().any(|b| !b.speaks(*endpoint));
        let conversation = endpoint.filter(|endpoint| endpoint.is_chat()).filter(translates);
        let refuses = model.on_unsupported() == OnUnsupported::Refuse;
        let conversation = conversation.map(|endpoint| {
            let (nodes, body) = (requested.nodes(), request.body());
            let conversation = Conversation::new(endpoint, body.bytes().clone()).refuse_optional(refuses);
            let conversation = conversation.with_seals(model.seals().clone());
            let conversation = conversation.with_shape(nodes, requested.depth()).with_lease(nodes, body.new_lease());
            conversation.map(Arc::new).ok_or(Unroutable::Overloaded)
        });
        let conversation = conversation.transpose()?;
        let context = SelectionContext::default()
            .with_endpoint(endpoint)
            .with_tags((self.layer.tags)(extensions))
            .with_tag_policy(self.layer.policy)
            .with_attempt(attempt)
            .with_conversation(conversation.as_deref());
        let can_translate = |backend: &Backend| {
            let foreign = conversation.as_deref().zip(endpoint).filter(|(_, endpoint)| !backend.speaks(*endpoint));
            foreign.is_none_or(|(conversation, endpoint)| conversation.supports(backend.dialect(endpoint)).is_ok())
        };
        // Known from an earlier round: a backend that can express all of the request is preferred.
        let is_known_to_drop = |backend: &Backend| {
            let foreign = conversation.as_deref().zip(endpoint).filter(|(_, endpoint)| !backend.speaks(*endpoint));
            foreign.is_some_and(|(conversation, endpoint)| conversation.is_known_to_drop(backend.dialect(endpoint)))
        };
        let mut lost_races = 0;
        while lost_races < MAX_LOST_RACES {
            let now = Instant::now();
            let Candidates { mut list, is_last_resort: is_last_of_model, .. } = candidates(model, &context, now)?;
            if list.iter().any(|it| is_known_to_drop(it.backend)) && !list.iter().all(|it| is_known_to_drop(it.backend))
            {
                list.retain(|it| !is_known_to_drop(it.backend));
            }
            account_ids::prefer_maker(&mut list, model, endpoint, request.body().bytes());
            let picked = model.strategy().pick(&list, &mut rand::random::<f64>);
            let Some(chosen) = list.get(picked).or(list.last()) else { break };
            // A translation is expensive, so only the picked backend's is tried. Its result is kept
            // in the conversation, and the next round leaves the backend out.
            if !can_translate(chosen.backend) {
                continue;
            }
            if is_known_to_drop(chosen.backend) && list.iter().any(|it| !is_known_to_drop(it.backend)) {
                continue;
            }
            if let Some(lease) = Lease::take(chosen, model, self.layer.classify.clone(), now) {
                let id = chosen.backend.id();
                if let Some(attempt) = attempt {
                    attempt.record_backend(id.clone());
                }
                // A backend that cannot express the request does not make a late answer worse.
                let is_alone =
                    || list.iter().all(|c| Arc::ptr_eq(c.backend, chosen.backend) || !can_translate(c.backend));
                let has_deadline = chosen.backend.provider().timeouts().first_token().is_some();
                let is_last_resort = (is_last_of_model || has_deadline && conversation.is_some() && is_alone())
                    && fallback_index == asked.fallbacks().len();
                let strategy = model.strategy().name();
                tracing::debug!(provider = &*id.provider, model = &*id.model, strategy, "Backend selected");
                return Ok(Selection { lease, is_last_resort, is_last_of_model, conversation });
            }
            lost_races += 1;
        }
        Err(Unroutable::NoneAvailable { retry_after: Duration::from_secs(1) }.into())
    }
}

/// The lease on the chosen backend, the last-resort flag, and the parsed conversation.
struct Selection<C: Classify> {
    lease: Box<Lease<C>>,
    is_last_resort: bool,
    is_last_of_model: bool,
    conversation: Option<Arc<Conversation>>,
}

/// Returns the model, or its fallback number `fallback_index`, counted from 1.
fn model_or_fallback<'a>(
    snapshot: &'a CatalogSnapshot,
    asked: &'a Arc<Model>,
    fallback_index: usize,
) -> Result<&'a Arc<Model>, Unroutable> {
    let Some(k) = fallback_index.checked_sub(1) else { return Ok(asked) };
    let name = asked.fallbacks().get(k).ok_or(Unroutable::NoCandidates { has_fallback: false })?;
    snapshot.find(name).ok_or(Unroutable::UnknownModel)
}

impl<S, C, B> Service<Request<Buffered>> for Select<S, C>
where
    S: Service<Request<Buffered>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    C: Classify + Clone,
    B: Body,
{
    type Response = Response<GuardedBody<B, Box<Lease<C>>>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Buffered>) -> Self::Future {
        let caller = request.extensions().get().copied();
        if let Some(caller) = caller.or_else(|| self.layer.caller.as_ref()?(request.extensions())) {
            request.extensions_mut().insert(self.layer.callers.hear(caller));
        }
        let state = match self.lease(&mut request) {
            Ok(Selection { mut lease, is_last_resort, is_last_of_model, conversation }) => {
                lease.describe(&request);
                let selected = Selected::new(lease.backend().clone())
                    .with_last_resort(is_last_resort)
                    .with_last_of_model(is_last_of_model);
                request.extensions_mut().insert(selected);
                request.extensions_mut().insert(RoutedModel::new(lease.model().clone()));
                if let Some(conversation) = conversation {
                    request.extensions_mut().insert(conversation);
                }
                State::Sent { future: self.inner.call(request), lease: Some(lease) }
            }
            Err(error) => State::Refused(Some(error)),
        };
        ResponseFuture { state }
    }
}

//! Backend selection: each attempt goes to one of the model's backends, as the strategy chooses.
//!
//! [`Select`] needs a [`Requested`] in the request's extensions (put an [`Inspect`](crate::inspect)
//! outside) and gives the inner service the backend as [`Selected`], with the
//! [`Conversation`] where the model has backends of another format; responses carry [`ServedBy`].
//! With an [`Attempt`] in the extensions ([`Retry`](crate::retry) puts it there) it never picks a
//! backend twice, unless the attempt allows it. It holds a place among the backend's requests in
//! flight until the response's body has ended, and then books the outcome with the backend's state.
//!
//! It fails with [`Unroutable`] when nobody may be asked, and with [`MissingLayer`].
//!
//! ```
//! use berry_tower::{
//!     backend::{Backend, Catalog, Model, Provider},
//!     body::Buffered,
//!     error::Unroutable,
//!     inspect::Requested,
//!     select::{SelectLayer, Selected, ServedBy, strategy::Random},
//! };
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use std::{convert::Infallible, sync::Arc};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let provider = Arc::new(Provider::new("local", "http://127.0.0.1:8080").unwrap());
//! let catalog = Catalog::new([Model::new("llama", Arc::new(Random), [Backend::new(provider, "llama-70b")])]);
//! let inner = service_fn(async |request: Request<Buffered>| {
//!     let Selected { backend, .. } = request.extensions().get().unwrap();
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(backend.id.to_string()))))
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

pub mod candidates;
mod lease;
pub mod strategy;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Extensions, Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

pub use candidates::TagPolicy;
pub use lease::{Lease, SelectedBreaker};

pub use crate::attempt::ServedBy;
use crate::{
    attempt::Attempt,
    backend::{Backend, Catalog, Model, OnUnsupported, Snapshot},
    body::{Buffered, GuardedBody},
    caller::{CallerId, Callers},
    classify::{Classify, ModelApiVerdict},
    dialect::Conversation,
    endpoint::Endpoint,
    error::{BoxError, MissingLayer, Unroutable},
    inspect::Requested,
};
use candidates::{Ask, Candidates, candidates};

/// The backend that a request goes to; in the extensions, put by [`Select`].
#[derive(Clone, Debug)]
pub struct Selected {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Nobody else is left to ask, so that a late answer is better than none.
    pub last: bool,
}

/// The model that a request is for, or the fallback that stands in for it; in the extensions, put
/// by [`Select`] on requests and responses.
#[derive(Clone, Debug)]
pub struct RoutedModel(pub Arc<Model>);

/// How often a choice is made anew when somebody else took the place or the trial first.
const LOST_RACES: usize = 4;

type TagsOf = dyn for<'a> Fn(&'a Extensions) -> &'a [Arc<str>] + Send + Sync;

type FindCaller = dyn Fn(&Extensions) -> Option<CallerId> + Send + Sync;

/// Adds [`Select`] to a service.
#[derive(Clone)]
pub struct SelectLayer<C = ModelApiVerdict> {
    catalog: Catalog,
    tags: Arc<TagsOf>,
    caller: Option<Arc<FindCaller>>,
    callers: Arc<Callers>,
    policy: TagPolicy,
    classify: C,
}

impl SelectLayer {
    /// Selects among the models of `catalog`, for users without tags, with the standard verdicts.
    pub fn new(catalog: Catalog) -> Self {
        let policy = TagPolicy::Strict;
        Self {
            catalog,
            tags: Arc::new(|_| &[]),
            caller: None,
            callers: Arc::default(),
            policy,
            classify: ModelApiVerdict,
        }
    }
}

impl<C> SelectLayer<C> {
    /// Says which tags the user has, from what earlier layers have put into the extensions.
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

    /// Says what users without tags may use.
    #[must_use]
    pub const fn tag_policy(mut self, policy: TagPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Judges answers and errors by other verdicts.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> SelectLayer<D> {
        let Self { catalog, tags, caller, callers, policy, .. } = self;
        SelectLayer { catalog, tags, caller, callers, policy, classify }
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

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Select<S, C = ModelApiVerdict> {
    inner: S,
    layer: Arc<SelectLayer<C>>,
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
    fn lease(&self, request: &mut Request<Buffered>) -> Result<Leased<C>, BoxError> {
        Requested::of(request)?;
        let extensions = request.extensions();
        let requested = extensions.get::<Requested>().ok_or(MissingLayer("InspectLayer"))?;
        let attempt = extensions.get::<Attempt>();
        let snapshot = self.layer.catalog.load();
        let asked = snapshot.find(&requested.model).ok_or(Unroutable::UnknownModel)?;
        let fallback_index = attempt.map_or(0, Attempt::fallback_index) as usize;
        let model = on_leg(&snapshot, asked, fallback_index)?;
        let (tags, policy) = ((self.layer.tags)(extensions), self.layer.policy);
        let endpoint = requested.endpoint;
        // Read only where somebody may have to be told it in another format.
        let translates = |endpoint: &Endpoint| model.backends.iter().any(|b| !b.provider.speaks(*endpoint));
        let conversation = endpoint.filter(|endpoint| endpoint.is_chat()).filter(translates);
        let refuses = model.on_unsupported == OnUnsupported::Refuse;
        let conversation = conversation.map(|endpoint| Conversation::new(endpoint, request.body().bytes().clone()));
        let conversation = conversation.map(|conversation| {
            Arc::new(conversation.refuse_optional(refuses).with_shape(requested.nodes(), requested.depth()))
        });
        let ask = Ask { endpoint, tags, policy, attempt, conversation: conversation.as_deref() };
        let can_be_told = |backend: &Backend| {
            let said = ask.conversation.zip(endpoint).filter(|(_, endpoint)| !backend.provider.speaks(*endpoint));
            said.is_none_or(|(said, _)| said.supports(backend.provider.dialect).is_ok())
        };
        // Known from an earlier round: a backend that can express all of the request is preferred.
        let is_known_to_drop = |backend: &Backend| {
            let translated = ask.conversation.zip(endpoint).filter(|(_, endpoint)| !backend.provider.speaks(*endpoint));
            translated.is_some_and(|(conversation, _)| conversation.is_known_to_drop(backend.provider.dialect))
        };
        let mut lost = 0;
        while lost < LOST_RACES {
            let now = Instant::now();
            let Candidates { mut list, last } = candidates(model, &ask, now)?;
            if list.iter().any(|it| is_known_to_drop(it.backend)) && !list.iter().all(|it| is_known_to_drop(it.backend))
            {
                list.retain(|it| !is_known_to_drop(it.backend));
            }
            let picked = model.strategy.pick(&list, &mut rand::rng());
            let chosen = &list[picked.min(list.len() - 1)];
            // A translation is dear, so only who would be asked is tried; it is known from now on.
            if !can_be_told(chosen.backend) {
                continue;
            }
            if is_known_to_drop(chosen.backend) && list.iter().any(|it| !is_known_to_drop(it.backend)) {
                continue;
            }
            if let Some(lease) = Lease::take(chosen, model, self.layer.classify.clone(), now) {
                if let Some(attempt) = attempt {
                    attempt.record_backend(chosen.backend.id.clone());
                }
                // Who cannot be told is no reason to cut a late answer short.
                let alone = || list.iter().all(|c| Arc::ptr_eq(c.backend, chosen.backend) || !can_be_told(c.backend));
                let cuts = !chosen.backend.provider.timeouts.first_token.is_zero();
                let last =
                    (last || cuts && ask.conversation.is_some() && alone()) && fallback_index == asked.fallbacks.len();
                let (id, strategy) = (&chosen.backend.id, model.strategy.name());
                tracing::debug!(provider = &*id.provider, model = &*id.model, strategy, "Backend selected");
                return Ok(Leased { lease, last, conversation });
            }
            lost += 1;
        }
        Err(Unroutable::NoneAvailable { retry_after: std::time::Duration::from_secs(1) }.into())
    }
}

/// Who is asked, and what for that is known already.
struct Leased<C: Classify> {
    lease: Lease<C>,
    /// Nobody else is left.
    last: bool,
    conversation: Option<Arc<Conversation>>,
}

/// The model asked for, or its `fallback_index`-th fallback.
fn on_leg<'a>(
    snapshot: &'a Snapshot,
    asked: &'a Arc<Model>,
    fallback_index: usize,
) -> Result<&'a Arc<Model>, Unroutable> {
    let Some(k) = fallback_index.checked_sub(1) else { return Ok(asked) };
    let name = asked.fallbacks.get(k).ok_or(Unroutable::NoCandidates { has_fallback: false })?;
    snapshot.find(name).ok_or(Unroutable::UnknownModel)
}

impl<S, C, B> Service<Request<Buffered>> for Select<S, C>
where
    S: Service<Request<Buffered>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    C: Classify + Clone,
    B: Body,
{
    type Response = Response<GuardedBody<B, Lease<C>>>;
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
        match self.lease(&mut request) {
            Ok(Leased { mut lease, last, conversation }) => {
                lease.describe(&request);
                request.extensions_mut().insert(Selected { backend: lease.backend().clone(), last });
                request.extensions_mut().insert(RoutedModel(lease.model().clone()));
                if let Some(conversation) = conversation {
                    request.extensions_mut().insert(conversation);
                }
                ResponseFuture::Sent { future: self.inner.call(request), lease: Some(lease) }
            }
            Err(error) => ResponseFuture::Refused(Some(error)),
        }
    }
}

/// The future of [`Select`].
#[allow(clippy::large_enum_variant, reason = "every request takes the large variant; a box would cost an allocation")]
#[pin_project(project = FutureProj)]
#[derive(Debug)]
pub enum ResponseFuture<F, C: Classify> {
    /// A backend is being asked.
    Sent {
        /// The inner service's future.
        #[pin]
        future: F,
        /// The place among the backend's requests; given to the body.
        lease: Option<Lease<C>>,
    },
    /// Nobody may be asked.
    Refused(Option<BoxError>),
}

impl<F, C, B, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Response<B>, E>>,
    C: Classify,
    E: Into<BoxError>,
    B: Body,
{
    type Output = Result<Response<GuardedBody<B, Lease<C>>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, lease) = match self.project() {
            FutureProj::Sent { future, lease } => (future, lease),
            FutureProj::Refused(error) => {
                return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
            }
        };
        let result = ready!(future.poll(cx));
        let Some(mut lease) = lease.take() else { return Poll::Pending };
        Poll::Ready(match result {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                lease.answered(&head);
                head.extensions.insert(ServedBy(lease.backend().id.clone()));
                head.extensions.insert(RoutedModel(lease.model().clone()));
                Ok(Response::from_parts(head, GuardedBody::new(body, lease)))
            }
            Err(error) => {
                let error = error.into();
                lease.failed(&*error);
                Err(error)
            }
        })
    }
}

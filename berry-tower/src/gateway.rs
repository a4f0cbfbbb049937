//! The standard gateway as one function, or as two with layers of your own between them.
//!
//! [`gateway`] is [`edge`] over [`CollectLayer`] over [`core`]. A request passes these layers:
//!
//! | part | layers |
//! |---|---|
//! | [`edge`] | `ErrorResponse`, `Auth`, `RateLimit` |
//! | [`CollectLayer`] | reads the body |
//! | [`core`] | the endpoint's check, `Inspect`, `ModelPermission`, `Early`, `Resume`, `Retry`, `Commit`, `Select`, `CircuitBreaker`, `BackendClient` |

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Extensions, HeaderValue, Method, Request, Response, StatusCode, header::ALLOW};
use http_body::Body;
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    auth::{AuthLayer, Authenticate},
    backend::Catalog,
    body::{Buffered, ResponseBody},
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    caller::{CallerId, Callers},
    classify::{Classify, ModelApiVerdict},
    client::{BackendClient, DefaultTransport},
    collect::CollectLayer,
    commit::CommitLayer,
    early::{EarlyLayer, ShutdownSignal},
    endpoint::Endpoint,
    error::BoxError,
    error_response::ErrorResponseLayer,
    gate::{Gate, Mode},
    inspect::InspectLayer,
    offload::Offload,
    permission::{Allow, ModelPermissionLayer},
    rate_limit::{Limit, RateLimitLayer},
    render::{ApiErrors, Refusal, Render},
    resume::ResumeLayer,
    retry::{BackoffPolicy, Budget, RetryLayer, RetryPolicy},
    select::{SelectLayer, SelectedBreaker, TagPolicy},
};

type FindCaller = dyn Fn(&Extensions) -> Option<CallerId> + Send + Sync;

type FindTags = dyn for<'a> Fn(&'a Extensions) -> &'a [Arc<str>] + Send + Sync;

/// The parts of the standard gateway, apart from who may call it, how often, and for which models.
///
/// The policy of the circuit breakers belongs to the backends: it is a part of the catalogue's
/// [`Tuning`](crate::backend::Tuning).
#[derive(Clone)]
pub struct Settings<R = ApiErrors, T = DefaultTransport, P = BackoffPolicy, C = ModelApiVerdict> {
    transport: T,
    retry_policy: P,
    classify: C,
    render: R,
    values: Values,
}

/// The settings whose types are fixed.
#[derive(Clone)]
struct Values {
    catalog: Catalog,
    budget: Arc<Budget>,
    total_timeout: Option<Duration>,
    keep_alive: Option<Duration>,
    commit_after: Option<Duration>,
    stop: Option<ShutdownSignal>,
    collect: CollectLayer,
    tags: Arc<FindTags>,
    caller: Arc<FindCaller>,
    /// Shared by the services made from clones of the settings.
    callers: Arc<Callers>,
    tag_policy: TagPolicy,
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
    /// breakers tell a failing backend from a failing caller. Default: callers are not told apart.
    #[must_use]
    pub fn caller(mut self, caller: impl Fn(&Extensions) -> Option<CallerId> + Send + Sync + 'static) -> Self {
        self.values.caller = Arc::new(caller);
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

/// The standard gateway: [`edge`] over a [`CollectLayer`] over [`core`].
///
/// `auth` identifies the caller, `limit` bounds the caller's requests, and `allow` decides which
/// models the caller may use. The gateway may be mounted at any path, with or without the prefix
/// removed: it serves every path that ends in that of an [`Endpoint`].
///
/// ```
/// use berry_tower::{
///     auth::{ApiKey, ApiKeys},
///     backend::{Backend, Catalog, Model, Provider},
///     gateway::{Settings, gateway},
///     rate_limit::{Limits, PerKey},
///     select::strategy::Random,
/// };
/// use http::{Request, request::Parts};
/// use http_body_util::Full;
/// use std::sync::Arc;
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let provider = Arc::new(Provider::new("local", "http://127.0.0.1:9").unwrap());
/// let catalog = Catalog::new([Model::new("llama", Arc::new(Random), [Backend::new(provider, "llama-70b")])]);
/// let keys = ApiKeys::new([ApiKey::from_token("a-token-of-mine", "me")]);
/// let limit = PerKey::new(Limits::new().per_minute(60), |head: &Parts| head.extensions.get::<&str>().copied());
/// let service = gateway(Settings::new(catalog), keys, limit, |_: &&str, model: &str| model != "secret");
///
/// let ask = |token: &str, model: &str| {
///     let request = Request::post("/llm/v1/chat/completions").header("authorization", format!("Bearer {token}"));
///     request.body(Full::<bytes::Bytes>::from(format!(r#"{{"model":"{model}"}}"#))).unwrap()
/// };
/// for (token, model, status) in [("wrong", "llama", 401), ("a-token-of-mine", "secret", 403), ("a-token-of-mine", "gpt", 404)] {
///     assert_eq!(service.clone().oneshot(ask(token, model)).await.unwrap().status(), status);
/// }
/// # }
/// ```
pub fn gateway<A, L, M, R, T, P, C, B, U, MA, ML>(
    settings: Settings<R, T, P, C>,
    auth: A,
    limit: L,
    allow: M,
) -> impl Service<
    Request<B>,
    Response = Response<impl Body<Data = Bytes, Error = BoxError> + Default + Send + 'static>,
    Error = Infallible,
    Future: Future<Output: Send> + Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static
where
    A: Authenticate<MA> + Clone + Send + Sync + 'static,
    L: Limit<ML> + Clone + Send + Sync + 'static,
    MA: Mode,
    ML: Mode,
    M: Allow<A::Identity> + Clone + Send + Sync + 'static,
    R: Render + Clone + Send + Sync + 'static,
    T: Service<Request<Buffered>, Response = Response<U>, Error: Into<BoxError>, Future: Send>,
    T: Clone + Send + Sync + 'static,
    P: RetryPolicy + Clone + Send + Sync + 'static,
    C: Classify + Clone + Send + Sync + 'static,
    U: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    let (collect, render) = (settings.values.collect.clone(), settings.render.clone());
    let service = collect.render(render.clone()).layer(core(settings, allow));
    edge(service, auth, limit, render)
}

/// The outer part of the gateway over any service: errors become responses, the caller is
/// identified, and the caller's requests are limited.
///
/// The inner service may take any request body. [`core`] takes the one that
/// [`CollectLayer`] makes; layers of your own may stand on either side of it:
///
/// ```
/// use berry_tower::{
///     auth::{ApiKey, ApiKeys},
///     backend::Catalog,
///     collect::CollectLayer,
///     gateway::{Settings, core, edge},
///     rate_limit::{Limits, PerKey},
///     render::ApiErrors,
/// };
/// use http::{Request, request::Parts};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let inner = ServiceBuilder::new()
///     .concurrency_limit(100)
///     .layer(CollectLayer::new())
///     .service(core(Settings::new(Catalog::new([])), |_: &&str, _: &str| true));
/// let keys = ApiKeys::new([ApiKey::from_token("a-token-of-mine", "me")]);
/// let limit = PerKey::new(Limits::new().per_minute(60), |head: &Parts| head.extensions.get::<&str>().copied());
/// let service = edge(inner, keys, limit, ApiErrors);
///
/// let request = Request::post("/v1/embeddings").header("x-api-key", "a-token-of-mine");
/// let request = request.body(Full::<bytes::Bytes>::from(r#"{"model":"m","input":"x"}"#)).unwrap();
/// assert_eq!(service.oneshot(request).await.unwrap().status(), 404);
/// # }
/// ```
pub fn edge<S, A, L, R, B, U, MA, ML>(
    inner: S,
    auth: A,
    limit: L,
    render: R,
) -> impl Service<
    Request<B>,
    Response = Response<impl Body<Data = Bytes, Error = BoxError> + Default + Send + 'static>,
    Error = Infallible,
    Future: Future<Output: Send> + Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static
where
    S: Service<Request<B>, Response = Response<U>, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + Sync + 'static,
    A: Authenticate<MA> + Clone + Send + Sync + 'static,
    L: Limit<ML> + Clone + Send + Sync + 'static,
    MA: Mode,
    ML: Mode,
    R: Render + Clone + Send + Sync + 'static,
    U: Body<Error: Into<BoxError>> + Send + 'static,
    B: Send + 'static,
{
    let service = RateLimitLayer::new(limit).render(render.clone()).any_mode().layer(inner);
    let service = AuthLayer::new(auth).render(render.clone()).any_mode().layer(service);
    ErrorResponseLayer::new().render(render).layer(service)
}

/// The inner part of the gateway: finds a backend for a request and stays with the response to its
/// end.
///
/// It needs the identity of the caller, of the type that `allow` decides about, in the request's
/// extensions. Requests for other paths than an [`Endpoint`]'s are refused with 404 and the code
/// `unsupported_endpoint`, other methods than `POST` with 405. See [`edge`] for an example.
pub fn core<I, M, R, T, P, C, U>(
    settings: Settings<R, T, P, C>,
    allow: M,
) -> impl Service<
    Request<Buffered>,
    Response = Response<impl Body<Data = Bytes, Error = BoxError> + Default + Send + 'static>,
    Error = BoxError,
    Future: Future<Output: Send> + Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static
where
    I: Send + Sync + 'static,
    M: Allow<I> + Clone + Send + Sync + 'static,
    R: Render + Clone + Send + Sync + 'static,
    T: Service<Request<Buffered>, Response = Response<U>, Error: Into<BoxError>, Future: Send>,
    T: Clone + Send + Sync + 'static,
    P: RetryPolicy + Clone + Send + Sync + 'static,
    C: Classify + Clone + Send + Sync + 'static,
    U: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let Settings { transport, retry_policy, classify, render, values } = settings;
    let Values { catalog, budget, total_timeout, keep_alive, commit_after, stop, .. } = values;
    let Values { tags, caller, callers, tag_policy, .. } = values;
    let breaker = CircuitBreakerLayer::new(BreakerPolicy::default()).find(SelectedBreaker).require();
    let select = SelectLayer::new(catalog).tags(move |extensions| tags(extensions)).tag_policy(tag_policy);
    let select = select.caller(move |extensions| caller(extensions)).callers(callers);
    let retry = RetryLayer::new(retry_policy).budget(budget).total_timeout(total_timeout);

    let service = BackendClient::new(transport);
    let service = breaker.classify(classify.clone()).layer(service);
    let service = Offload::new(select.classify(classify.clone()).layer(service));
    let service = CommitLayer.layer(service);
    let service = retry.classify(classify).layer(service);
    let service = ResumeLayer.layer(service);
    let service = EarlyLayer::new(keep_alive).commit_after(commit_after).stop_on(stop).layer(service);
    let service = ModelPermissionLayer::new(allow).render(render.clone()).layer(service);
    let service = InspectLayer::new().render(render.clone()).layer(service);
    EndpointGuard { inner: service, render }
}

/// Refuses requests that are not for an [`Endpoint`].
#[derive(Clone, Debug)]
struct EndpointGuard<S, R> {
    inner: S,
    render: R,
}

impl<S, R, B, U> Service<Request<B>> for EndpointGuard<S, R>
where
    S: Service<Request<B>, Response = Response<U>>,
    R: Render,
{
    type Response = Response<ResponseBody<U>>;
    type Error = S::Error;
    type Future = EndpointFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let refusal = if Endpoint::from_path(request.uri().path()).is_none() {
            let message = "unknown path; the paths of this API end in, for example, /v1/chat/completions";
            Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("unsupported_endpoint")
        } else if request.method() != Method::POST {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "this path takes POST only")
                .code("method_not_allowed")
                .header(ALLOW, HeaderValue::from_static("POST"))
        } else {
            return EndpointFuture(Gate::Pass(self.inner.call(request)));
        };
        EndpointFuture(Gate::refuse(&self.render, refusal, &request.into_parts().0))
    }
}

#[pin_project]
#[derive(Debug)]
struct EndpointFuture<F, E>(#[pin] Gate<F, E>);

impl<F, B, E> Future for EndpointFuture<F, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

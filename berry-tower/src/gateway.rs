//! The standard stack as one function.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;
use tokio::sync::watch;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    auth::{AuthLayer, Authenticate},
    backend::Catalog,
    body::Buffered,
    breaker::{Breaker, BreakerPolicy, CircuitBreakerLayer},
    classify::ModelApiVerdict,
    client::{BackendClient, Reqwest},
    collect::CollectLayer,
    commit::CommitLayer,
    early::EarlyLayer,
    error::BoxError,
    error_response::ErrorResponseLayer,
    gate::Mode,
    inspect::InspectLayer,
    permission::{Allow, ModelPermissionLayer},
    rate_limit::{Limit, RateLimitLayer},
    render::{ApiErrors, Render},
    resume::ResumeLayer,
    retry::{BackoffPolicy, Budget, RetryLayer},
    select::{SelectLayer, Selected, TagPolicy},
};

/// What the standard stack is made of, beside who may call, how often, and what.
#[derive(Clone)]
pub struct Settings<R = ApiErrors, T = Reqwest> {
    /// The models and their backends.
    pub catalog: Catalog,
    /// The connections to upstreams.
    pub transport: T,
    /// Whether and when a failed attempt is followed by another.
    pub plan: BackoffPolicy,
    /// How many retries all requests together may spend.
    pub budget: Arc<Budget>,
    /// The bound on all attempts of a request together.
    pub total_timeout: Option<Duration>,
    /// A comment to silent streams after so long.
    pub keep_alive: Option<Duration>,
    /// The head of a stream goes after so long, whether a backend has answered or not.
    pub commit_after: Option<Duration>,
    /// Ends open streams when it becomes true.
    pub stop: Option<watch::Receiver<bool>>,
    /// The longest body, in bytes.
    pub max_body: usize,
    /// The tags of the user whose identity is in the extensions.
    pub tags: for<'a> fn(&'a Extensions) -> &'a [Arc<str>],
    /// What users without tags may use.
    pub tag_policy: TagPolicy,
    /// The shape of refusals.
    pub render: R,
}

impl Settings {
    /// The defaults over a catalogue.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self {
            catalog,
            transport: Reqwest::new(),
            plan: BackoffPolicy::default(),
            budget: Arc::default(),
            total_timeout: Some(Duration::from_secs(600)),
            keep_alive: Some(Duration::from_secs(15)),
            commit_after: None,
            stop: None,
            max_body: crate::collect::MAX_BODY,
            tags: |_| &[],
            tag_policy: TagPolicy::Strict,
            render: ApiErrors,
        }
    }
}

impl<R, T> Settings<R, T> {
    /// Reaches upstreams through another transport.
    #[must_use]
    pub fn transport<U>(self, transport: U) -> Settings<R, U> {
        let Self { catalog, plan, budget, total_timeout, keep_alive, commit_after, stop, .. } = self;
        let Self { max_body, tags, tag_policy, render, .. } = self;
        Settings {
            catalog,
            transport,
            plan,
            budget,
            total_timeout,
            keep_alive,
            commit_after,
            stop,
            max_body,
            tags,
            tag_policy,
            render,
        }
    }
}

impl<R: std::fmt::Debug, T> std::fmt::Debug for Settings<R, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { plan, total_timeout, max_body, render, .. } = self;
        f.debug_struct("Settings")
            .field("plan", plan)
            .field("total_timeout", total_timeout)
            .field("max_body", max_body)
            .field("render", render)
            .finish_non_exhaustive()
    }
}

/// The standard gateway: refuses who may not call, finds a backend for everyone else, and stays
/// with the answer to its end.
///
/// `auth` says who calls, `limit` how often they may, `allow` what they may ask for.
///
/// ```
/// use berry_tower::{
///     auth::{ApiKey, ApiKeys},
///     backend::{Backend, Catalog, Model, Provider},
///     gateway::{Settings, gateway},
///     rate_limit::{QuotaFromRequest, Quota},
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
/// let unlimited = QuotaFromRequest::new(|_: &Parts| None::<Arc<Quota>>);
/// let service = gateway(Settings::new(catalog), keys, unlimited, |_: &&str, model: &str| model != "secret");
///
/// let ask = |token: &str, model: &str| {
///     let request = Request::post("/v1/chat/completions").header("authorization", format!("Bearer {token}"));
///     request.body(Full::<bytes::Bytes>::from(format!(r#"{{"model":"{model}"}}"#))).unwrap()
/// };
/// for (token, model, status) in [("wrong", "llama", 401), ("a-token-of-mine", "secret", 403), ("a-token-of-mine", "gpt", 404)] {
///     assert_eq!(service.clone().oneshot(ask(token, model)).await.unwrap().status(), status);
/// }
/// # }
/// ```
pub fn gateway<A, L, P, R, T, B, U, MA, ML>(
    settings: Settings<R, T>,
    auth: A,
    limit: L,
    allow: P,
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
    P: Allow<A::Identity> + Clone + Send + Sync + 'static,
    MA: Mode,
    ML: Mode,
    R: Render + Clone + Send + Sync + 'static,
    T: Service<Request<Buffered>, Response = Response<U>, Error: Into<BoxError>, Future: Send>,
    T: Clone + Send + Sync + 'static,
    U: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    let Settings { catalog, transport, plan, budget, total_timeout, keep_alive, commit_after, stop, .. } = settings;
    let Settings { max_body, tags, tag_policy, render, .. } = settings;
    let early = EarlyLayer::new(keep_alive).commit_after(commit_after);
    let early = if let Some(stop) = stop { early.stop_on(stop) } else { early };
    let breaker =
        CircuitBreakerLayer::new(BreakerPolicy::default()).find(|extensions: &Extensions| -> Option<Arc<Breaker>> {
            extensions.get::<Selected>().map(|selected| selected.backend.state.breaker().clone())
        });
    let breaker = breaker.classify(ModelApiVerdict);

    let service = BackendClient::new(transport);
    let service = breaker.layer(service);
    let service = SelectLayer::new(catalog).tags(tags).tag_policy(tag_policy).layer(service);
    let service = CommitLayer.layer(service);
    let service =
        RetryLayer::new(plan).classify(ModelApiVerdict).budget(budget).total_timeout(total_timeout).layer(service);
    let service = ResumeLayer.layer(service);
    let service = early.layer(service);
    let service = ModelPermissionLayer::new(allow).render(render.clone()).layer(service);
    let service = InspectLayer::new().render(render.clone()).layer(service);
    let service = CollectLayer::new().max_body(max_body).render(render.clone()).layer(service);
    let service = RateLimitLayer::new(limit).render(render.clone()).any_mode().layer(service);
    let service = AuthLayer::new(auth).render(render.clone()).any_mode().layer(service);
    ErrorResponseLayer::new().render(render).layer(service)
}

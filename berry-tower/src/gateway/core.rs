//! The layers between the reading of a request and the backend.

use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    boxed_body::BoxedBody,
    endpoint_guard::EndpointGuard,
    settings::{Settings, Values},
};
#[cfg(feature = "spend")]
use crate::spend::RepriceLayer;
use crate::{
    body::Buffered,
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    classify::Classify,
    client::BackendClient,
    commit::CommitLayer,
    early::EarlyLayer,
    error::BoxError,
    inspect::InspectLayer,
    offload::Offload,
    permission::{Allow, ModelPermissionLayer},
    render::Render,
    resume::ResumeLayer,
    retry::{RetryLayer, RetryPolicy},
    select::{SelectLayer, SelectedBreaker},
};
#[cfg(doc)]
use crate::{collect::CollectLayer, endpoint::Endpoint};

/// Returns the inner part of the gateway, from a request whose body has been read to the backend.
///
/// It needs the identity of the caller, of the type that `allow` decides about, in the request's
/// extensions. Requests for other paths than an [`Endpoint`]'s are refused with 404 and the code
/// `unsupported_endpoint`, other methods than `POST` with 405.
///
/// Layers of your own may stand on either side of the [`CollectLayer`] that reads bodies:
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
///     .service(core(Settings::new(Catalog::new([]).unwrap()), |_: &&str, _: &str| true));
/// let keys = ApiKeys::new([ApiKey::from_token("a-token-of-mine", "me")]);
/// let limit = PerKey::new(Limits::new().per_minute(60), |head: &Parts| head.extensions.get::<&str>().copied());
/// let service = edge(inner, keys, limit, ApiErrors);
///
/// let request = Request::post("/v1/embeddings").header("x-api-key", "a-token-of-mine");
/// let request = request.body(Full::<bytes::Bytes>::from(r#"{"model":"m","input":"x"}"#)).unwrap();
/// assert_eq!(service.oneshot(request).await.unwrap().status(), 404);
/// # }
/// ```
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
    let Values { tags, caller, callers, tag_policy, responses_done_event, .. } = values;
    #[cfg(feature = "spend")]
    let spend = values.spend.render(render.clone());
    let breaker = CircuitBreakerLayer::new(BreakerPolicy::default()).find(SelectedBreaker).require();
    let select = SelectLayer::new(catalog).tags(move |extensions| tags(extensions)).tag_policy(tag_policy);
    let select = select.caller(move |extensions| caller(extensions)).callers(callers);
    let permission = allow.clone();
    let may_use = move |identity: &I, model: &str| permission.allows(identity, model);
    let select = select
        .permission(move |extensions, model| extensions.get::<I>().is_some_and(|identity| may_use(identity, model)));
    let retry = RetryLayer::new(retry_policy).budget(budget).total_timeout(total_timeout);

    let service = BackendClient::new(transport).responses_done_event(responses_done_event);
    let service = breaker.classify(classify.clone()).layer(service);
    #[cfg(feature = "spend")]
    let service = RepriceLayer::default().layer(service);
    let service = Offload::new(select.classify(classify.clone()).layer(service));
    let service = CommitLayer.layer(service);
    let service = retry.classify(classify).layer(service);
    let service = ResumeLayer.layer(service);
    let service = EarlyLayer::new(keep_alive).commit_after(commit_after).stop_on(stop).layer(service);
    #[cfg(feature = "spend")]
    let service = spend.layer(service);
    let service = BoxedBody(service);
    let service = ModelPermissionLayer::new(allow).render(render.clone()).layer(service);
    let service = InspectLayer::new().render(render.clone()).layer(service);
    EndpointGuard { inner: service, render }
}

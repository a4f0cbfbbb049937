//! The whole gateway.

use std::{convert::Infallible, future::Future};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{Settings, core, edge};
use crate::{
    auth::Authenticate, body::Buffered, classify::Classify, error::BoxError, gate::Mode, permission::Allow,
    rate_limit::Limit, render::Render, retry::RetryPolicy,
};
#[cfg(doc)]
use crate::{collect::CollectLayer, endpoint::Endpoint};

/// Returns the standard gateway: [`edge`] over a [`CollectLayer`] over [`core`].
///
/// `auth` identifies the caller, `limit` bounds the caller's requests, and `allow` decides which
/// models the caller may use. The gateway may be mounted at any path, with or without the prefix
/// removed: it serves every path that ends in that of an [`Endpoint`].
///
/// ```
/// use berry_tower::{
///     auth::{ApiKey, ApiKeys},
///     backend::{Backend, Catalog, Model, Provider, strategy::Random},
///     gateway::{Settings, gateway},
///     rate_limit::{Limits, PerKey},
/// };
/// use http::{Request, request::Parts};
/// use http_body_util::Full;
/// use std::sync::Arc;
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let provider = Arc::new(Provider::new("local", "http://127.0.0.1:9").unwrap());
/// let catalog = Catalog::new([Model::new("llama", Arc::new(Random), [Backend::new(provider, "llama-70b")])]).unwrap();
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
    B::Error: Into<BoxError> + Send,
{
    let (collect, render) = (settings.values.collect.clone(), settings.render.clone());
    let collect = collect.default_caller(&settings.values.caller);
    let service = collect.render(render.clone()).layer(core(settings, allow));
    edge(service, auth, limit, render)
}

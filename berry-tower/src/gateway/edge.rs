//! The layers between the client and the reading of a request.

use std::{convert::Infallible, future::Future};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    auth::{AuthLayer, Authenticate},
    error::BoxError,
    error_response::ErrorResponseLayer,
    gate::Mode,
    rate_limit::{Limit, RateLimitLayer},
    render::Render,
};

/// Wraps a service in the outer part of the gateway: errors become responses, the caller is
/// identified, and the caller's requests are limited.
///
/// The inner service may take any request body; it need not be a part of the gateway:
///
/// ```
/// use berry_tower::{
///     auth::{ApiKey, ApiKeys},
///     error::Unroutable,
///     gateway::edge,
///     rate_limit::{Limits, PerKey},
///     render::ApiErrors,
/// };
/// use bytes::Bytes;
/// use http::{Request, Response, request::Parts};
/// use http_body_util::Full;
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let inner = service_fn(async |request: Request<()>| match request.uri().path() {
///     "/models" => Ok(Response::new(Full::<Bytes>::from("llama"))),
///     _ => Err(Unroutable::UnknownModel),
/// });
/// let keys = ApiKeys::new([ApiKey::from_token("a-token-of-mine", "me")]);
/// let limit = PerKey::new(Limits::new().per_minute(60), |head: &Parts| head.extensions.get::<&str>().copied());
/// let service = edge(inner, keys, limit, ApiErrors);
///
/// for (path, token, status) in [("/models", "a-token-of-mine", 200), ("/", "a-token-of-mine", 404), ("/models", "wrong", 401)] {
///     let request = Request::get(path).header("x-api-key", token).body(()).unwrap();
///     assert_eq!(service.clone().oneshot(request).await.unwrap().status(), status);
/// }
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

//! Refuses requests for models that their caller may not use.
//!
//! * Needs: `Request<Buffered>`, and the identity that [`Auth`](crate::auth) and the [`Requested`] that
//!   [`Inspect`](crate::inspect) put into the request's extensions. If either is missing, every
//!   request is refused with a 500 that names the missing layer.
//! * Adds: nothing.
//! * Rejects: with 403.
//! * Does not: know which models exist, or check the fallbacks of a model; for those see
//!   [`FallbackPermission`](https://docs.rs/berry-tower).
//!
//! ```
//! use berry_tower::{body::Buffered, inspect::Requested, permission::{AllowedModels, ModelPermissionLayer}};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! #[derive(Clone)]
//! struct User { models: AllowedModels }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(ModelPermissionLayer::new(|user: &User, model: &str| user.models.contains(model)))
//!     .service(service_fn(|_: Request<Buffered>| async {
//!         Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
//!     }));
//! // A request as `Auth` and `Inspect` pass it on.
//! let request = |body: &'static str| {
//!     Request::builder()
//!         .extension(User { models: AllowedModels::from_iter(["fast"]) })
//!         .extension(Requested::read(&body.into()).unwrap())
//!         .body(Buffered::from(body))
//!         .unwrap()
//! };
//!
//! let passed = service.clone().oneshot(request(r#"{"model":"fast"}"#)).await.unwrap();
//! assert_eq!(passed.status(), 200);
//! let refused = service.oneshot(request(r#"{"model":"large"}"#)).await.unwrap();
//! assert_eq!(refused.status(), 403);
//! # }
//! ```

mod allow;

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response, StatusCode};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

pub use self::allow::{Allow, AllowedModels};
use crate::{
    body::{Buffered, ResponseBody},
    error::MissingLayer,
    gate::Gate,
    inspect::Requested,
    render::{ApiErrors, Refusal, Render},
};

/// An [`Allow`] policy with the type of identity that it decides about.
pub struct ByIdentity<I, A> {
    allow: A,
    identity: PhantomData<fn() -> I>,
}

impl<I, A: Clone> Clone for ByIdentity<I, A> {
    fn clone(&self) -> Self {
        Self { allow: self.allow.clone(), identity: PhantomData }
    }
}

impl<I, A> fmt::Debug for ByIdentity<I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByIdentity").field(&std::any::type_name::<I>()).finish()
    }
}

impl<I, A> ByIdentity<I, A>
where
    I: Send + Sync + 'static,
    A: Allow<I>,
{
    fn refusal(&self, extensions: &Extensions) -> Option<Refusal> {
        let Some(identity) = extensions.get::<I>() else { return Some(missing("AuthLayer")) };
        let Some(requested) = extensions.get::<Requested>() else { return Some(missing("InspectLayer")) };
        (!self.allow.allows(identity, &requested.model)).then(|| forbidden(&requested.model))
    }
}

fn missing(layer: &'static str) -> Refusal {
    let message = MissingLayer(layer).to_string();
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message).code("internal_error")
}

fn forbidden(model: &str) -> Refusal {
    // Bounds what a client can make the server echo.
    let name: String = model.chars().take(200).collect();
    let message = format!("the API key may not use the model `{name}`");
    Refusal::new(StatusCode::FORBIDDEN, "permission_error", message).code("model_not_allowed").param("model")
}

/// [`Layer`] that applies [`ModelPermission`].
#[derive(Clone, Debug)]
pub struct ModelPermissionLayer<P, R = ApiErrors> {
    policy: P,
    render: R,
}

impl<I, A: Allow<I>> ModelPermissionLayer<ByIdentity<I, A>> {
    /// Passes the requests that `allow` allows to an identity of type `I`.
    pub const fn new(allow: A) -> Self {
        Self { policy: ByIdentity { allow, identity: PhantomData }, render: ApiErrors }
    }
}

impl<P, R> ModelPermissionLayer<P, R> {
    /// Sets the shape of refusals.
    pub fn render<T>(self, render: T) -> ModelPermissionLayer<P, T> {
        ModelPermissionLayer { policy: self.policy, render }
    }
}

impl<S, P: Clone, R: Clone> Layer<S> for ModelPermissionLayer<P, R> {
    type Service = ModelPermission<S, P, R>;

    fn layer(&self, inner: S) -> Self::Service {
        ModelPermission { inner, policy: self.policy.clone(), render: self.render.clone() }
    }
}

/// Refuses requests for models that their caller may not use; see the [module](self).
#[derive(Clone, Debug)]
pub struct ModelPermission<S, P, R = ApiErrors> {
    inner: S,
    policy: P,
    render: R,
}

impl<S, I, A: Allow<I>> ModelPermission<S, ByIdentity<I, A>> {
    /// Passes the requests that `allow` allows to an identity of type `I`.
    pub const fn new(inner: S, allow: A) -> Self {
        Self { inner, policy: ByIdentity { allow, identity: PhantomData }, render: ApiErrors }
    }
}

impl<S, P, R> ModelPermission<S, P, R> {
    /// Returns a reference to the inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, I, A, R, ResBody> Service<Request<Buffered>> for ModelPermission<S, ByIdentity<I, A>, R>
where
    S: Service<Request<Buffered>, Response = Response<ResBody>>,
    I: Send + Sync + 'static,
    A: Allow<I>,
    R: Render,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Buffered>) -> Self::Future {
        // The body may have been replaced since it was inspected.
        let known = Requested::of(&mut request).map(drop);
        let refusal = self.policy.refusal(request.extensions()).or_else(|| known.err().map(|e| missing(e.0)));
        ResponseFuture(match refusal {
            None => Gate::Pass(self.inner.call(request)),
            Some(refusal) => Gate::refuse(&self.render, refusal, &request.into_parts().0),
        })
    }
}

/// Response future of [`ModelPermission`].
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F, E>(#[pin] Gate<F, E>);

impl<F, B, E> Future for ResponseFuture<F, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use serde_json::Value;
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[derive(Clone)]
    struct User(&'static str);

    async fn hello(_: Request<Buffered>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(Response::new(Full::default()))
    }

    async fn ask(edit: impl FnOnce(&mut Request<Buffered>)) -> (StatusCode, Value) {
        let service = ModelPermission::new(service_fn(hello), |user: &User, model: &str| user.0 == model);
        let mut request = Request::new(Buffered::default());
        edit(&mut request);
        let response = service.oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice::<Value>(&body).unwrap_or_default()["error"].take())
    }

    fn inspect(request: &mut Request<Buffered>, model: &str) {
        *request.body_mut() = format!(r#"{{"model":"{model}"}}"#).into();
        let requested = Requested::read(request.body().bytes()).unwrap();
        request.extensions_mut().insert(requested);
    }

    #[tokio::test]
    async fn passes_only_allowed_models() {
        let with = |model: &'static str| {
            move |request: &mut Request<Buffered>| {
                request.extensions_mut().insert(User("fast"));
                inspect(request, model);
            }
        };
        assert_eq!(ask(with("fast")).await.0, 200);
        let (status, error) = ask(with("large")).await;
        assert_eq!(status, 403);
        assert_eq!(error["type"], "permission_error");
        assert_eq!(error["code"], "model_not_allowed");
        assert_eq!(error["param"], "model");
    }

    #[tokio::test]
    async fn checks_the_model_of_a_replaced_body() {
        let (status, _) = ask(|request| {
            request.extensions_mut().insert(User("fast"));
            inspect(request, "fast");
            *request.body_mut() = Buffered::from(r#"{"model":"dear"}"#);
        })
        .await;
        assert_eq!(status, 403);
    }

    #[tokio::test]
    async fn names_the_missing_layer() {
        let (status, error) = ask(|request| inspect(request, "fast")).await;
        assert_eq!((status, &error["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &"internal_error".into()));
        assert!(error["message"].as_str().unwrap().starts_with("AuthLayer"));
        let (status, error) = ask(|request| assert!(request.extensions_mut().insert(User("fast")).is_none())).await;
        assert_eq!(status, 500);
        assert!(error["message"].as_str().unwrap().starts_with("InspectLayer"));
    }
}

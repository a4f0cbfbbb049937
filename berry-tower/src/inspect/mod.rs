//! Reads what a model request asks for.
//!
//! [`Inspect`] takes requests with a [`Buffered`] body (put a [`Collect`](crate::collect) outside),
//! reads the members of the JSON object that routing needs, and puts them into the extensions as
//! [`Requested`]. The body passes on byte for byte.
//!
//! ```
//! use berry_tower::{body::Buffered, inspect::{InspectLayer, Requested}};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(InspectLayer::new())
//!     .service(service_fn(|request: Request<Buffered>| async move {
//!         let requested = request.extensions().get::<Requested>().unwrap();
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(requested.model.to_string()))))
//!     }));
//!
//! let valid = Request::new(Buffered::from(r#"{"model":"fast"}"#));
//! assert_eq!(service.clone().oneshot(valid).await.unwrap().status(), 200);
//!
//! let duplicate = Request::new(Buffered::from(r#"{"model":"small","model":"large"}"#));
//! assert_eq!(service.oneshot(duplicate).await.unwrap().status(), 400);
//! # }
//! ```
//!
//! Needs: `Request<Buffered>`. Adds: [`Requested`]. Rejects with 400: a body that is no JSON object
//! with a `model`, that has a key twice or one that a backend could take for another, or whose
//! `stream` is no boolean.
//!
//! Does not: check the other members of a request, which the backend judges; read bodies of other APIs than
//! those of [`Endpoint`](crate::endpoint::Endpoint); or say whether the model exists, which
//! [`Select`](crate::select) does.

mod form;
mod future;
mod json_scanner;
mod members;
mod prefill;
mod requested;

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

#[cfg(feature = "spend")]
pub(crate) use self::members::range_in;
pub use self::{
    future::ResponseFuture,
    members::Unreadable,
    prefill::{Prefill, Prefilled},
    requested::{Requested, StreamOptions},
};
use crate::{
    body::{Buffered, ResponseBody},
    render::{ApiErrors, Refusal, Render},
};

/// [`Layer`] that applies [`Inspect`].
#[derive(Clone, Copy, Debug, Default)]
pub struct InspectLayer<R = ApiErrors> {
    render: R,
}

impl InspectLayer {
    /// Creates the layer.
    #[must_use]
    pub const fn new() -> Self {
        Self { render: ApiErrors }
    }
}

impl<R> InspectLayer<R> {
    /// Renders rejections with `render`.
    pub fn render<T>(self, render: T) -> InspectLayer<T> {
        InspectLayer { render }
    }
}

impl<S, R: Clone> Layer<S> for InspectLayer<R> {
    type Service = Inspect<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Inspect { inner, render: self.render.clone() }
    }
}

/// A slot for the model's name; an extension that an outer layer, such as an access log, puts into the request.
///
/// [`Inspect`] fills it, so that the outer layer knows the model also of a request that is rejected further in.
#[derive(Clone, Debug, Default)]
pub struct ModelSlot(Arc<OnceLock<Arc<str>>>);

impl ModelSlot {
    /// Returns the model's name as the client wrote it, if [`Inspect`] has seen the request.
    #[must_use]
    pub fn get(&self) -> Option<&str> {
        self.0.get().map(|model| &**model)
    }
}

/// The model of a request whose body names none; an extension that an outer layer puts into the request.
///
/// [`Inspect`] adds it to the JSON object, so that the backend gets it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultModel(pub Arc<str>);

impl DefaultModel {
    /// Returns the object with the member `model` in front; `None` if the body is no object.
    fn insert_into(&self, body: &[u8]) -> Option<Bytes> {
        let open = body.iter().position(|byte| !byte.is_ascii_whitespace()).filter(|at| body[*at] == b'{')? + 1;
        let is_empty = body[open..].trim_ascii_start().starts_with(b"}");
        let mut out = Vec::with_capacity(body.len() + self.0.len() + 16);
        out.extend_from_slice(&body[..open]);
        out.extend_from_slice(b"\"model\":");
        serde_json::to_writer(&mut out, &*self.0).ok()?;
        out.extend_from_slice(if is_empty { b"" } else { b"," });
        out.extend_from_slice(&body[open..]);
        Some(out.into())
    }
}

/// Reads what a model request asks for; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Inspect<S, R = ApiErrors> {
    inner: S,
    render: R,
}

impl<S> Inspect<S> {
    /// Wraps a service.
    pub fn new(inner: S) -> Self {
        InspectLayer::new().layer(inner)
    }
}

impl<S, R> Inspect<S, R> {
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

impl<S, R, ResBody> Service<Request<Buffered>> for Inspect<S, R>
where
    S: Service<Request<Buffered>, Response = Response<ResBody>> + Clone,
    R: Render + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Buffered>) -> Self::Future {
        ResponseFuture::new(&mut self.inner, request, self.render.clone())
    }
}

fn rejection(why: &Unreadable) -> Refusal {
    let refusal = Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", why.to_string());
    match why {
        Unreadable::NotAnObject(_) | Unreadable::InvalidForm(_) | Unreadable::TooManyKeys => refusal,
        Unreadable::DuplicateKey(key) | Unreadable::AmbiguousKey { key, .. } => refusal.param(key.clone()),
        Unreadable::BadStream => refusal.param("stream"),
        Unreadable::NoModel | Unreadable::BadModel => refusal.param("model"),
    }
}

#[cfg(test)]
mod tests;

//! Limits how many requests a caller may make.
//!
//! * Needs: whatever its [`Limit`] reads from the request's head, as a rule the identity that
//!   [`Auth`](crate::auth) put into the extensions.
//! * Adds: [`RateLimitHeaders`] to the responses. Of two stacked limits the tighter one is reported.
//! * Rejects: with 429 and `Retry-After`. The reason, a [`LimitKind`], is in the response's extensions.
//! * Does not: count tokens or bytes, queue requests, or share its state between processes; a
//!   [`Limit`] over a shared store can.
//!
//! The layer refuses at once and never queues. Its state is shared by all clones of the service. A
//! request in flight is counted until the body of its response has ended, or until the future fails
//! or is dropped.
//!
//! ```
//! use berry_tower::rate_limit::{LimitKind, Limits, PerKey, RateLimitLayer, Window};
//! use bytes::Bytes;
//! use http::{Request, Response, request::Parts};
//! use http_body_util::Full;
//! use std::convert::Infallible;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let limits = Limits::new().per_minute(1).per_hour(30);
//! let mut service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new(PerKey::new(limits, |head: &Parts| head.headers.get("x-tenant").cloned())))
//!     .service(service_fn(|_: Request<()>| async {
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
//!     }));
//! let request = || Request::get("/").header("x-tenant", "acme").body(()).unwrap();
//!
//! let passed = service.ready().await.unwrap().call(request()).await.unwrap();
//! assert_eq!(passed.status(), 200);
//! assert_eq!(passed.headers()["x-ratelimit-remaining-requests"], "0");
//!
//! let refused = service.ready().await.unwrap().call(request()).await.unwrap();
//! assert_eq!(refused.status(), 429);
//! assert_eq!(refused.headers()["retry-after"], "60");
//! assert_eq!(refused.extensions().get(), Some(&LimitKind::Window(Window::MINUTE)));
//! # }
//! ```

mod future;
mod headers;
mod keyed;
mod layer;
mod limit;
mod limits;
mod quota;

pub use self::{
    future::ResponseFuture,
    headers::RateLimitHeaders,
    keyed::{PerKey, QuotaFromRequest},
    layer::{RateLimit, RateLimitLayer},
    limit::{Allowance, Exceeded, Limit, LimitKind, Permit},
    limits::{Limits, QuotaUsage, Window, WindowLimit, WindowUsage},
    quota::Quota,
};
pub use crate::gate::{Deferred, Immediate};

#[cfg(test)]
mod tests;

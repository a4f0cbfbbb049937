//! Sends a request to the selected backend, and watches the response.
//!
//! [`BackendClient`] takes `Request<Buffered>`. It needs a [`Selected`](crate::select::Selected) and a
//! [`Requested`](crate::inspect::Requested) in the request's extensions. It puts
//! the backend's name for the model into the body by a splice (all else stays as the client wrote
//! it), forwards headers by an allow-list, adds the provider's own headers and key, and enforces every
//! deadline of the attempt. Error responses are read whole and parsed once
//! ([`ErrorBody`](crate::classify::ErrorBody)); a 2xx carries its [`Progress`](crate::progress::Progress).
//!
//! A [conversation](crate::dialect::Conversation) with a backend of another format is translated in
//! both directions; all else passes byte for byte. Compressed responses are decoded.
//!
//! It fails with a [`Failure`](crate::error::Failure), before the head or in the body, so that every
//! outcome is known innermost, before an outer layer sees a byte.
//!
//! It does not: choose a backend, retry (but for the two kinds of request below), follow redirects, cache
//! responses, or keep cookies.
//!
//! Two kinds of request are sent again at once, which counts as no attempt: one that the upstream has
//! [not processed](Unprocessed), on a fresh connection, and one of which the upstream refuses a part
//! that can be left out or written otherwise ([`OptionalField`](crate::backend::OptionalField), values of
//! `reasoning_effort`, the thinking of Claude models). The backend remembers what it has taught
//! ([`Lesson`](crate::backend::Lesson)).
//!
//! ```
//! use berry_tower::{
//!     backend::{Backend, Provider},
//!     body::Buffered,
//!     client::BackendClient,
//!     inspect::Requested,
//!     select::Selected,
//! };
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use std::{convert::Infallible, sync::Arc};
//! use tower::{ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! // Stands in for the network.
//! let upstream = service_fn(async |request: Request<Buffered>| {
//!     assert_eq!(request.uri(), "https://api.openai.com/v1/chat/completions");
//!     assert_eq!(request.headers()["authorization"], "Bearer sk-key");
//!     assert_eq!(request.body().bytes(), r#"{ "model":"gpt-4o-2024-08-06", "n":1.0 }"#);
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(r#"{"choices":[{"message":{}}]}"#))))
//! });
//! let provider = Provider::new("openai", "https://api.openai.com").unwrap().with_key("sk-key").unwrap();
//! let backend = Arc::new(Backend::new(Arc::new(provider), "gpt-4o-2024-08-06"));
//!
//! let mut request = Request::post("/v1/chat/completions").body(Buffered::from(r#"{ "model":"fast", "n":1.0 }"#)).unwrap();
//! let requested = Requested::read(request.body().bytes()).unwrap().with_path("/v1/chat/completions");
//! request.extensions_mut().insert(requested);
//! request.extensions_mut().insert(Selected::new(backend).with_last_resort(true));
//! let response = BackendClient::new(upstream).oneshot(request).await.unwrap();
//! assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), r#"{"choices":[{"message":{}}]}"#);
//!
//! // Without a selection the error names the missing layer.
//! let error = BackendClient::new(upstream).oneshot(Request::default()).await.unwrap_err();
//! assert_eq!(error.to_string(), "SelectLayer is missing from the stack, or stands in the wrong place");
//! # }
//! ```

mod account_ids;
mod body;
mod burst;
mod call;
mod decoded;
mod error_table;
mod foreign_signature;
mod future;
mod head;
mod history;
mod members;
mod openai_api;
mod public_name;
mod reader;
mod refused_field;
mod request_rules;
mod rewrite;
mod translated;
mod transport;
pub(crate) mod upstream_error;
mod watch;

use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

pub use body::ClientBody;
pub use future::ResponseFuture;
#[cfg(feature = "probe")]
pub(crate) use future::is_unprocessed;
pub use transport::{DefaultTransport, Unprocessed, Upstream};
#[cfg(all(feature = "client-hyper", feature = "client-reqwest"))]
pub use transport::{EnvProxy, EnvProxyBody, EnvProxyFuture};
#[cfg(feature = "client-hyper")]
pub use transport::{Hyper, HyperBody, HyperBuilder, HyperFuture, InvalidCertificate};
#[cfg(feature = "client-reqwest")]
pub use transport::{Reqwest, ReqwestBody, ReqwestFuture};

use self::head::HeadSettings;
use crate::{body::Buffered, error::BoxError};

/// Service that sends a request to the selected backend; see the [module](self). `T` is any service
/// that sends a request to its address.
#[derive(Clone, Debug)]
pub struct BackendClient<T = DefaultTransport> {
    transport: T,
    settings: HeadSettings,
}

impl<T: Default> Default for BackendClient<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> BackendClient<T> {
    /// Returns a client over this transport.
    pub const fn new(transport: T) -> Self {
        Self { transport, settings: HeadSettings::DEFAULT }
    }

    /// Forwards these of the client's headers to upstreams, in place of the default ones:
    /// `content-type`, `openai-beta`, `anthropic-version`, `anthropic-beta`, `idempotency-key`,
    /// `traceparent`, `tracestate`, `x-request-id`. The provider's own headers and its key are
    /// added after them, and the gateway sets `accept`, `accept-encoding` and `user-agent`.
    #[must_use]
    pub fn forward_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.settings.forwarded = Some(names.into_iter().collect());
        self
    }

    /// Sets the `user-agent` that upstreams see. Default: `berry/` and the version of this crate.
    #[must_use]
    pub fn user_agent(mut self, user_agent: HeaderValue) -> Self {
        self.settings.user_agent = user_agent;
        self
    }

    /// Sets whether `data: [DONE]` ends streams of the Responses API, as the Open Responses specification requires. By
    /// default it does.
    #[must_use]
    pub fn responses_done_event(mut self, done_event: bool) -> Self {
        self.settings.done_event = done_event;
        self
    }

    /// Returns a reference to the transport.
    pub const fn get_ref(&self) -> &T {
        &self.transport
    }

    /// Returns a mutable reference to the transport.
    pub const fn get_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Returns the transport.
    pub fn into_inner(self) -> T {
        self.transport
    }
}

impl<T, B> Service<Request<Buffered>> for BackendClient<T>
where
    T: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ClientBody<B>>;
    type Error = BoxError;
    type Future = ResponseFuture<T, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.transport.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Buffered>) -> Self::Future {
        ResponseFuture::new(&mut self.transport, &self.settings, request)
    }
}

/// Returns the headers of a request to a provider that is made beside the client's own.
#[cfg(feature = "gateway")]
pub(crate) fn upstream_headers(client: &http::HeaderMap, provider: &crate::backend::Provider) -> http::HeaderMap {
    HeadSettings::DEFAULT.request_headers(client, None, HeaderValue::from_static("application/json"), provider)
}

/// The longest wait that is measured: 30 years, which any clock can add.
pub(crate) const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Returns the instant after a wait; `Duration::MAX` never comes.
pub(crate) fn after(start: Instant, wait: Duration) -> Instant {
    start + wait.min(FOREVER)
}

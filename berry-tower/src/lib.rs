//! The concerns of an AI gateway, each a Tower layer of its own: take one, or take them all.
//!
//! ```text
//! client ─▶ ErrorResponse ─▶ Auth ─▶ RateLimit ─▶ Collect ─▶ Inspect ─▶ ModelPermission ─▶ Spend ─▶ Early ─▶ Resume ─▶ Retry ─▶ Commit ─▶ Select ─▶ CircuitBreaker ─▶ BackendClient ─▶ backend
//!           Infallible       +User    reads User   body→      +Requested   reads both        keep-alive          +Attempt  holds the  +Selected   reads Selected     deadlines, scanner,
//!                                                  Buffered                                                                head back  reads all                      +Progress
//! client ◀─────────────────────────── body: guards for in-flight, breaker permit, outcome; extensions ServedBy, RoutedModel, Attempt, Progress ◀─────────────────────────────────────────┘
//! ```
//!
//! [`gateway::gateway`] is the whole stack as one function; [`gateway::edge`] and
//! [`gateway::core`] are its two parts. A single layer needs no other part of this crate, no axum,
//! and no configuration but its own:
//!
//! ```
//! use berry_tower::auth::{ApiKey, ApiKeys, AuthLayer};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::convert::Infallible;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let hello = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello"))));
//! let layer = AuthLayer::new(ApiKeys::new([ApiKey::from_token("a-token-of-alice", "alice")]));
//! let ask = |token: &str| {
//!     let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
//!     layer.clone().layer(hello).oneshot(request)
//! };
//! assert_eq!(ask("a-token-of-alice").await.unwrap().status(), 200);
//! assert_eq!(ask("a-token-of-bob").await.unwrap().status(), 401);
//! # }
//! ```
//!
//! # The layers
//!
//! | layer | feature | needs | gives | refuses or fails with |
//! |---|---|---|---|---|
//! | [`ErrorResponse`](error_response) | `error-response` | – | `Error = Infallible` | every error as a response |
//! | [`Drain`](drain) | `drain` | – | refusals that reach clients which are still sending | – |
//! | [`Auth`](auth) | `auth` | a token in the headers | the identity, in the extensions | 401 |
//! | [`RateLimit`](rate_limit) | `rate-limit` | whatever its key function reads | `x-ratelimit-*` headers | 429 |
//! | [`Collect`](collect) | `collect` | – | [`Buffered`](body::Buffered) | 400, 408, 413, 415, 503 |
//! | [`Inspect`](inspect) | `inspect` | `Request<Buffered>`, a JSON object with a `model` | [`Requested`](inspect::Requested) | 400 |
//! | [`ModelPermission`](permission) | `permission` | `Request<Buffered>`, the identity, `Requested` | – | 403 |
//! | [`Spend`](spend) | `spend` | `Request<Buffered>`, `Requested`; an account, from a function of yours | [`Reservation`](spend::Reservation), `x-ratelimit-*` headers | 429, 400, 503 |
//! | [`Early`](early) | `early` | – | keep-alives, early heads, orderly stops | – |
//! | [`Resume`](resume) | `resume` | `Request<Buffered>`; [`Progress`](progress::Progress) on the response | an error event at the end of an interrupted stream; resumed streams | – |
//! | [`Retry`](retry) | `retry` | `Request<Buffered>` | [`Attempt`](attempt::Attempt) | `Exhausted`, `TotalTimeout` |
//! | [`Commit`](commit) | `commit` | `Progress` on the response | a head that is held back until there is output | the body's errors |
//! | [`Select`](select) | `select` | `Request<Buffered>`, `Requested` | [`Selected`](select::Selected), [`ServedBy`](attempt::ServedBy) | `Unroutable` |
//! | [`Reprice`](spend::Reprice) | `spend` | `Reservation`, `Selected` | – | [`SpendExceeded`](spend::SpendExceeded) |
//! | [`CircuitBreaker`](breaker) | `breaker` | – | – | `BreakerOpen` |
//! | [`BackendClient`](client) | `client` | `Request<Buffered>`, `Selected`, `Requested` | `Progress`, [`ErrorBody`](classify::ErrorBody) | [`Failure`](error::Failure) |
//!
//! [`Prober`](probe::Prober) (feature `probe`) is a future that checks the health of a catalogue's
//! backends while they are not used. An [`Observer`](observe::Observer) receives their attempts,
//! health and breaker changes.
//!
//! Edge layers refuse with a response, in the shape that a [`Render`](render::Render) gives; inner
//! layers fail with typed errors ([`error`]), which `ErrorResponse` turns into responses.
//!
//! # Extensions of requests and responses
//!
//! | extension | added by | read by | if it is missing |
//! |---|---|---|---|
//! | the identity, a type of the application | Auth | RateLimit's key function, ModelPermission, Select (tags), handlers | no key: no limit, unless `.require_key()`; permission: 500 |
//! | [`Requested`](inspect::Requested) | Inspect | ModelPermission, Early, Select, BackendClient | 500 that names the layer |
//! | [`Attempt`](attempt::Attempt) | Retry, also on the response | Select | Select works alone and excludes no backend |
//! | [`Reservation`](spend::Reservation) | Spend | Reprice | the price of the backend is not followed |
//! | [`Selected`](select::Selected) | Select | CircuitBreaker, BackendClient | client: 500; breaker: its own single state |
//! | [`Conversation`](dialect::Conversation) | Select, where a model has backends of another format | BackendClient | it reads the body itself |
//! | [`CallerId`](caller::CallerId) | an authentication of your own, or Select by `caller` | Select, CircuitBreaker | every failure counts |
//! | [`ServedBy`](attempt::ServedBy), [`RoutedModel`](select::RoutedModel), on the response | Select | logs, headers, tests | – |
//! | [`UpstreamTime`](upstream_time::UpstreamTime) | the application | Collect, Retry and BackendClient write to it | the time is not measured |
//! | [`Progress`](progress::Progress), on the response | BackendClient | Commit, Resume, Early, logs | the whole body counts as output |
//!
//! [`Store`](store::Store) (feature `store`) keeps the counters of limits: [`Memory`](store::Memory) in the process,
//! `store::redis::Redis` (feature `redis`, not a part of `full`) for several processes.
//!
//! # Where things happen
//!
//! For a reader of the source, by file of its folder:
//!
//! | what happens | where | who reads it |
//! |---|---|---|
//! | a 429 of an upstream becomes a cool-down | `client/call/response.rs` (`convert`) parses the error and its wait, `classify/mod.rs` (`ModelApiVerdict`) makes it `Class::RateLimited`, `select/lease.rs` (`answered`) counts it, `backend/state.rs` (`judge`, `cool_down`) stores its end | `backend/state.rs` (`view`), by which `select/candidates.rs` (`eligibility`) leaves the backend out; if no other is left, `retry/run.rs` (`decide`) waits or moves on |
//! | the end of a stream is judged | `sse/filter.rs` (`end`, `broken`), which `client/reader.rs` (`Reader`) calls; the body fails with `Failure::Interrupted` | `resume/body.rs` (`poll_frame`), `select/lease.rs` (`ended`) |
//! | the error event of a stream is written | `ending.rs` (`with_error_event`) | called by `resume/body.rs` for an interrupted stream, and by `early/body.rs` at a shutdown or after an early head |
//! | a response or an error is judged | `classify/mod.rs` (`Classify`), once per attempt and layer | `select/lease.rs` (health, statistics), `breaker/layer.rs`, `retry/run.rs` |
//! | a breaker opens or closes | `breaker/circuit.rs` (`Breaker`), by the rules of `breaker/state.rs`; `evidence.rs` (`AttemptRecord`) weighs the failures of one request | `backend/state.rs` (`view`), `breaker/layer.rs` |
//! | a request moves to a fallback, or ends without a backend | `retry/run.rs` (`fallback`), with the reason of `retry/policy.rs` (`stop_reason`) | `retry/run/log.rs` (`log_fallback`, `log_give_up`): one line with the request id and the reason |
//! | a backend keeps its state when the models are replaced | `backend/catalog.rs` (`derive`, `state_for`), by provider and model; `backend/state.rs` (`restarted`) is what it keeps when the address or the key is another one | – |
//! | a strategy is found by its name | `backend/strategy/mod.rs` (`TABLE`) | configurations, tests |
//! | a wire format is found | `dialect/format.rs` (`WireFormat`) | `backend/provider/`, `client/call/`, `dialect/conversation.rs` |
//! | an endpoint is found | `endpoint.rs` (`TABLE`) | every layer that reads [`Requested`](inspect::Requested) |
//! | an event of a backend reaches metrics | `observe.rs` (`BackendObserver`) | observers of the application |
//!
//! # Features
//!
//! One for each layer, none of them on by default. `edge` is the outer part of the standard stack,
//! `gateway` is all of it, `full` is everything. `client` has no transport of its own: `client-hyper` adds [`Hyper`](client::Hyper), and
//! `client-reqwest` adds [`Reqwest`](client::Reqwest); with both the default is
//! [`EnvProxy`](client::EnvProxy). `governor` comes with `rate-limit` only.

pub mod attempt;
#[cfg(feature = "auth")]
pub mod auth;
#[cfg(feature = "backend")]
pub mod backend;
mod backend_id;
pub mod body;
#[cfg(feature = "breaker")]
pub mod breaker;
pub mod caller;
pub mod classify;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "collect")]
pub mod collect;
#[cfg(feature = "commit")]
pub mod commit;
#[cfg(feature = "content-encoding")]
#[cfg_attr(not(feature = "client"), allow(dead_code, reason = "used by the layers that decode bodies"))]
mod content_encoding;
#[cfg(feature = "dialect")]
#[cfg_attr(not(feature = "client"), allow(dead_code, unused_imports, reason = "the client uses a part of it"))]
pub mod dialect;
#[cfg(feature = "drain")]
pub mod drain;
#[cfg(feature = "early")]
pub mod early;
#[cfg(any(feature = "early", feature = "resume"))]
mod ending;
pub mod endpoint;
pub mod error;
#[cfg(feature = "error-response")]
pub mod error_response;
#[cfg_attr(not(feature = "breaker"), allow(dead_code, reason = "without breakers there is nobody to file a failure"))]
mod evidence;
#[cfg(any(feature = "early", feature = "resume"))]
mod failed_response;
#[cfg(any(
    feature = "auth",
    feature = "rate-limit",
    feature = "permission",
    feature = "collect",
    feature = "inspect",
    feature = "error-response"
))]
#[cfg_attr(
    not(feature = "gateway"),
    allow(dead_code, unreachable_pub, unused_imports, reason = "each edge layer uses and exports a part of it")
)]
mod gate;
#[cfg(feature = "edge")]
pub mod gateway;
#[cfg(all(feature = "full", any(doc, doctest)))]
pub mod guide;
#[cfg(feature = "backend")]
mod health;
#[cfg(feature = "inspect")]
pub mod inspect;
#[cfg(any(feature = "inspect", feature = "sse"))]
mod json;
#[cfg(any(feature = "client", feature = "error-response"))]
mod mask;
#[cfg(feature = "dialect")]
mod named;
#[cfg(feature = "backend")]
pub mod observe;
#[cfg(any(feature = "inspect", feature = "decompress"))]
pub mod offload;
#[cfg(feature = "permission")]
pub mod permission;
#[cfg(feature = "probe")]
pub mod probe;
pub mod progress;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
#[cfg(any(feature = "commit", feature = "retry"))]
mod read_ahead;
pub mod render;
#[cfg(feature = "resume")]
pub mod resume;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "select")]
pub mod select;
#[cfg(feature = "spend")]
pub mod spend;
#[cfg(feature = "sse")]
pub mod sse;
#[cfg(feature = "store")]
pub mod store;
#[cfg(any(feature = "early", feature = "resume"))]
mod stream_events;
mod sync;
pub mod trace_context;
pub mod upstream_time;

/// The README's snippets, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Limits of requests, tokens and cost, reserved before a request is sent and settled after it.
//!
//! [`Spend`] reserves what a request may use with every subject of its [`Account`], in one step of a
//! [`Store`], and settles the reservation to what was used when the body of the response has ended:
//! complete, cut, or dropped by the client. A refused request uses nothing.
//!
//! * Needs: `Request<Buffered>` with [`Requested`](crate::inspect::Requested) in the extensions. Reads the use from the response:
//!   [`Progress`](crate::progress::Progress), or a [`Usage`] in its extensions.
//! * Adds: a [`Reservation`] to the request, by which [`Reprice`] behind a selection follows the price of each
//!   backend; `x-ratelimit-*` headers, or Anthropic's on its Messages API, to the response.
//! * Rejects: with 429 and `Retry-After` when a limit is reached, 400 if the request could never pass,
//!   503 if the store says so. A [`LimitReached`] is in the extensions of the refusal.
//! * Does not: count the bytes of responses. A complete response without a count of tokens is settled
//!   to its estimate.
//!
//! The cost comes from [`Prices`] or from a function of your own:
//!
//! ```
//! use berry_tower::{
//!     collect::CollectLayer,
//!     inspect::InspectLayer,
//!     progress::Usage,
//!     spend::{Account, Money, SpendLayer, SpendLimits, Subject, Used},
//!     store::Memory,
//! };
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use std::{convert::Infallible, sync::Arc};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let limits = SpendLimits::new().cost_per_day("0.01".parse().unwrap());
//! let account = Account::new([Arc::new(Subject::new("user", "alice").with_limits(limits))]);
//! let spend = SpendLayer::new(Arc::new(Memory::new()), move |_| Some(account.clone()))
//!     // A thousandth of a cent for each token.
//!     .cost(|used: &Used<'_>| Some(Money::from_nanos(10_000 * (used.usage.input + used.usage.output))));
//!
//! let mut service = ServiceBuilder::new()
//!     .layer(CollectLayer::new())
//!     .layer(InspectLayer::new())
//!     .layer(spend)
//!     .service(service_fn(async |_| {
//!         let mut response = Response::new(Full::new(Bytes::from("{}")));
//!         response.extensions_mut().insert(Usage { input: 100, output: 300, ..Usage::default() });
//!         Ok::<_, Infallible>(response)
//!     }));
//! let request = || Request::post("/v1/chat/completions").body(Full::<Bytes>::from(r#"{"model":"m","max_tokens":400}"#));
//!
//! for status in [200, 200, 429] {
//!     let service = ServiceExt::<Request<Full<Bytes>>>::ready(&mut service).await.unwrap();
//!     let response = service.call(request().unwrap()).await.unwrap();
//!     assert_eq!(response.status(), status);
//!     response.into_body().collect().await.unwrap();
//! }
//! # }
//! ```

mod account;
mod bill;
mod estimate;
mod future;
mod guard;
mod layer;
mod money;
mod prices;
mod record;
mod refusal;
mod reprice;
mod reservation;
mod spender;
#[cfg(test)]
mod tests;
mod usage;

pub use self::{
    account::{Account, Measure, SpendLimit, SpendLimits, Subject},
    estimate::Estimate,
    future::ResponseFuture,
    guard::SpendGuard,
    layer::{Spend, SpendLayer},
    money::{InvalidMoney, Money},
    prices::{Cost, Price, Prices, Rates, Used},
    record::{SpendObserver, SpendOutcome, SpendRecord},
    refusal::{LimitReached, SpendExceeded},
    reprice::{Reprice, RepriceFuture, RepriceLayer},
    reservation::Reservation,
    usage::LimitUsage,
};
#[cfg(doc)]
use crate::{progress::Usage, store::Store};

//! Health probes: a future that any application can spawn on its own catalogue.
//!
//! [`Prober::run`] never ends. Every interval it reads the catalogue anew and asks each provider
//! that has a backend to probe for its list of models, with the provider's headers and key; then it
//! has a chat of one token with the backends that are not wholly healthy. All providers are asked
//! side by side, each probe is bounded as a whole, and one that hangs delays no other.
//!
//! [`list`] and [`one_token`] send the same requests once and return the result.
//!
//! A probe marks a backend unhealthy or helps it back; it counts in no counter of users' requests,
//! and never as a failure of the circuit breaker. A change of health is written to the log.
//!
//! It does not open a breaker, measure the latency that strategies read, or probe a backend whose
//! [`Probe`](crate::backend::Probe) is `None`.
//!
//! ```
//! use berry_tower::{
//!     backend::{Backend, Catalog, Model, Provider, Stage, strategy::Random},
//!     body::Buffered,
//!     probe::{Prober, Settings},
//! };
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::{convert::Infallible, sync::Arc};
//! use tower::service_fn;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! // In the place of the network, so that the example needs none.
//! let upstream = service_fn(async |request: Request<Buffered>| {
//!     assert_eq!(request.uri().path(), if request.method() == "GET" { "/v1/models" } else { "/v1/chat/completions" });
//!     Ok::<_, Infallible>(Response::builder().status(503).body(Full::new(Bytes::new())).unwrap())
//! });
//! let provider = Arc::new(Provider::new("local", "http://127.0.0.1:9").unwrap());
//! let catalog = Catalog::new([Model::new("llama", Arc::new(Random), [Backend::new(provider, "llama-70b")])]).unwrap();
//!
//! let prober = Prober::new(catalog.clone(), upstream, Settings::default());
//! let first_round = prober.first_round();
//! tokio::spawn(prober.run());
//! first_round.await;
//!
//! let backend = catalog.load().find("llama").unwrap().backends()[0].clone();
//! assert_eq!(backend.state().view(tokio::time::Instant::now()).stage, Stage::Unhealthy);
//! # }
//! ```

mod ask;
mod due;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use http::{Request, Response};
use http_body::Body;
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval, timeout_at},
};
use tower_service::Service;

pub use ask::{Refused, list, one_token};
pub use due::{ModelListResult, NextStep, ProbeTarget, ProviderCheck, due};

use crate::{
    backend::{Backend, Catalog, ProbeOutcome, Stage},
    body::Buffered,
    classify::Class,
    client::{FOREVER, Reqwest, after},
    error::BoxError,
};

/// How often is probed, and for how long. [`Duration::MAX`] means never, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Between two rounds; at least 1 ms. Default: 30 s.
    pub interval: Duration,
    /// Bounds a provider's whole probe: the list of models and the chats after it. A
    /// probe that takes longer has failed. Default: 10 s.
    pub timeout: Duration,
    /// Between two connectivity checks of the backends of `smart_ai` models. They take part in a
    /// round, so that they come no more often than those. Default: 600 s.
    pub connectivity_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            connectivity_interval: Duration::from_secs(600),
        }
    }
}

/// Probes the backends of a catalogue; see the [module](self). `T` is any service that sends a request to its address.
#[derive(Debug)]
pub struct Prober<T = Reqwest> {
    catalog: Catalog,
    transport: T,
    settings: Settings,
    first: watch::Sender<bool>,
}

impl<T> Prober<T> {
    /// Returns a prober of the backends of `catalog`, which does nothing before [`run`](Self::run).
    pub fn new(catalog: Catalog, transport: T, settings: Settings) -> Self {
        Self { catalog, transport, settings, first: watch::Sender::new(false) }
    }

    /// Is ready when the first round has ended, at most the timeout after [`run`](Self::run) has
    /// begun; or when the prober is gone.
    pub fn first_round(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut first = self.first.subscribe();
        async move {
            let _ = first.wait_for(|ended| *ended).await;
        }
    }
}

/// What the prober wakes for.
enum Event {
    Tick,
    /// A provider's check has ended.
    Ended(Arc<str>),
}

impl<T, B> Prober<T>
where
    T: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + Sync + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Probes at once, and then in every interval, for ever.
    pub async fn run(self) {
        let Self { catalog, transport, settings, first } = self;
        let mut ticks = interval(settings.interval.clamp(Duration::from_millis(1), FOREVER));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = FuturesUnordered::new();
        // Who hangs is not asked again meanwhile.
        let mut busy: HashSet<Arc<str>> = HashSet::new();
        let mut first_left: Option<HashSet<Arc<str>>> = None;
        loop {
            match poll_fn(|cx| next(&mut ticks, &mut under_way, cx)).await {
                Event::Tick => {
                    let checks = due(&catalog.load(), settings.connectivity_interval, Instant::now());
                    for one in checks {
                        if busy.insert(one.provider.id().clone()) {
                            under_way.push(check(one, transport.clone(), settings.timeout));
                        }
                    }
                    first_left.get_or_insert_with(|| busy.clone());
                }
                Event::Ended(provider) => {
                    busy.remove(&provider);
                    if let Some(left) = &mut first_left {
                        left.remove(&provider);
                    }
                }
            }
            if first_left.as_ref().is_some_and(HashSet::is_empty) {
                first.send_if_modified(|ended| !std::mem::replace(ended, true));
            }
        }
    }
}

fn next<F>(ticks: &mut Interval, under_way: &mut FuturesUnordered<F>, cx: &mut Context<'_>) -> Poll<Event>
where
    F: Future<Output = Arc<str>>,
{
    if ticks.poll_tick(cx).is_ready() {
        return Poll::Ready(Event::Tick);
    }
    match under_way.poll_next_unpin(cx) {
        Poll::Ready(Some(provider)) => Poll::Ready(Event::Ended(provider)),
        // Nothing is under way: the next tick wakes.
        Poll::Ready(None) | Poll::Pending => Poll::Pending,
    }
}

/// Probes one provider, records the result, and returns which provider it was.
async fn check<T, B>(check: ProviderCheck, transport: T, timeout: Duration) -> Arc<str>
where
    T: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let deadline = after(Instant::now(), timeout);
    let ProviderCheck { provider, targets } = check;
    let listing = match timeout_at(deadline, list(transport.clone(), &provider)).await {
        Ok(Ok(())) => ModelListResult::Alive,
        Ok(Err(Refused { class, silent: false, .. })) => ModelListResult::Refused(class),
        Ok(Err(Refused { class, silent: true, .. })) => ModelListResult::Silent(class),
        Err(_) => ModelListResult::Silent(Class::Timeout),
    };
    let finish = |target: ProbeTarget| {
        let transport = transport.clone();
        async move {
            let backend = &target.backend;
            if target.connectivity {
                backend.state().record_connectivity(listing.is_connected(), Instant::now());
            }
            let outcome = match target.after(listing, Instant::now()) {
                NextStep::Done(outcome) => outcome,
                NextStep::Chat => timeout_at(deadline, ask::chat(transport, backend))
                    .await
                    .unwrap_or(ProbeOutcome::Failed(Class::Timeout)),
            };
            book(backend, outcome);
        }
    };
    join_all(targets.into_iter().map(finish)).await;
    provider.id().clone()
}

fn book(backend: &Backend, outcome: ProbeOutcome) {
    let id = &backend.id();
    let (provider, model) = (&*id.provider, &*id.model);
    let Some(change) = backend.state().probed(outcome, Instant::now()) else { return };
    let (from, to) = (change.from.name(), change.to.name());
    match (change.to, outcome) {
        (Stage::Unhealthy, ProbeOutcome::Failed(class)) => {
            tracing::warn!(provider, model, from, to, class = class.name(), "a probe failed");
        }
        _ => tracing::warn!(provider, model, from, to, "a probe went well"),
    }
}

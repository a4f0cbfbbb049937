//! Hooks for metrics, dashboards and logs: each event of a backend is reported once, as it happens.
//!
//! An [`Observer`] is given to a catalogue by
//! [`Catalog::observed_by`](crate::backend::Catalog::observed_by), and hands out one
//! [`BackendObserver`] for each backend, the first time that the catalogue holds it. From then on
//! the backend's own state keeps it, over every replacement of the catalogue: a request follows one
//! pointer, and looks nothing up. It stands with the catalogue rather than with a layer, since
//! probes change the state of backends too, and a reload brings new ones.
//!
//! | hook | called by | when |
//! |---|---|---|
//! | [`retried`](BackendObserver::retried) | Select | an attempt after the first has reached its backend, before its end |
//! | [`attempt_ended`](BackendObserver::attempt_ended) | Select | once for each attempt that asked the backend, when its body has ended |
//! | [`health_changed`](BackendObserver::health_changed) | [`BackendState`](crate::backend::BackendState) | the stage of its health is another one |
//! | [`breaker_changed`](BackendObserver::breaker_changed) | its breaker | it has closed, opened, or become half-open |
//! | [`ids_made`](BackendObserver::ids_made) | BackendClient | a response has ended that holds ids which only the backend's account knows |
//! | [`paused`](BackendObserver::paused) | [`BackendState`](crate::backend::BackendState) | its breaker has opened, or its provider has asked for a pause |
//!
//! The attempts of one request are reported to the [`RequestObserver`] in its extensions.
//!
//! Hooks are called on the path of requests: they must neither block nor take long. Probes are no
//! attempts. A `Vec` of observers is an observer that calls them all.
//!
//! ```
//! use berry_tower::{
//!     backend::{Backend, BackendId, Catalog, HealthChange, Model, Provider, strategy::Random},
//!     classify::Class,
//!     observe::{BackendObserver, Cause, Observer},
//! };
//! use std::sync::{Arc, atomic::{AtomicU32, Ordering::Relaxed}};
//! use tokio::time::Instant;
//!
//! #[derive(Clone, Debug, Default)]
//! struct Falls(Arc<AtomicU32>);
//!
//! impl BackendObserver for Falls {
//!     fn health_changed(&self, change: HealthChange, _: Cause) {
//!         if change.to < change.from {
//!             self.0.fetch_add(1, Relaxed);
//!         }
//!     }
//! }
//!
//! impl Observer for Falls {
//!     fn backend(&self, _: &BackendId) -> Arc<dyn BackendObserver> {
//!         Arc::new(self.clone())
//!     }
//! }
//!
//! let provider = Arc::new(Provider::new("local", "http://127.0.0.1:9").unwrap());
//! let models = [Model::new("llama", Arc::new(Random), [Backend::new(provider, "llama-70b")])];
//! let falls = Falls::default();
//! let catalog = Catalog::new(models).unwrap().observed_by(Arc::new(falls.clone()));
//!
//! let live = catalog.load().find("llama").unwrap().backends()[0].state().clone();
//! for class in [Class::Success, Class::Server, Class::Timeout] {
//!     live.record(class, Instant::now());
//! }
//! assert_eq!(falls.0.load(Relaxed), 1, "what is down does not fall");
//! ```

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode};

use tokio::time::Instant;

use crate::{
    attempt::BackendId,
    backend::Backend,
    breaker::{State, Transition},
    classify::Class,
    health::HealthChange,
    progress::Usage,
};

/// Creates the observers of backends.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Returns the observer of a backend; called once for each, however many models share it.
    fn backend(&self, id: &BackendId) -> Arc<dyn BackendObserver>;
}

/// Observes one backend. Every method has an empty default.
pub trait BackendObserver: fmt::Debug + Send + Sync {
    /// Called when an attempt on this backend has ended.
    fn attempt_ended(&self, _attempt: &AttemptEnd<'_>) {}

    /// Called when an attempt on this backend is a retry: with the public name of its model, and the class
    /// of the failed attempt before it, on this backend or another.
    fn retried(&self, _model: &Arc<str>, _reason: Class) {}

    /// Called when its health has changed.
    fn health_changed(&self, _change: HealthChange, _cause: Cause) {}

    /// Called when its circuit breaker has changed.
    fn breaker_changed(&self, _transition: Transition) {}

    /// It is not asked for this time: its breaker has opened, or its provider has sent `Retry-After`.
    fn paused(&self, _left: Duration) {}

    /// Called when a response has ended that holds new ids of the backend's account, with their hashes, which are the same in
    /// every process; see [`learn_ids`](crate::backend::BackendState::learn_ids).
    fn ids_made(&self, _ids: &[u64]) {}
}

/// Observes the attempts of one request.
pub trait AttemptObserver: fmt::Debug + Send + Sync {
    /// Called when an attempt of the request has ended.
    fn attempt_ended(&self, attempt: &AttemptEnd<'_>);
}

/// The observer of one request's attempts; an extension of requests.
#[derive(Clone, Debug)]
pub struct RequestObserver(pub Arc<dyn AttemptObserver>);

/// The cause of a change of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A user's request.
    Request,
    /// A probe.
    Probe,
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AttemptEnd<'a> {
    /// The request's `x-request-id`.
    pub request_id: Option<&'a HeaderValue>,
    /// The backend.
    pub backend: &'a BackendId,
    /// The public name of the model that it stood in for: the one asked for, or a fallback.
    pub model: &'a Arc<str>,
    /// The attempt's number within its request, from 1.
    pub number: u32,
    /// The verdict.
    pub class: Class,
    /// The status of the response, if there was one.
    pub status: Option<StatusCode>,
    /// The time from the choice of the backend to the head of its response.
    pub head_after: Option<Duration>,
    /// The time from the choice of the backend to the first output of a stream.
    pub first_token_after: Option<Duration>,
    /// The time from the choice of the backend to the end.
    pub elapsed: Duration,
    /// Tokens, as far as the backend has counted them.
    pub usage: Option<Usage>,
    /// What failed, where no status says it; without the provider's own words.
    pub reason: Option<&'a str>,
    /// The time of its end.
    pub ended: Instant,
    /// The selected backend, with its provider.
    pub selected: &'a Arc<Backend>,
    /// How the attempt before this one ended, if there was one.
    pub previous: Option<Class>,
    /// Whether it continues a stream that the attempt before it had begun.
    pub resumes: bool,
    /// The state of the backend's breaker after a failure; `None` after anything else.
    pub breaker: Option<State>,
}

impl Observer for Vec<Arc<dyn Observer>> {
    fn backend(&self, id: &BackendId) -> Arc<dyn BackendObserver> {
        Arc::new(self.iter().map(|observer| observer.backend(id)).collect::<Vec<_>>())
    }
}

impl BackendObserver for Vec<Arc<dyn BackendObserver>> {
    fn attempt_ended(&self, attempt: &AttemptEnd<'_>) {
        self.iter().for_each(|observer| observer.attempt_ended(attempt));
    }

    fn retried(&self, model: &Arc<str>, reason: Class) {
        self.iter().for_each(|observer| observer.retried(model, reason));
    }

    fn health_changed(&self, change: HealthChange, cause: Cause) {
        self.iter().for_each(|observer| observer.health_changed(change, cause));
    }

    fn breaker_changed(&self, transition: Transition) {
        self.iter().for_each(|observer| observer.breaker_changed(transition));
    }

    fn paused(&self, left: Duration) {
        self.iter().for_each(|observer| observer.paused(left));
    }

    fn ids_made(&self, ids: &[u64]) {
        self.iter().for_each(|observer| observer.ids_made(ids));
    }
}

//! What the failed attempts of one request say about their backends, decided once the request is.
//!
//! A request that fails in the same way on two backends is probably at fault itself. One that another
//! backend serves is not, but the first may refuse its caller only, as a firewall does. So a failure is *filed* when it happens and *decided* later: when
//! another backend has served the request, when one has called it faulty, or when it is over.
//!
//! The list is only appended to, by compare-and-swap, and nothing is allocated before a failure.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{backend_id::BackendId, classify::Class};

/// How much a failure says about the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// The backend is at fault: no request can cause such a failure.
    Certain,
    /// Another backend served the request: this one is at fault, or refuses the caller.
    ServedElsewhere,
    /// Nothing is known but that it failed.
    Alone,
    /// The request failed in the same way on another backend, or another backend refused it.
    Shared,
}

/// A failure that waits for its decision.
pub(crate) trait Claim: fmt::Debug + Send + Sync {
    /// Applies the decision; called once.
    fn decide(&self, weight: Weight);
}

/// The failures of one request, in the order in which they were filed.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    first: OnceLock<Box<Failure>>,
}

#[derive(Debug)]
struct Failure {
    /// Tells backends apart: the address of the backend's breaker.
    backend: usize,
    class: Class,
    claim: Box<dyn Claim>,
    is_shared: AtomicBool,
    is_decided: AtomicBool,
    next: OnceLock<Box<Failure>>,
}

impl Failure {
    fn decide(&self, weight: Weight) {
        if !self.is_decided.swap(true, Ordering::AcqRel) {
            self.claim.decide(weight);
        }
    }
}

impl Evidence {
    fn iter(&self) -> impl Iterator<Item = &Failure> {
        std::iter::successors(self.first.get(), |failure| failure.next.get()).map(|failure| &**failure)
    }

    fn file(&self, backend: usize, class: Class, claim: Box<dyn Claim>) {
        let is_shared = AtomicBool::new(false);
        let mut failure = Box::new(Failure {
            backend,
            class,
            claim,
            is_shared,
            is_decided: AtomicBool::new(false),
            next: OnceLock::new(),
        });
        for earlier in self.iter().filter(|earlier| earlier.backend != backend && earlier.class == class) {
            earlier.is_shared.store(true, Ordering::Release);
            *failure.is_shared.get_mut() = true;
        }
        let mut slot = &self.first;
        while let Err(back) = slot.set(failure) {
            failure = back;
            match slot.get() {
                Some(taken) => slot = &taken.next,
                None => return,
            }
        }
    }

    /// `backend` has served the request.
    fn served(&self, backend: usize) {
        for failure in self.iter() {
            failure.decide(if failure.backend == backend { Weight::Alone } else { Weight::ServedElsewhere });
        }
    }

    /// `backend` has called the request faulty.
    fn refused(&self, backend: usize) {
        for failure in self.iter().filter(|failure| failure.backend != backend) {
            failure.is_shared.store(true, Ordering::Release);
        }
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        for failure in self.iter() {
            let is_shared = failure.is_shared.load(Ordering::Acquire);
            failure.decide(if is_shared { Weight::Shared } else { Weight::Alone });
        }
    }
}

/// What the attempts of a request know of each other.
#[derive(Debug, Default)]
pub(crate) struct AttemptRecord {
    /// The backend that was called, once it is known.
    pub(crate) backend: OnceLock<BackendId>,
    /// The failures of the request; made with the first of them.
    evidence: OnceLock<Arc<Evidence>>,
}

impl AttemptRecord {
    /// Returns the record of another attempt of the same request.
    pub(crate) fn sibling(&self) -> Self {
        Self { backend: OnceLock::new(), evidence: self.evidence.clone() }
    }

    /// Returns the record of an attempt that follows this one, which has failed.
    pub(crate) fn successor(&self) -> Self {
        self.evidence.get_or_init(Arc::default);
        self.sibling()
    }

    /// Files a failure of the backend whose breaker is at this address.
    pub(crate) fn file(&self, backend: usize, class: Class, claim: Box<dyn Claim>) {
        self.evidence.get_or_init(Arc::default).file(backend, class, claim);
    }

    /// Tells the earlier failures that this backend has served the request.
    pub(crate) fn served(&self, backend: usize) {
        if let Some(evidence) = self.evidence.get() {
            evidence.served(backend);
        }
    }

    /// Tells the earlier failures that this backend has called the request faulty.
    pub(crate) fn refused(&self, backend: usize) {
        if let Some(evidence) = self.evidence.get() {
            evidence.refused(backend);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Sends its index and the decision.
    #[derive(Debug)]
    struct Reporter(usize, Sender<(usize, Weight)>);

    impl Claim for Reporter {
        fn decide(&self, weight: Weight) {
            self.1.send((self.0, weight)).unwrap();
        }
    }

    /// Files failures, lets `end` happen and the request be over; returns what was decided.
    fn decided(failures: &[(usize, Class)], end: impl FnOnce(&AttemptRecord)) -> Vec<(usize, Weight)> {
        let (sender, decisions) = channel();
        let mut record = AttemptRecord::default();
        for (at, (backend, class)) in failures.iter().enumerate() {
            record.file(*backend, *class, Box::new(Reporter(at, sender.clone())));
            record = record.successor();
        }
        end(&record);
        drop((record, sender));
        decisions.iter().collect()
    }

    #[test]
    fn the_same_failure_on_two_backends_is_shared() {
        let (server, timeout) = (Class::Server, Class::Timeout);
        let over = |failures: &[(usize, Class)]| decided(failures, |_| {});
        assert_eq!(over(&[(1, server)]), [(0, Weight::Alone)]);
        assert_eq!(over(&[(1, server), (1, server)]), [(0, Weight::Alone), (1, Weight::Alone)]);
        assert_eq!(over(&[(1, server), (2, server)]), [(0, Weight::Shared), (1, Weight::Shared)]);
        assert_eq!(over(&[(1, server), (2, timeout)]), [(0, Weight::Alone), (1, Weight::Alone)]);
        let three = [(0, Weight::Shared), (1, Weight::Alone), (2, Weight::Shared)];
        assert_eq!(over(&[(1, server), (2, timeout), (3, server)]), three);
    }

    #[test]
    fn a_backend_that_serves_the_request_tells_against_the_others() {
        let failures = [(1, Class::Server), (2, Class::Server), (3, Class::Network)];
        let expected = [(0, Weight::ServedElsewhere), (1, Weight::ServedElsewhere), (2, Weight::Alone)];
        assert_eq!(decided(&failures, |record| record.served(3)), expected, "once each");
    }

    #[test]
    fn a_backend_that_refuses_the_request_excuses_the_others() {
        assert_eq!(decided(&[(1, Class::Server)], |record| record.refused(2)), [(0, Weight::Shared)]);
    }
}

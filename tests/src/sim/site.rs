//! A simulated provider: its latency, its price and its periods of failure.

use std::{f64::consts::TAU, time::Duration};

use berry_tower::{backend::ProbeOutcome, classify::Class, probe::ModelListResult};
use rand::{RngExt, rngs::StdRng};

/// The gateway's timeout for a response head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The latency of an error response.
const ERROR_LATENCY: Duration = Duration::from_millis(80);
/// The latency of a probe's response.
const PROBE_LATENCY: Duration = Duration::from_millis(100);

/// A simulated provider with one backend.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Its weight in the pool.
    pub weight: f64,
    /// Its priority in the pool.
    pub priority: u8,
    /// Whether it has the tag `premium`.
    pub premium: bool,
    /// The cost of a thousand responses.
    pub price: f64,
    /// The median latency. Latencies follow a log-normal distribution.
    pub median: Duration,
    /// The standard deviation of the logarithm of the latency.
    pub spread: f64,
    /// The share of requests that fail outside the periods of failure.
    pub noise: f64,
    /// The periods of failure, in order.
    pub troubles: Vec<Trouble>,
}

/// A period in which a site fails.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    /// The start, measured from the start of the run.
    pub from: Duration,
    /// The end, measured from the start of the run.
    pub to: Duration,
    /// The kind of failure.
    pub kind: Kind,
}

/// How a site fails during a [`Trouble`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Every request fails.
    Outage(Down),
    /// Requests fail during the first half of each period.
    Flapping {
        /// The way in which they fail.
        down: Down,
        /// The length of a period.
        period: Duration,
    },
    /// The share of failing requests grows from none to all.
    Decay,
    /// Requests are rate limited.
    Limited {
        /// The value of `Retry-After`, if the site sends it.
        retry_after: Option<Duration>,
    },
}

/// The way in which a site is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// Responds with 500.
    Errors,
    /// Refuses connections.
    Refuses,
    /// Accepts requests and never responds.
    Hangs,
}

/// The outcome of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptOutcome {
    /// The class of the response or error.
    pub class: Class,
    /// Whether a deadline passed before a byte came.
    pub silent: bool,
    /// The time that the attempt takes.
    pub takes: Duration,
}

impl Down {
    const fn class(self) -> Class {
        match self {
            Self::Errors => Class::Server,
            Self::Refuses => Class::Network,
            Self::Hangs => Class::Timeout,
        }
    }

    const fn outcome(self) -> AttemptOutcome {
        let takes = match self {
            Self::Errors | Self::Refuses => ERROR_LATENCY,
            Self::Hangs => HEAD_TIMEOUT,
        };
        AttemptOutcome { class: self.class(), silent: matches!(self, Self::Hangs), takes }
    }
}

impl Site {
    /// Returns a site of weight 1 and price 1 with a median latency of half a second, which never
    /// fails.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            weight: 1.0,
            priority: 0,
            premium: false,
            price: 1.0,
            median: Duration::from_millis(500),
            spread: 0.35,
            noise: 0.0,
            troubles: Vec::new(),
        }
    }

    /// Adds a period of failure, given in seconds from the start of the run.
    #[must_use]
    pub fn trouble(mut self, from: u64, to: u64, kind: Kind) -> Self {
        self.troubles.push(Trouble { from: Duration::from_secs(from), to: Duration::from_secs(to), kind });
        self
    }

    /// Returns the outcome of a request that arrives at `at`.
    pub fn outcome(&self, at: Duration, rng: &mut StdRng) -> AttemptOutcome {
        if let Some(outcome) = self.trouble_at(at, rng) {
            return outcome;
        }
        if self.noise > 0.0 && rng.random::<f64>() < self.noise {
            return Down::Errors.outcome();
        }
        AttemptOutcome { class: Class::Success, silent: false, takes: self.latency(rng) }
    }

    fn latency(&self, rng: &mut StdRng) -> Duration {
        // The Box–Muller transform turns two uniform random numbers into a normal one.
        let (u, v) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
        let normal = (-2.0 * u.ln()).sqrt() * (TAU * v).cos();
        self.median.mul_f64((self.spread * normal).exp())
    }

    fn trouble_at(&self, at: Duration, rng: &mut StdRng) -> Option<AttemptOutcome> {
        let trouble = self.troubles.iter().find(|t| (t.from..t.to).contains(&at))?;
        match trouble.kind {
            Kind::Outage(down) => Some(down.outcome()),
            Kind::Flapping { down, period } => {
                let phase = (at - trouble.from).as_secs_f64() % period.as_secs_f64();
                (phase < period.as_secs_f64() / 2.0).then(|| down.outcome())
            }
            Kind::Decay => {
                let gone = (at - trouble.from).as_secs_f64() / (trouble.to - trouble.from).as_secs_f64();
                (rng.random::<f64>() < gone).then(|| Down::Errors.outcome())
            }
            Kind::Limited { retry_after } => {
                Some(AttemptOutcome { class: Class::RateLimited { retry_after }, silent: false, takes: ERROR_LATENCY })
            }
        }
    }

    /// Returns the result of requesting the model list at `at`, and the time that it takes. A site that
    /// limits requests or decays still serves its list.
    pub(super) fn list(&self, at: Duration, timeout: Duration, rng: &mut StdRng) -> (ModelListResult, Duration) {
        let kind = self.troubles.iter().find(|t| (t.from..t.to).contains(&at)).map(|t| t.kind);
        if !matches!(kind, Some(Kind::Outage(_) | Kind::Flapping { .. })) {
            return (ModelListResult::Alive, PROBE_LATENCY);
        }
        match self.trouble_at(at, rng) {
            None => (ModelListResult::Alive, PROBE_LATENCY),
            Some(AttemptOutcome { class, silent: true, .. }) => (ModelListResult::Silent(class), timeout),
            Some(AttemptOutcome { class: Class::Network, .. }) => {
                (ModelListResult::Silent(Class::Network), PROBE_LATENCY)
            }
            Some(AttemptOutcome { class, .. }) => (ModelListResult::Refused(class), PROBE_LATENCY),
        }
    }

    /// Returns the result of a probe's chat request.
    pub(super) fn chat(&self, at: Duration, rng: &mut StdRng) -> ProbeOutcome {
        match self.outcome(at, rng).class {
            Class::Success => ProbeOutcome::Chatted,
            class => ProbeOutcome::Failed(class),
        }
    }
}

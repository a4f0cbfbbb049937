//! A made-up provider: how fast it is, what it costs, and when it is in trouble.

use std::{f64::consts::TAU, time::Duration};

use berry_tower::{backend::ProbeOutcome, classify::Class, probe::ModelListResult};
use rand::{RngExt, rngs::StdRng};

/// How long the gateway waits for a head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an error takes to come.
const ERROR: Duration = Duration::from_millis(80);
/// And an answer to a probe.
const PROBE: Duration = Duration::from_millis(100);

/// A backend, as the simulated world knows it.
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
    /// What a thousand answers cost.
    pub price: f64,
    /// The median of its latency; the logarithm of the latency is spread normally.
    pub median: Duration,
    /// The spread of that logarithm.
    pub spread: f64,
    /// The share of requests that fail at any time.
    pub noise: f64,
    /// When it is in trouble, in order.
    pub troubles: Vec<Trouble>,
}

/// A time in which a site fails.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    /// From when, since the start.
    pub from: Duration,
    /// Until when.
    pub to: Duration,
    /// How.
    pub kind: Kind,
}

/// What a site does while it is in trouble.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It fails always.
    Outage(Down),
    /// It fails for the first half of each period.
    Flapping {
        /// How it fails.
        down: Down,
        /// The length of a period.
        period: Duration,
    },
    /// It fails ever more often, from never to always.
    Decay,
    /// It asks to slow down.
    Limited {
        /// For how long, when it says so.
        retry_after: Option<Duration>,
    },
}

/// In which way a site is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// It answers 500.
    Errors,
    /// It refuses connections.
    Refuses,
    /// It takes requests and says nothing.
    Hangs,
}

/// What becomes of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The verdict.
    pub class: Class,
    /// Whether a deadline passed before a byte came.
    pub silent: bool,
    /// How long it takes.
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

    const fn fate(self) -> Fate {
        let takes = match self {
            Self::Errors | Self::Refuses => ERROR,
            Self::Hangs => HEAD_TIMEOUT,
        };
        Fate { class: self.class(), silent: matches!(self, Self::Hangs), takes }
    }
}

impl Site {
    /// A site of weight 1 that answers in half a second, costs 1, and never fails.
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

    /// Adds a time of trouble, in seconds.
    #[must_use]
    pub fn trouble(mut self, from: u64, to: u64, kind: Kind) -> Self {
        self.troubles.push(Trouble { from: Duration::from_secs(from), to: Duration::from_secs(to), kind });
        self
    }

    /// What becomes of a request that comes at `at`.
    pub fn fate(&self, at: Duration, rng: &mut StdRng) -> Fate {
        if let Some(fate) = self.trouble_at(at, rng) {
            return fate;
        }
        if self.noise > 0.0 && rng.random::<f64>() < self.noise {
            return Down::Errors.fate();
        }
        Fate { class: Class::Success, silent: false, takes: self.latency(rng) }
    }

    fn latency(&self, rng: &mut StdRng) -> Duration {
        // Box and Muller's transform: two even numbers make a normal one.
        let (u, v) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
        let normal = (-2.0 * u.ln()).sqrt() * (TAU * v).cos();
        self.median.mul_f64((self.spread * normal).exp())
    }

    fn trouble_at(&self, at: Duration, rng: &mut StdRng) -> Option<Fate> {
        let trouble = self.troubles.iter().find(|t| (t.from..t.to).contains(&at))?;
        match trouble.kind {
            Kind::Outage(down) => Some(down.fate()),
            Kind::Flapping { down, period } => {
                let phase = (at - trouble.from).as_secs_f64() % period.as_secs_f64();
                (phase < period.as_secs_f64() / 2.0).then(|| down.fate())
            }
            Kind::Decay => {
                let gone = (at - trouble.from).as_secs_f64() / (trouble.to - trouble.from).as_secs_f64();
                (rng.random::<f64>() < gone).then(|| Down::Errors.fate())
            }
            Kind::Limited { retry_after } => {
                Some(Fate { class: Class::RateLimited { retry_after }, silent: false, takes: ERROR })
            }
        }
    }

    /// What a probe that begins at `at` hears of the list of models, and how much later. A site
    /// that limits or decays still has its list.
    pub(super) fn list(&self, at: Duration, timeout: Duration, rng: &mut StdRng) -> (ModelListResult, Duration) {
        let kind = self.troubles.iter().find(|t| (t.from..t.to).contains(&at)).map(|t| t.kind);
        if !matches!(kind, Some(Kind::Outage(_) | Kind::Flapping { .. })) {
            return (ModelListResult::Alive, PROBE);
        }
        match self.trouble_at(at, rng) {
            None => (ModelListResult::Alive, PROBE),
            Some(Fate { class, silent: true, .. }) => (ModelListResult::Silent(class), timeout),
            Some(Fate { class: Class::Network, .. }) => (ModelListResult::Silent(Class::Network), PROBE),
            Some(Fate { class, .. }) => (ModelListResult::Refused(class), PROBE),
        }
    }

    /// What a probe's chat comes to.
    pub(super) fn chat(&self, at: Duration, rng: &mut StdRng) -> ProbeOutcome {
        match self.fate(at, rng).class {
            Class::Success => ProbeOutcome::Chatted,
            class => ProbeOutcome::Failed(class),
        }
    }
}

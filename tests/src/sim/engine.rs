//! The event queue of a run: the gateway's handling of a request, without a network.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::Arc,
    time::Duration,
};

use berry_tower::{
    attempt::Attempt,
    backend::{Catalog, Model, Trial},
    breaker::Permit,
    classify::{Class, RequestFacts},
    endpoint::Endpoint,
    error::Unroutable,
    probe::{ModelListResult, NextStep, ProbeTarget, Settings, due},
    retry::{Budget, Decision, FailedAttempt, RetryPolicy},
    select::candidates::{SelectionContext, candidates, needs_trial},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use super::{AttemptOutcome, Run, Setup};

/// The number of selections without a usable backend after which a request fails, as in the gateway.
const MAX_IDLE: u32 = 8;

/// The state of a run in progress.
pub(super) struct Engine<'a> {
    setup: &'a Setup,
    catalog: Catalog,
    model: Arc<Model>,
    budget: Budget,
    rng: StdRng,
    start: Instant,
    now: Duration,
    queue: BinaryHeap<Reverse<Event>>,
    number: u64,
    run: Run,
}

struct Event {
    at: Duration,
    number: u64,
    kind: EventKind,
}

enum EventKind {
    /// An attempt of a request has ended.
    Ended(Request, InFlight),
    /// The backoff of a request has ended.
    Wake(Request),
    /// A round of probes begins.
    Round(Settings),
    /// A probe has received the result of a provider's model list.
    Listed(ProbeTarget, ModelListResult),
}

/// A request and the history of its attempts.
struct Request {
    arrived: Duration,
    attempt: Attempt,
    attempts: u32,
    repeats: u32,
    last: Class,
    idle: u32,
}

impl Request {
    /// Returns the last failed attempt in the form that the retry policy takes.
    fn failed<'a>(&self, facts: &'a RequestFacts) -> FailedAttempt<'a> {
        FailedAttempt::new(facts, self.last).with_attempts(self.attempts).with_repeats(self.repeats)
    }
}

/// An attempt in flight.
struct InFlight {
    site: usize,
    permit: Permit,
    trial: Option<Trial>,
    at: Duration,
    outcome: AttemptOutcome,
}

impl<'a> Engine<'a> {
    pub(super) fn new(setup: &'a Setup) -> Self {
        let catalog = setup.catalog();
        let model = catalog.load().models()[0].clone();
        Self {
            setup,
            catalog,
            model,
            budget: Budget::default(),
            rng: StdRng::seed_from_u64(setup.seed),
            start: Instant::now(),
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            number: 0,
            run: Run::new(setup),
        }
    }

    pub(super) fn run(mut self) -> Run {
        if let Some(settings) = self.setup.probes {
            // The first round of probes comes at a random time.
            let phase = settings.interval.mul_f64(self.rng.random::<f64>());
            self.at(phase, EventKind::Round(settings));
        }
        let mut arrival = self.gap();
        loop {
            let next = self.queue.peek().map(|Reverse(event)| event.at);
            if arrival < self.setup.length && next.is_none_or(|at| arrival <= at) {
                self.now = arrival;
                arrival += self.gap();
                self.arrive();
                continue;
            }
            let Some(Reverse(event)) = self.queue.pop() else { break };
            self.now = event.at;
            match event.kind {
                EventKind::Ended(request, sent) => self.ended(request, sent),
                EventKind::Wake(mut request) => {
                    request.attempt = request.attempt.with_repeats(true);
                    self.send(request);
                }
                EventKind::Round(settings) => self.round(settings),
                EventKind::Listed(target, listing) => self.listed(&target, listing),
            }
        }
        self.run
    }

    fn at(&mut self, at: Duration, kind: EventKind) {
        self.number += 1;
        self.queue.push(Reverse(Event { at, number: self.number, kind }));
    }

    /// Returns the random time until the next request.
    fn gap(&mut self) -> Duration {
        Duration::from_secs_f64(-(1.0 - self.rng.random::<f64>()).ln() / self.setup.rate)
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    fn arrive(&mut self) {
        self.run.requests += 1;
        self.budget.deposit(self.instant());
        let (arrived, attempt, last) = (self.now, Attempt::first(), Class::Network);
        self.send(Request { arrived, attempt, attempts: 0, repeats: 0, last, idle: 0 });
    }

    /// Starts an attempt, schedules a later one, or gives up.
    fn send(&mut self, request: Request) {
        let now = self.instant();
        let model = self.model.clone();
        let (endpoint, attempt) = (Some(Endpoint::ChatCompletions), Some(&request.attempt));
        let list =
            match candidates(&model, &SelectionContext::default().with_endpoint(endpoint).with_attempt(attempt), now) {
                Ok(found) => found.list,
                Err(Unroutable::OnlyTriedLeft { soonest }) => return self.again(soonest, request),
                Err(_) => return self.give_up(),
            };
        let picked = model.strategy().pick(&list, &mut || self.rng.random()).min(list.len() - 1);
        let chosen = &list[picked];
        let live = chosen.backend.state();
        let trial = needs_trial(chosen, model.strategy());
        // The engine handles one event at a time, so no other request can take the slot in between.
        assert!(live.try_enter(chosen.backend.max_in_flight()), "the candidate has a free slot");
        let trial = trial.then(|| live.try_trial(now).expect("the trial is free"));
        let permit = live.breaker().try_acquire(now).expect("the breaker admits the candidate");
        request.attempt.record_backend(chosen.backend.id().clone());
        let site = self.run.site(&model, chosen.backend);
        let outcome = self.setup.sites[site].outcome(self.now, &mut self.rng);
        self.run.sent(&model, site, self.now, now);
        let sent = InFlight { site, permit, trial, at: self.now, outcome };
        self.at(self.now + outcome.takes, EventKind::Ended(request, sent));
    }

    fn ended(&mut self, mut request: Request, sent: InFlight) {
        let now = self.instant();
        let InFlight { site, permit, trial, at, outcome } = sent;
        let live = &self.model.backends()[site].state();
        permit.settle(outcome.class, now);
        if !outcome.class.is_error() {
            live.record_first_byte(self.now - at, now);
        }
        live.record(outcome.class, now);
        if let Some(trial) = trial {
            live.end_trial(trial);
        }
        live.leave();
        if !outcome.class.fails_over() {
            return self.run.served(site, self.setup.sites[site].price, self.now - request.arrived);
        }
        self.run.failed(site, self.now);
        request.idle = 0;
        request.attempts += 1;
        request.repeats += u32::from(request.attempt.is_repeat());
        request.last = outcome.class;
        request.attempt = request.attempt.next(outcome.class, outcome.silent);
        let facts = RequestFacts::default();
        match self.setup.plan.decide(&request.failed(&facts).with_selection(false)) {
            Decision::RetryNow => self.send(request),
            Decision::RetryAfter(wait) => self.at(self.now + wait, EventKind::Wake(request)),
            _ => self.give_up(),
        }
    }

    fn again(&mut self, soonest: Duration, mut request: Request) {
        request.idle += 1;
        let now = self.instant();
        let facts = RequestFacts::default();
        let mut failed = request.failed(&facts).with_selection(true).with_retry_after(None);
        if soonest.is_zero() {
            failed = failed.with_jitter(self.rng.random());
        } else {
            failed = failed.with_retry_after(Some(soonest));
        }
        match self.setup.plan.decide(&failed) {
            Decision::RetryAfter(wait) if request.idle <= MAX_IDLE && self.budget.withdraw(now) => {
                self.at(self.now + wait, EventKind::Wake(request));
            }
            _ => self.give_up(),
        }
    }

    fn give_up(&mut self) {
        let now = self.now;
        self.run.gave_up(now);
    }

    fn round(&mut self, settings: Settings) {
        if self.now >= self.setup.length {
            return;
        }
        for check in due(&self.catalog.load(), settings.connectivity_interval, self.instant()) {
            for target in check.targets {
                let site = self.run.site(&self.model, &target.backend);
                let (listing, later) = self.setup.sites[site].list(self.now, settings.timeout, &mut self.rng);
                self.at(self.now + later, EventKind::Listed(target, listing));
            }
        }
        self.at(self.now + settings.interval, EventKind::Round(settings));
    }

    fn listed(&mut self, target: &ProbeTarget, listing: ModelListResult) {
        let now = self.instant();
        let site = self.run.site(&self.model, &target.backend);
        let live = target.backend.state();
        if target.connectivity {
            live.record_connectivity(listing.is_connected(), now);
        }
        let outcome = match target.after(listing, now) {
            NextStep::Done(outcome) => outcome,
            NextStep::Chat => self.setup.sites[site].chat(self.now, &mut self.rng),
        };
        live.probed(outcome, now);
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

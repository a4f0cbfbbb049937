//! The queue of events and what each does: the gateway's path of a request, without the wire.

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

use super::{Fate, Run, Setup};

/// As many times as the gateway does, a request looks for somebody to ask in vain.
const MOST_IDLE: u32 = 8;

/// A run under way.
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
    what: What,
}

enum What {
    /// A request's attempt is over.
    Ended(Request, Sent),
    /// A request has waited long enough.
    Wake(Request),
    /// A round of probes begins.
    Round(Settings),
    /// A probe has heard of a provider's list.
    Listed(ProbeTarget, ModelListResult),
}

/// One request on its way from attempt to attempt.
struct Request {
    arrived: Duration,
    attempt: Attempt,
    attempts: u32,
    repeats: u32,
    last: Class,
    idle: u32,
}

impl Request {
    /// The last failed attempt, as the policy sees it.
    fn failed<'a>(&self, facts: &'a RequestFacts) -> FailedAttempt<'a> {
        FailedAttempt::new(facts, self.last).with_attempts(self.attempts).with_repeats(self.repeats)
    }
}

/// An attempt that is under way.
struct Sent {
    site: usize,
    permit: Permit,
    trial: Option<Trial>,
    at: Duration,
    fate: Fate,
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
            // The gateway starts at no special moment of the world's.
            let phase = settings.interval.mul_f64(self.rng.random::<f64>());
            self.at(phase, What::Round(settings));
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
            match event.what {
                What::Ended(request, sent) => self.ended(request, sent),
                What::Wake(mut request) => {
                    request.attempt = request.attempt.with_repeats(true);
                    self.send(request);
                }
                What::Round(settings) => self.round(settings),
                What::Listed(target, listing) => self.listed(&target, listing),
            }
        }
        self.run
    }

    fn at(&mut self, at: Duration, what: What) {
        self.number += 1;
        self.queue.push(Reverse(Event { at, number: self.number, what }));
    }

    /// The time until the next request comes.
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

    /// Asks somebody, or comes back later, or gives up.
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
        // One request at a time looks, so that nobody takes a place from another.
        assert!(live.try_enter(chosen.backend.max_in_flight()), "there was a place");
        let trial = trial.then(|| live.try_trial(now).expect("the trial was free"));
        let permit = live.breaker().try_acquire(now).expect("the breaker had let it through");
        request.attempt.record_backend(chosen.backend.id().clone());
        let site = self.run.site(&model, chosen.backend);
        let fate = self.setup.sites[site].fate(self.now, &mut self.rng);
        self.run.sent(&model, site, self.now, now);
        let sent = Sent { site, permit, trial, at: self.now, fate };
        self.at(self.now + fate.takes, What::Ended(request, sent));
    }

    fn ended(&mut self, mut request: Request, sent: Sent) {
        let now = self.instant();
        let Sent { site, permit, trial, at, fate } = sent;
        let live = &self.model.backends()[site].state();
        permit.settle(fate.class, now);
        if !fate.class.is_error() {
            live.first_byte(self.now - at, now);
        }
        live.record(fate.class, now);
        if let Some(trial) = trial {
            live.end_trial(trial);
        }
        live.leave();
        if !fate.class.fails_over() {
            return self.run.served(site, self.setup.sites[site].price, self.now - request.arrived);
        }
        self.run.failed(site, self.now);
        request.idle = 0;
        request.attempts += 1;
        request.repeats += u32::from(request.attempt.is_repeat());
        request.last = fate.class;
        request.attempt = request.attempt.next(fate.class, fate.silent);
        let facts = RequestFacts::default();
        match self.setup.plan.decide(&request.failed(&facts).with_selection(false)) {
            Decision::RetryNow => self.send(request),
            Decision::RetryAfter(wait) => self.at(self.now + wait, What::Wake(request)),
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
            Decision::RetryAfter(wait) if request.idle <= MOST_IDLE && self.budget.withdraw(now) => {
                self.at(self.now + wait, What::Wake(request));
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
                self.at(self.now + later, What::Listed(target, listing));
            }
        }
        self.at(self.now + settings.interval, What::Round(settings));
    }

    fn listed(&mut self, target: &ProbeTarget, listing: ModelListResult) {
        let now = self.instant();
        let site = self.run.site(&self.model, &target.backend);
        let live = target.backend.state();
        if target.connectivity {
            live.connectivity(listing.is_connected(), now);
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

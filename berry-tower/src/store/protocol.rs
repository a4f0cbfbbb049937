//! The counters of a store as a pure state machine: `step(state, event, now)`.
//!
//! [`Memory`](super::Memory) keeps these states in the process. The scripts of the shared store
//! compute the same in the same integers, so that what is proven here holds there.
//!
//! Times are in microseconds since 1970, by the clock of the store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{Calendar, CounterUsage, Rule};

/// The units wanted of one counter.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) key: Arc<str>,
    pub(crate) rule: Rule,
    /// The least that is of use.
    pub(crate) need: u64,
    /// The most that is wanted; at least `need`.
    pub(crate) wish: u64,
}

/// The units taken of one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) units: u64,
    /// Where they stand: the end of these units among all that were ever taken, or the number of
    /// the calendar's window.
    pub(crate) position: u64,
    pub(crate) usage: CounterUsage,
}

/// Units that were taken, and how many of them were used.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) key: Arc<str>,
    pub(crate) rule: Rule,
    pub(crate) position: u64,
    pub(crate) taken: u64,
    pub(crate) used: u64,
}

/// What happens to a group of counters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// Units are wanted of each of these counters, or of none.
    Take(&'a [Want]),
    /// Units that were taken are settled.
    Settle(&'a [Used]),
}

/// What comes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Granted(Vec<Grant>),
    /// The first counter that has too few units, and when it has enough.
    Refused {
        index: usize,
        retry_after: Duration,
        usage: CounterUsage,
    },
    Settled,
}

/// The state of one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// All units that were ever taken, those of them that have refilled, and up to when.
    Rolling {
        taken: u64,
        refilled: u64,
        at: u64,
    },
    Calendar {
        number: u64,
        used: u64,
    },
    Concurrent {
        held: u64,
    },
}

/// The counters that one step may change together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group(HashMap<Arc<str>, (Rule, State)>);

/// Changes the counters of a group.
pub(crate) fn step(group: &mut Group, event: Event<'_>, now: u64) -> Effect {
    match event {
        Event::Take(wants) => take(group, wants, now),
        Event::Settle(all) => {
            for used in all {
                let state = group.state(&used.key, used.rule, now);
                let settled = settle(state, used);
                group.set(&used.key, used.rule, settled);
            }
            Effect::Settled
        }
    }
}

impl Group {
    /// Whether no counter holds anything that could be forgotten.
    pub(crate) fn is_idle(&self, now: u64) -> bool {
        self.0.values().all(|(rule, state)| match refill(*state, *rule, now) {
            State::Rolling { taken, refilled, .. } => taken == refilled,
            State::Calendar { used, .. } => used == 0,
            State::Concurrent { held } => held == 0,
        })
    }

    fn state(&self, key: &str, rule: Rule, now: u64) -> State {
        let new = || match rule {
            // Positions begin at the time, so that none of a counter that was forgotten comes again.
            Rule::Rolling { .. } => State::Rolling { taken: now, refilled: now, at: now },
            Rule::Calendar { window, .. } => State::Calendar { number: number(window, now), used: 0 },
            Rule::Concurrent { .. } => State::Concurrent { held: 0 },
        };
        let same = |rule: &Rule, other: &Rule| std::mem::discriminant(rule) == std::mem::discriminant(other);
        let known = self.0.get(key).filter(|(known, _)| same(known, &rule));
        refill(known.map_or_else(new, |(_, state)| *state), rule, now)
    }

    fn set(&mut self, key: &Arc<str>, rule: Rule, state: State) {
        match self.0.get_mut(key) {
            Some(known) => *known = (rule, state),
            None => _ = self.0.insert(key.clone(), (rule, state)),
        }
    }
}

fn take(group: &mut Group, wants: &[Want], now: u64) -> Effect {
    let mut grants = Vec::with_capacity(wants.len());
    let mut states = Vec::with_capacity(wants.len());
    for (index, want) in wants.iter().enumerate() {
        let state = group.state(&want.key, want.rule, now);
        let limit = want.rule.limit();
        let free = limit.saturating_sub(used(state));
        if want.need > free {
            let level = Level::of(state, now);
            let retry_after = level.wait(want.rule, want.need);
            return Effect::Refused { index, retry_after, usage: level.usage(want.rule) };
        }
        let units = want.wish.min(free);
        let (state, position) = add(state, units);
        grants.push(Grant { units, position, usage: Level::of(state, now).usage(want.rule) });
        states.push(state);
    }
    for (want, state) in wants.iter().zip(states) {
        group.set(&want.key, want.rule, state);
    }
    Effect::Granted(grants)
}

fn used(state: State) -> u64 {
    match state {
        State::Rolling { taken, refilled, .. } => taken - refilled,
        State::Calendar { used, .. } => used,
        State::Concurrent { held } => held,
    }
}

fn add(state: State, units: u64) -> (State, u64) {
    match state {
        State::Rolling { taken, refilled, at } => {
            let taken = taken.saturating_add(units);
            (State::Rolling { taken, refilled, at }, taken)
        }
        State::Calendar { number, used } => (State::Calendar { number, used: used.saturating_add(units) }, number),
        State::Concurrent { held } => (State::Concurrent { held: held.saturating_add(units) }, 0),
    }
}

/// Takes in the time that has passed.
fn refill(state: State, rule: Rule, now: u64) -> State {
    match (state, rule) {
        (State::Rolling { taken, refilled, at }, Rule::Rolling { period, limit }) => {
            let (period, used) = (micros(period), taken - refilled);
            // Since its last step this counter has refilled `limit` units in each period.
            let passed = u128::from(now.saturating_sub(at));
            let units = passed * u128::from(limit) / u128::from(period);
            if units >= u128::from(used) {
                return State::Rolling { taken, refilled: taken, at: at.max(now) };
            }
            // Rounded up, so that no part of a unit is refilled twice.
            let time = (units * u128::from(period)).div_ceil(u128::from(limit.max(1)));
            let (units, time) = (units as u64, time as u64);
            State::Rolling { taken, refilled: refilled + units, at: at + time }
        }
        (State::Calendar { number: old, .. }, Rule::Calendar { window, .. }) if number(window, now) > old => {
            State::Calendar { number: number(window, now), used: 0 }
        }
        _ => state,
    }
}

/// Replaces units that were taken by those that were used.
fn settle(state: State, settled: &Used) -> State {
    let Used { position, taken: reserved, used, .. } = *settled;
    let (back, more) = (reserved.saturating_sub(used), used.saturating_sub(reserved));
    match state {
        State::Rolling { taken, refilled, at } => {
            // Units that have refilled meanwhile are not given back again. While some of those up to
            // `position` have not, the counter was never full, and giving back is exact.
            let back = if position > taken { 0 } else { back.min(position.saturating_sub(refilled)) };
            State::Rolling { taken: taken.saturating_add(more), refilled: refilled + back, at }
        }
        State::Calendar { number, used } if number == position => {
            State::Calendar { number, used: used.saturating_sub(back).saturating_add(more) }
        }
        State::Concurrent { held } => State::Concurrent { held: held.saturating_sub(back).saturating_add(more) },
        State::Calendar { .. } => state,
    }
}

/// How full a counter is at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    pub(crate) used: u64,
    /// The time since the last whole unit has refilled, in microseconds.
    pub(crate) lag: u64,
    pub(crate) now: u64,
}

impl Level {
    fn of(state: State, now: u64) -> Self {
        let lag = if let State::Rolling { at, .. } = state { now.saturating_sub(at) } else { 0 };
        Self { used: used(state), lag, now }
    }

    /// Returns the time until `need` units are free.
    pub(crate) fn wait(&self, rule: Rule, need: u64) -> Duration {
        match rule {
            Rule::Rolling { .. } => self.refill_time(rule, self.used.saturating_add(need).saturating_sub(rule.limit())),
            Rule::Calendar { window, .. } => until_end(window, self.now),
            Rule::Concurrent { .. } => Duration::from_secs(1),
        }
    }

    pub(crate) fn usage(&self, rule: Rule) -> CounterUsage {
        let reset = match rule {
            Rule::Rolling { .. } => self.refill_time(rule, self.used),
            Rule::Calendar { window, .. } => until_end(window, self.now),
            Rule::Concurrent { .. } => Duration::ZERO,
        };
        CounterUsage::new(rule.limit(), rule.limit().saturating_sub(self.used), reset)
    }

    fn refill_time(&self, rule: Rule, units: u64) -> Duration {
        let Rule::Rolling { period, limit } = rule else { return Duration::ZERO };
        let time = (u128::from(units) * u128::from(micros(period))).div_ceil(u128::from(limit.max(1)));
        Duration::from_micros(u64::try_from(time.saturating_sub(u128::from(self.lag))).unwrap_or(u64::MAX))
    }
}

pub(crate) fn until_end(window: Calendar, now: u64) -> Duration {
    /// A total has no end; a client had better ask again in a day.
    const NEVER: Duration = Duration::from_secs(86_400);
    let end = window.end(now / 1_000_000);
    end.map_or(NEVER, |end| Duration::from_micros((end * 1_000_000).saturating_sub(now)))
}

fn number(window: Calendar, now: u64) -> u64 {
    window.number(now / 1_000_000)
}

/// A period in microseconds, at least 1.
pub(crate) fn micros(period: Duration) -> u64 {
    u64::try_from(period.as_micros()).unwrap_or(u64::MAX).max(1)
}

//! Health, and the stages in which a backend gets it back: a pure state machine.

/// How far a backend has come back since it was unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It failed, and has not succeeded since.
    Unhealthy,
    /// It has succeeded once or twice since.
    Returning,
    /// It has succeeded three or four times in a row since.
    Steadying,
    /// It was never unhealthy, or has succeeded five times in a row since.
    #[default]
    Healthy,
}

impl Stage {
    /// The share of its weight that the strategies which look at this give it.
    ///
    /// ```
    /// use berry_tower::backend::Stage;
    ///
    /// assert_eq!(Stage::Returning.factor(), 0.3);
    /// ```
    #[must_use]
    pub const fn factor(self) -> f64 {
        match self {
            Self::Unhealthy => 0.1,
            Self::Returning => 0.3,
            Self::Steadying => 0.5,
            Self::Healthy => 1.0,
        }
    }

    /// The name used in logs and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unhealthy => "unhealthy",
            Self::Returning => "recovering_30",
            Self::Steadying => "recovering_50",
            Self::Healthy => "healthy",
        }
    }
}

/// A change of a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthChange {
    /// The stage before.
    pub from: Stage,
    /// The stage after.
    pub to: Stage,
}

/// What a backend's health learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A user's request or a chat probe went well.
    Success,
    /// A user's request told against the backend.
    Failure,
    /// A probe found the models list, and there is no chat probe: the backend is back, but only
    /// requests bring it further.
    Alive,
    /// A probe told against the backend.
    ProbeFailed,
}

/// Health as one small value.
///
/// ```
/// use berry_tower::backend::{HealthEvent, Recovery, Stage};
///
/// let mut recovery = Recovery::default().step(HealthEvent::Failure, 1_000);
/// assert!(!recovery.due(120_999, 120_000) && recovery.due(121_000, 120_000));
/// recovery = recovery.step(HealthEvent::Success, 121_500);
/// assert_eq!(recovery.stage(), Stage::Returning);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Recovery {
    /// Successes in a row since it was unhealthy, no more than [`FULL`].
    successes: u8,
    /// Since when the trial interval runs, in milliseconds.
    since: u64,
}

const FULL: u8 = 5;

impl Default for Recovery {
    fn default() -> Self {
        Self { successes: FULL, since: 0 }
    }
}

impl Recovery {
    /// The state after `event` at `now`, in milliseconds.
    #[must_use]
    pub const fn step(self, event: Event, now: u64) -> Self {
        match event {
            Event::Success if self.successes < FULL => Self { successes: self.successes + 1, ..self },
            Event::Alive if self.successes == 0 => Self { successes: 1, ..self },
            Event::Success | Event::Alive => self,
            Event::Failure => Self { successes: 0, since: now },
            // A probe that goes on failing does not put off the trial: the list may be all that fails.
            Event::ProbeFailed if self.successes == 0 => self,
            Event::ProbeFailed => Self { successes: 0, since: now },
        }
    }

    /// How far it has come.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self.successes {
            0 => Stage::Unhealthy,
            1 | 2 => Stage::Returning,
            3 | 4 => Stage::Steadying,
            _ => Stage::Healthy,
        }
    }

    /// Whether it is unhealthy and `interval` milliseconds have passed since its last failure.
    #[must_use]
    pub const fn due(self, now: u64, interval: u64) -> bool {
        self.successes == 0 && now >= self.since.saturating_add(interval)
    }

    pub(crate) const fn pack(self) -> u64 {
        self.since << 3 | self.successes as u64
    }

    pub(crate) const fn unpack(word: u64) -> Self {
        Self { successes: (word & 7) as u8, since: word >> 3 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_in_stages_and_falls_at_once() {
        let mut recovery = Recovery::default().step(Event::Failure, 7);
        let mut stages = vec![recovery.stage().factor()];
        for _ in 0..6 {
            recovery = recovery.step(Event::Success, 8);
            stages.push(recovery.stage().factor());
        }
        assert_eq!(stages, [0.1, 0.3, 0.3, 0.5, 0.5, 1.0, 1.0]);
        assert_eq!(recovery.step(Event::Failure, 9).stage(), Stage::Unhealthy);
    }

    #[test]
    fn a_list_brings_it_back_but_no_further() {
        let down = Recovery::default().step(Event::ProbeFailed, 7);
        let back = down.step(Event::Alive, 8).step(Event::Alive, 9).step(Event::Alive, 10);
        assert_eq!(back.stage(), Stage::Returning);
        assert_eq!(back, down.step(Event::Alive, 8));
    }

    #[test]
    fn probes_that_fail_do_not_put_off_the_trial() {
        let down = Recovery::default().step(Event::Failure, 0);
        assert!(down.step(Event::ProbeFailed, 90).due(100, 100));
        assert!(!down.step(Event::Failure, 90).due(100, 100));
        assert_eq!(Recovery::unpack(down.pack()), down);
    }
}

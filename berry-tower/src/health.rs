//! Health of a backend and the stages of its recovery: a pure state machine.

/// The stage of a backend's recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The backend failed and has not succeeded since: unhealthy.
    Unhealthy,
    /// One or two successes in a row since then.
    Returning,
    /// Three or four successes in a row since then.
    Steadying,
    /// Never unhealthy, or five successes in a row since then.
    #[default]
    Healthy,
}

impl Stage {
    /// Returns the share of its weight that strategies which weigh health give it.
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

    /// Returns the name used in logs and responses.
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

/// An event that changes the health of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A user's request or a chat probe succeeded.
    Success,
    /// A user's request failed by a fault of the backend.
    Failure,
    /// A probe found the list of models, and no chat probe follows. It ends the unhealthy stage; only
    /// requests lead to the later stages.
    Alive,
    /// A probe failed by a fault of the backend.
    ProbeFailed,
}

/// The health of a backend in one small value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Recovery {
    /// Successes in a row since it was unhealthy, at most [`FULL`].
    successes: u8,
    /// The start of the trial interval, in milliseconds.
    since: u64,
}

const FULL: u8 = 5;

impl Default for Recovery {
    fn default() -> Self {
        Self { successes: FULL, since: 0 }
    }
}

impl Recovery {
    /// Returns the state after `event` at `now`, in milliseconds.
    pub(crate) const fn step(self, event: Event, now: u64) -> Self {
        match event {
            Event::Success if self.successes < FULL => Self { successes: self.successes + 1, ..self },
            Event::Alive if self.successes == 0 => Self { successes: 1, ..self },
            Event::Success | Event::Alive => self,
            Event::Failure => Self { successes: 0, since: now },
            // Further failed probes do not postpone the trial: perhaps only the list of models fails.
            Event::ProbeFailed if self.successes == 0 => self,
            Event::ProbeFailed => Self { successes: 0, since: now },
        }
    }

    /// Returns the stage of recovery.
    pub(crate) const fn stage(self) -> Stage {
        match self.successes {
            0 => Stage::Unhealthy,
            1 | 2 => Stage::Returning,
            3 | 4 => Stage::Steadying,
            _ => Stage::Healthy,
        }
    }

    /// Whether it is unhealthy and `interval` milliseconds have passed since its last failure.
    pub(crate) const fn due(self, now: u64, interval: u64) -> bool {
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

//! Whether and when a failed request is tried again.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::classify::Class;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try a backend that was not tried yet, at once.
    Now,
    /// Wait so long, then allow those that were tried.
    After(Duration),
    /// Go on with the model's next fallback.
    Fallback,
    /// Give up: the answer, or the error, goes to the client.
    Stop,
}

/// What a request has spent of its chances, on the model or the fallback that it is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Attempts that were made.
    pub attempts: u32,
    /// Of those, on backends that the request had tried before.
    pub on_tried: u32,
}

/// Decides whether and when; who is asked is Select's to say.
///
/// A closure will not do here, since there are two questions.
pub trait RetryPolicy {
    /// After an attempt ended with this class.
    fn after(&self, class: Class, spent: Spent) -> Next;

    /// When only backends are left that this request has tried: the soonest of them may be asked
    /// again after `soonest`, and the request has `left` before its deadline.
    fn again(&self, soonest: Duration, spent: Spent, left: Option<Duration>, rng: &mut dyn Rng) -> Next;
}

/// The standard plan: fail over at once, come back with full jitter, never wait long.
///
/// The jitter is the "full jitter" of the AWS Architecture Blog's *Exponential Backoff and Jitter*
/// (2015): uniform between nothing and the exponential step.
///
/// ```
/// use berry_tower::{classify::Class, retry::{Next, BackoffPolicy, RetryPolicy, Spent}};
///
/// let plan = BackoffPolicy { max_retries: 1, ..BackoffPolicy::default() };
/// assert_eq!(plan.after(Class::Server, Spent { attempts: 1, on_tried: 0 }), Next::Now);
/// assert_eq!(plan.after(Class::Server, Spent { attempts: 2, on_tried: 0 }), Next::Fallback);
/// assert_eq!(plan.after(Class::ClientError, Spent { attempts: 1, on_tried: 0 }), Next::Stop);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// Most attempts after the first, on one model.
    pub max_retries: u32,
    /// Of those, most on backends that the request has tried before.
    pub max_same_backend_retries: u32,
    /// The first step of the back-off; each further one doubles it.
    pub backoff: Duration,
    /// The longest step.
    pub max_backoff: Duration,
    /// A longer wait than this is not waited.
    pub max_wait: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            max_retries: 3,
            max_same_backend_retries: 2,
            backoff: Duration::from_millis(250),
            max_backoff: Duration::from_secs(4),
            max_wait: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy for BackoffPolicy {
    fn after(&self, class: Class, spent: Spent) -> Next {
        match class {
            Class::TooLong => Next::Fallback,
            class if !class.fails_over() => Next::Stop,
            _ if spent.attempts > self.max_retries => Next::Fallback,
            _ => Next::Now,
        }
    }

    fn again(&self, soonest: Duration, spent: Spent, left: Option<Duration>, rng: &mut dyn Rng) -> Next {
        if spent.on_tried >= self.max_same_backend_retries || spent.attempts > self.max_retries {
            return Next::Fallback;
        }
        let step = self.backoff.saturating_mul(1 << spent.on_tried.min(16)).min(self.max_backoff);
        let wait = if soonest.is_zero() { step.mul_f64(rng.random::<f64>()) } else { soonest };
        if wait > self.max_wait || left.is_some_and(|left| wait >= left) {
            return Next::Fallback;
        }
        Next::After(wait)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::ThreadRng;

    use super::*;

    fn again(soonest: u64, on_tried: u32, left: Option<u64>) -> Next {
        let left = left.map(Duration::from_secs);
        let spent = Spent { attempts: 1 + on_tried, on_tried };
        BackoffPolicy::default().again(Duration::from_secs(soonest), spent, left, &mut ThreadRng::default())
    }

    #[test]
    fn a_long_wait_is_not_waited() {
        assert_eq!(again(2, 0, None), Next::After(Duration::from_secs(2)));
        assert_eq!(again(11, 0, None), Next::Fallback);
        assert_eq!(again(3, 0, Some(2)), Next::Fallback);
        assert_eq!(again(2, 2, None), Next::Fallback, "both chances on tried ones are spent");
    }

    #[test]
    fn the_back_off_has_full_jitter_below_its_step() {
        let mut longest = Duration::ZERO;
        for _ in 0..1000 {
            let Next::After(wait) = again(0, 1, None) else { panic!("a back-off is waited") };
            assert!(wait <= Duration::from_millis(500));
            longest = longest.max(wait);
        }
        assert!(longest > Duration::from_millis(400), "{longest:?}");
    }
}

//! What an attempt comes to, and what follows it.

use std::time::Duration;

use http::Response;

use crate::{classify::Class, error::BoxError, retry::deadline::Expired};

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The attempt is made as it is.
    Call,
    /// The same attempt is made again, since another request took the trial.
    CallAgain,
    /// A backend that was not tried gets the next attempt.
    Fresh,
    /// Any backend gets the next attempt after a wait; it is paid for.
    Repeat(Duration),
    /// The request moves to the next fallback.
    Fallback(&'static str),
    /// No further attempt is made.
    Stop(&'static str),
}

/// What an attempt came to.
pub(super) enum Outcome<B> {
    /// The result is passed on.
    Done(Result<Response<B>, BoxError>),
    /// The attempt was answered with a failure.
    FailedResponse(Class, Response<B>),
    /// The attempt failed without a response; `silent` as in [`RetryEligibility::after`].
    ///
    /// [`RetryEligibility::after`]: crate::attempt::RetryEligibility::after
    Failed { class: Class, silent: bool, error: BoxError },
    /// No backend was called: only tried ones are left, the soonest of which may be asked then.
    NoFreshBackend(Duration),
    /// No backend was called: this model or fallback has none left.
    NoCandidates(BoxError, &'static str),
    /// No backend was called: the model has no further fallback.
    NoMoreFallbacks(BoxError),
    /// No backend was called: another request took the trial.
    TrialTaken(BoxError),
    /// The total timeout has passed, or there is no timer for it.
    Expired(Expired),
}

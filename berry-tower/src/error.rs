//! The typed errors of the layers and of the client.

mod exhausted;
mod failure;
mod sources;

use std::{
    error::Error,
    fmt::{self, Display},
    time::Duration,
};

pub use exhausted::Exhausted;
pub use failure::{Deadline, Failure, LostTogether};
pub use sources::{BoxError, chain, find};

/// Whether a limit of tokens or cost refused an attempt before a backend was called.
#[cfg_attr(not(feature = "retry"), allow(dead_code, reason = "used by Retry and Select"))]
pub(crate) fn is_over_limit(error: &(dyn Error + 'static)) -> bool {
    #[cfg(feature = "spend")]
    return find::<crate::spend::SpendExceeded>(error).is_some();
    #[cfg(not(feature = "spend"))]
    {
        let _ = error;
        false
    }
}

/// Returned when no backend could be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// No enabled model has this name.
    UnknownModel,
    /// The tags of the user leave no backend.
    NoBackendForUser,
    /// No backend of the model serves this endpoint.
    UnsupportedEndpoint,
    /// No backend of the model can express this part of the request.
    UnsupportedParameter {
        /// The field of the body.
        param: String,
        /// The reason, in words.
        why: String,
    },
    /// The request continues what no backend of the model has stored.
    NotStored {
        /// The field of the body.
        param: String,
        /// The reason, in words.
        why: String,
    },
    /// Every backend has an open circuit breaker, is cooling down or is full.
    NoneAvailable {
        /// The wait until the first of them may be called again.
        retry_after: Duration,
    },
    /// Only backends that this request has tried already are left.
    OnlyTriedLeft {
        /// Until the soonest of them may be asked again; zero when only a back-off is due.
        soonest: Duration,
    },
    /// The gateway has no memory left to translate the request.
    Overloaded,
    /// The caller may not use this fallback, which its own request has led to.
    FallbackNotPermitted,
    /// No backend is left for this request.
    NoCandidates {
        /// Whether the model has a further fallback.
        has_fallback: bool,
    },
}

impl Display for Unroutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownModel => f.write_str("the model does not exist"),
            Self::NoBackendForUser => f.write_str("no backend of this model is open to your user"),
            Self::UnsupportedEndpoint => f.write_str("no backend of this model serves this endpoint"),
            Self::UnsupportedParameter { param, why } | Self::NotStored { param, why } => {
                write!(f, "{param}: {why}")
            }
            Self::Overloaded => f.write_str("this server holds as many bytes as its memory allows; try again shortly"),
            Self::FallbackNotPermitted => f.write_str("the API key may not use a fallback of this model"),
            Self::NoneAvailable { .. } | Self::OnlyTriedLeft { .. } | Self::NoCandidates { .. } => {
                f.write_str("every backend of this model is out of service at the moment; try again later")
            }
        }
    }
}

impl Error for Unroutable {}

#[cfg(feature = "dialect")]
impl From<crate::dialect::UnsupportedField> for Unroutable {
    fn from(field: crate::dialect::UnsupportedField) -> Self {
        let crate::dialect::UnsupportedField { param, reason: why, code } = field;
        match code {
            Some(_) => Self::NotStored { param, why },
            None => Self::UnsupportedParameter { param, why },
        }
    }
}

/// Returned when the circuit breaker is open; the inner service was not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOpen {
    /// The wait until a trial may be let through.
    pub retry_after: Duration,
}

impl Display for BreakerOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the circuit breaker is open")
    }
}

impl Error for BreakerOpen {}

/// Returned when an extension is missing that another layer inserts into requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingLayer(pub &'static str);

impl Display for MissingLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing from the stack, or stands in the wrong place", self.0)
    }
}

impl Error for MissingLayer {}

/// Reported to a guard when the inner service, or the body of its response, panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

impl Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the inner service panicked")
    }
}

impl Error for Panicked {}

/// Returned when the deadline over all attempts has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TotalTimeout;

impl Display for TotalTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no response within the total time for all attempts")
    }
}

impl Error for TotalTimeout {}

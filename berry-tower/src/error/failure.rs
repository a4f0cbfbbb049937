//! How an attempt failed.

use std::{
    error::Error,
    fmt::{self, Display},
};

use super::sources::{BoxError, find};
use crate::classify::{Class, ErrorBody, class_of_error};

/// The deadline that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// For the connection to be made.
    Connect,
    /// For the head of the response.
    Head,
    /// For the first byte of the body, after the head.
    FirstByte,
    /// For the first event of a stream that carries output.
    FirstToken,
    /// For the next frame of the body.
    Idle,
}

impl Deadline {
    /// Whether it passes before the upstream has sent a byte.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::Connect | Self::Head | Self::FirstByte)
    }
}

/// Returned when an attempt on an upstream fails without an error response.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// A deadline passed.
    Timeout(Deadline),
    /// No connection: DNS, TCP or TLS.
    Connect(BoxError),
    /// The connection broke, before the head of the response or after it.
    ConnectionLost(BoxError),
    /// A 2xx without a usable body; the text names the fault.
    InvalidResponse(&'static str),
    /// The stream carried an error event.
    ErrorEvent(Box<ErrorBody>),
    /// The stream ended before its format says that it is complete.
    Interrupted,
    /// A resource of this machine was exhausted before the upstream was asked.
    LocalResource(BoxError),
    /// The transport failed for another reason, which its own error names.
    Transport(BoxError),
}

impl Failure {
    /// The verdict on it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Timeout(_) => Class::Timeout,
            Self::Connect(_) | Self::ConnectionLost(_) | Self::Interrupted => Class::Network,
            // One bad request must not put every backend out of service.
            Self::ErrorEvent(error) if error.is_too_long() => Class::TooLong,
            Self::ErrorEvent(error) if error.is_content_policy() => Class::ClientError,
            Self::ErrorEvent(error) => error.class.unwrap_or(Class::Server),
            Self::InvalidResponse(_) => Class::Server,
            Self::LocalResource(_) => Class::LocalResource,
            Self::Transport(error) => class_of_error(&**error),
        }
    }

    /// Converts a transport's error: a `Failure` is returned as it is, a connection error becomes
    /// [`ConnectionLost`](Self::ConnectionLost), and any other error keeps its own message.
    #[must_use]
    pub fn from_transport(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => *failure,
            Err(other) => match class_of_error(&*other) {
                Class::Network => Self::ConnectionLost(other),
                Class::LocalResource => Self::LocalResource(other),
                _ => Self::Transport(other),
            },
        }
    }

    /// Whether there was no connection, which no request can bring about.
    #[must_use]
    pub const fn is_connect(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Timeout(Deadline::Connect))
    }

    /// The failure in an error or in one of its sources.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        find(error)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(Deadline::Connect) => f.write_str("the connection was not made in time"),
            Self::Timeout(Deadline::Head | Deadline::FirstByte) => f.write_str("the provider did not answer in time"),
            Self::Timeout(Deadline::FirstToken) => f.write_str("the provider's first token did not come in time"),
            Self::Timeout(Deadline::Idle) => f.write_str("the provider fell silent in the middle of its answer"),
            Self::Connect(_) => f.write_str("the provider could not be reached"),
            Self::ConnectionLost(_) => f.write_str("the connection to the provider broke"),
            Self::InvalidResponse(why) => write!(f, "the provider answered with {why}"),
            Self::ErrorEvent(body) => match &body.message {
                Some(message) => write!(f, "the provider's stream reported an error: {message}"),
                None => f.write_str("the provider's stream reported an error"),
            },
            Self::Interrupted => f.write_str("the provider's stream ended before the answer was whole"),
            Self::LocalResource(_) => f.write_str("a resource of this machine is exhausted"),
            Self::Transport(e) => Display::fmt(e, f),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // The chain repeats the text of a transport's error, so that its type can be found.
            Self::Connect(e) | Self::ConnectionLost(e) | Self::LocalResource(e) | Self::Transport(e) => Some(&**e),
            _ => None,
        }
    }
}

/// Marks the failure of a request that was lost with a connection which several requests shared.
///
/// A transport wraps the errors of all requests but the first of a lost connection in it, if the
/// upstream had answered on that connection before. Circuit breakers and health do not count them, so
/// that one broken connection does not look like as many failures as it carried requests.
#[derive(Debug)]
pub struct LostTogether(BoxError);

impl LostTogether {
    /// Wraps the error of the connection.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}

impl Display for LostTogether {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl Error for LostTogether {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

//! How a request ended, for the access log and the dashboard.

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    /// The response was successful and was sent to its end.
    Complete,
    /// The response began and its body failed.
    Interrupted,
    /// The client left before the end of the response.
    Cancelled,
    /// The response was an error that the client can cure: any status but 2xx and 5xx.
    Refused,
    /// The response was a 5xx.
    Failed,
}

impl RequestOutcome {
    /// Returns the name that log lines use.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

//! The record of a request that has ended: what it used and cost.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode};
use tokio::time::Instant;

use super::{Account, Money};
use crate::{attempt::BackendId, endpoint::Endpoint, progress::Usage};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SpendOutcome {
    /// The response was complete.
    Complete,
    /// The response broke off after its beginning.
    Interrupted,
    /// The client left before the end.
    Cancelled,
    /// A limit refused the request.
    Refused,
    /// The request failed.
    Failed,
}

impl SpendOutcome {
    /// Returns the name in logs and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// What a finished request has used and cost.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SpendRecord<'a> {
    /// The account that it was counted for.
    pub account: Option<&'a Account>,
    /// The value that the layer's `context` function returned for the request.
    pub context: Option<&'a Arc<dyn Any + Send + Sync>>,
    /// The request's `x-request-id`.
    pub request_id: Option<&'a HeaderValue>,
    /// The model that the request names.
    pub model: &'a Arc<str>,
    /// The endpoint.
    pub endpoint: Option<Endpoint>,
    /// Whether a stream was asked for.
    pub is_stream: bool,
    /// The public name of the model that answered: the one asked for, or a fallback.
    pub served_model: Option<&'a Arc<str>>,
    /// The backend that answered.
    pub backend: Option<&'a BackendId>,
    /// The tokens that the caller is billed for; `None` if no provider reported any.
    pub usage: Option<Usage>,
    /// What the caller is billed; `None` if there is no price.
    pub cost: Option<Money>,
    /// The tokens of failed attempts, whose output the caller did not get.
    pub wasted_usage: Usage,
    /// What these cost, as far as there are prices.
    pub wasted: Money,
    /// The number of attempts.
    pub attempts: u32,
    /// The status of the response; `None` if there was none.
    pub status: Option<StatusCode>,
    /// How the request ended.
    pub outcome: SpendOutcome,
    /// When the request arrived at the layer.
    pub started: Instant,
    /// The time from then to the end of the response.
    pub elapsed: Duration,
    /// The time from then to the first output of a stream.
    pub first_token_after: Option<Duration>,
}

/// Receives a record of each request that has ended, for a ledger or metrics.
///
/// It is called on the path of requests: it must neither block nor take long.
pub trait SpendObserver: fmt::Debug + Send + Sync {
    /// A request has ended and is settled.
    fn settled(&self, record: &SpendRecord<'_>);
}

impl SpendObserver for Vec<Arc<dyn SpendObserver>> {
    fn settled(&self, record: &SpendRecord<'_>) {
        self.iter().for_each(|observer| observer.settled(record));
    }
}

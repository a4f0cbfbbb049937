//! What all requests of a [`Spend`](super::Spend) share.

use std::{any::Any, fmt, sync::Arc, time::SystemTime};

use http::{Extensions, Request};
use tokio::time::Instant;

use super::{Account, Cost, Estimate, Money, SpendObserver, estimate::UsualOutputs};
use crate::{
    body::Buffered,
    store::{Receipt, Store},
};

type FindAccount = dyn Fn(&Extensions) -> Option<Account> + Send + Sync;
type FindName = dyn Fn(&str) -> Option<Arc<str>> + Send + Sync;
type ReportOvershoot = dyn Fn(u64) + Send + Sync;
type FindContext = dyn Fn(&Request<Buffered>) -> Option<Arc<dyn Any + Send + Sync>> + Send + Sync;

/// The output that is assumed of a response which the caller has not limited, in tokens.
const ASSUMED_OUTPUT: u64 = 4_096;

#[derive(Clone)]
pub(super) struct Spender {
    pub(super) store: Arc<dyn Store>,
    pub(super) account: Arc<FindAccount>,
    pub(super) cost: Arc<dyn Cost>,
    pub(super) tokens_by: Estimate,
    pub(super) cost_by: Estimate,
    pub(super) assumed_output: u64,
    pub(super) cap_output: bool,
    pub(super) observer: Option<Arc<dyn SpendObserver>>,
    pub(super) overshoot: Option<Arc<ReportOvershoot>>,
    pub(super) context: Option<Arc<FindContext>>,
    pub(super) names: Option<Arc<FindName>>,
    pub(super) usual: Arc<UsualOutputs>,
    started: (Instant, u64),
}

impl Spender {
    pub(super) fn new(store: Arc<dyn Store>, account: Arc<FindAccount>) -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            store,
            account,
            cost: Arc::new(|_: &super::Used<'_>| None::<Money>),
            tokens_by: Estimate::Likely,
            cost_by: Estimate::Bound,
            assumed_output: ASSUMED_OUTPUT,
            cap_output: false,
            observer: None,
            overshoot: None,
            context: None,
            names: None,
            usual: Arc::default(),
            started: (Instant::now(), epoch.as_secs()),
        }
    }

    /// Returns the time in seconds since 1970.
    pub(super) fn unix_seconds(&self) -> u64 {
        self.started.1.saturating_add(self.started.0.elapsed().as_secs())
    }

    /// Settles without waiting for the store.
    pub(super) fn settle(&self, receipt: Receipt, used: Vec<u64>) {
        let mut settling = self.store.settle(receipt, used);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        if settling.as_mut().poll(&mut cx).is_pending()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            drop(runtime.spawn(settling));
        }
    }
}

impl fmt::Debug for Spender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spender").field("store", &self.store).finish_non_exhaustive()
    }
}

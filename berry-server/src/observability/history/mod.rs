//! The recent past, for the dashboard: the last quarter of an hour as numbers, and the last failures and changes of state.
//! Its memory is fixed. It outlives configurations and ends with the process.

mod epoch_counter;
mod events;
mod histogram;
mod observer;
mod series;
mod store;

pub(crate) use self::{
    epoch_counter::EpochCounter,
    events::{Event, EventKind},
    observer::HistoryObserver,
    series::{FinishedRequest, Point, STEP},
    store::History,
};

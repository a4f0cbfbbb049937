//! The strategy simulator: the gateway's own rules over a pool that fails, in virtual time.
//!
//! No network and no clock: a run is a queue of events, the time is a number, and all chance comes
//! from one seed. Whom a request may ask, whom the strategy picks, what the breaker, the health,
//! the confidence, the retry plan and its budget make of an outcome, and what is probed when, all
//! that is berry-tower's own code. Only the providers are made up.
//!
//! ```
//! use berry_tests::sim::{Setup, pools};
//! use std::time::Duration;
//!
//! let length = Duration::from_secs(60);
//! let run = Setup::new("round_robin", pools::equals(2), length).run();
//! assert!(run.requests > 300);
//! assert_eq!(run.failures, 0);
//! ```

mod engine;
pub mod pools;
mod report;
mod setup;
mod site;

pub use report::{Histogram, Run, Table};
pub use setup::Setup;
pub use site::{Down, Fate, Kind, Site, Trouble};

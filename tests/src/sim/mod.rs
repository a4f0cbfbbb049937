//! The strategy simulator: the gateway's own logic over a simulated pool, in virtual time.
//!
//! A run uses neither network nor clock: it is a queue of events, the time is a number, and all
//! randomness comes from one seed. The code of berry-tower decides which backends are candidates,
//! which one the strategy picks, how an outcome changes the breaker, the health and the confidence,
//! whether the retry policy and its budget allow another attempt, and when a backend is probed.
//! Only the providers are simulated.
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
pub use site::{AttemptOutcome, Down, Kind, Site, Trouble};

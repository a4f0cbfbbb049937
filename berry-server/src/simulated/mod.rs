//! Simulated providers: servers in this process that speak providers' wire formats, with faults
//! on demand.
//!
//! They are what the demo runs and what the end-to-end tests use. A [`Provider`] listens on
//! 127.0.0.1 until it is dropped. It answers the same question with the same words, and does what
//! goes wrong in the field when it is told to: by a script ([`Provider::script`]) or by tokens in
//! the model's name (`sim-cut40`, see [`Behavior::from_tokens`]). It records each request and how
//! it ended.
//!
//! ```
//! use berry_server::simulated::{Config, Fault, Provider};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let provider = Provider::start(Config::named("primary")).await?;
//! provider.script([Fault::Status(429).retry_after(2).once(), Fault::CutAfter(40).into()]);
//!
//! assert!(provider.base_url().starts_with("http://127.0.0.1:"));
//! assert_eq!(provider.counts().requests, 0);
//! # Ok(())
//! # }
//! ```
//!
#![doc = include_str!("names.md")]

mod azure;
mod base64;
mod body;
mod cache;
mod check;
mod claude;
mod config;
mod connection;
mod demo;
mod dialect;
mod fault;
mod gemini;
mod layout;
mod name;
mod openai;
mod provider;
mod record;
mod refusal;
mod reply;
mod schema;
mod script;
mod serve;
mod shared;
mod words;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use demo::{DemoProvider, demo_providers};
pub use dialect::Dialect;
pub use fault::{AFTER_FINISH, Behavior, Fault, Scope};
pub use provider::Provider;
pub use record::{Counts, End, Ended, Keep, Seen};
pub use refusal::Refusal;

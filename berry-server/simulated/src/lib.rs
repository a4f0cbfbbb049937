//! Simulated model providers: HTTP servers on 127.0.0.1 that speak the wire formats of OpenAI,
//! Azure OpenAI, Anthropic and Gemini, with faults on demand.
//!
//! A [`Provider`] listens until it is dropped. It gives the same answer to the same request, and fails
//! as a script ([`Provider::script`]) or tokens in the model's name (`sim-cut40`, see
//! [`Behavior::from_tokens`]) ask for. It records each request and how it ended.
//!
//! ```
//! use berry_simulated::{Config, Fault, Provider};
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
#![doc = include_str!("model_tokens.md")]

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
mod form;
mod gemini;
mod layout;
mod link;
mod model_request;
mod name;
mod openai;
mod piece;
mod provider;
mod quirks;
mod record;
mod refusal;
mod reply;
mod schema;
mod script;
mod serve;
mod shape;
mod shared;
mod stored;
mod valid_response;
mod wire;
mod wires;
mod words;

pub use config::{Config, TaskCall};
pub use demo::{DemoProvider, demo_providers};
pub use dialect::Dialect;
pub use fault::{AFTER_FINISH, Behavior, Fault, Scope};
pub use provider::Provider;
pub use record::{Counts, End, Ended, RecordedRequest, Retention};
pub use refusal::Refusal;

#[cfg(test)]
mod tests;

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

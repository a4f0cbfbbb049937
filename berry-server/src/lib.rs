//! An AI gateway: OpenAI's and Anthropic's APIs in front of many providers, with authentication, limits, load balancing
//! and failover. The layers are those of [`berry_tower`]; this crate configures and serves them.
//!
//! ```
//! use berry_server::{Options, Server, config};
//!
//! # #[tokio::main] async fn main() {
//! let file = r#"
//!     [users.me]
//!     token = "a-token-of-at-least-16"
//!     [providers.local]
//!     base_url = "http://127.0.0.1:9/v1"
//!     api_key = ""
//!     models = ["llama"]
//!     [models.llama]
//!     name = "llama"
//!     [[models.llama.backends]]
//!     provider = "local"
//!     model = "llama"
//! "#;
//! let loaded = config::parse(file, &|_| None).unwrap();
//! let server = Server::start(loaded, Options::loopback()).await.unwrap();
//! assert!(server.addr().ip().is_loopback());
//! server.shutdown().await;
//! # }
//! ```

mod app;
mod authentication;
pub mod cli;
pub mod config;
#[cfg(feature = "database")]
mod database;
pub mod demo;
mod fleet;
mod http;
mod key_refresh;
#[cfg(feature = "database")]
mod keys;
#[cfg(feature = "database")]
mod ledger;
mod memory;
pub mod observability;
mod probes;
mod reload;
#[cfg(feature = "database")]
mod responses;
mod server;
mod spend;
mod state;
mod store;

pub use reload::{Changed, Changes};
pub use server::{Options, Server};

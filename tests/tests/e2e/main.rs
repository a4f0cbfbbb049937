//! The whole gateway over simulated providers, tested through its HTTP interface.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod abandon;
mod account_ids;
mod breaker;
mod bytes;
mod connections;
mod count_tokens;
mod dead_backends;
mod drain;
mod errors;
mod fallbacks;
mod field_names;
mod forms;
mod headers;
mod ledger;
mod limits;
mod many_streams;
mod messages;
mod models;
mod openai_client;
mod presets;
mod reasoning;
mod responses;
mod spend;
mod stored_responses;
mod verdicts;

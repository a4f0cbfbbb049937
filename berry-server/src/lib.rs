//! An AI gateway: OpenAI's API in front of many providers.

pub mod config;
pub mod simulated;

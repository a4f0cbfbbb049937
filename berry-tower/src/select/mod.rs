//! Which backend a request goes to.

pub mod strategy;

//! The status endpoints end to end: shapes, numbers and access.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as a test may")]

mod access;
mod dashboard;
mod explain;
mod gateway;
mod numbers;
mod shape;
mod shapes;
mod weights;

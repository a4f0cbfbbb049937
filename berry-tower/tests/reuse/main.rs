//! Each layer alone, in an Axum application and over plain Hyper that hold no other part of Berry.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as a test may")]

mod edge;
mod edited;
mod ends;
mod inner;
mod support;
mod translated;

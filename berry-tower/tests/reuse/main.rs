//! Each layer alone, in an Axum application and over plain Hyper that hold no other part of Berry.

mod edge;
mod support;

//! The layers in applications that contain no other part of Berry, in axum and over plain hyper.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as a test may")]

mod among_others;
mod apps;
mod bodies;
mod edge;
mod edited;
mod ends;
mod grpc_codec;
mod inner;
mod support;
mod translated;

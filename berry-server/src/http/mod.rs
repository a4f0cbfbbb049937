//! The HTTP side of the server: listener, connections, access log and routes.

pub(crate) mod access_log;
mod body_log;
pub(crate) mod connection;
pub(crate) mod error_shape;
pub(crate) mod listener;
mod malformed;
mod mask;
pub(crate) mod routes;

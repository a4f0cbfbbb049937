//! The whole gateway over simulated providers, through its own door.

mod dead_backends;

//! What must hold of a backend's state, the circuit breaker and the eight strategies, over random
//! pools, histories and seeds.
#![cfg(feature = "select")]

mod pools;
mod smart_ai;
mod state;
mod strategies;

//! Properties of backend state, circuit breaker and strategies over random pools, histories and seeds.
#![cfg(feature = "select")]

mod pools;
mod smart_ai;
mod state;
mod strategies;

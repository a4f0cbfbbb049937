//! The overhead of each layer and of the whole stack, without a network.
//!
//! Run with `cargo bench -p berry-tower --features full --bench layers`. Compare figures only between
//! commits on the same machine.

mod alone;
mod dialects;
mod pieces;
mod stack;
mod support;

use criterion::{criterion_group, criterion_main};

criterion_group!(layers, alone::layers, alone::inspect, stack::whole);
criterion_group!(pure, pieces::stream_filter, pieces::strategies, pieces::limiter);
criterion_group!(
    translation,
    dialects::translated_streams,
    dialects::translated_responses,
    dialects::translated_requests
);
criterion_main!(layers, pure, translation);

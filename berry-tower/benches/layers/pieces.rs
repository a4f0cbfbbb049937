//! The stream filter, the strategies and the rate limiter without their layers.

use std::{hint::black_box, sync::Arc};

use berry_tower::{
    backend::{
        SmartAi, View,
        strategy::{Candidate, NAMES, by_name},
    },
    rate_limit::{Limits, PerKey},
    sse::{Grammar, StreamFilter},
};
use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use http::{Request, request::Parts};

use crate::support::{backend, runtime};

/// The number of events that [`events`] returns.
pub(crate) const EVENTS: usize = 52;

/// Returns the events of a chat stream: fifty deltas, the finish reason and the end marker.
pub(crate) fn events() -> Vec<Bytes> {
    let chunk = |delta: &str, finish: &str| {
        Bytes::from(format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
             \"model\":\"gpt-4o-mini\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        ))
    };
    let mut events: Vec<_> = (0..EVENTS - 2).map(|i| chunk(&format!("{{\"content\":\" word{i}\"}}"), "null")).collect();
    events.push(chunk("{}", "\"stop\""));
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

/// Measures the filtering of a stream with one event per frame, and with frames of 16 KiB.
pub(crate) fn stream_filter(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream_filter");
    let events = events();
    let run = |frames: Vec<Bytes>| {
        let mut filter = StreamFilter::new(Grammar::Chat, false);
        for frame in frames {
            filter.push(frame, &mut |bytes| drop(black_box(bytes))).expect("a valid stream");
        }
    };
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("event_by_event", |b| b.iter_batched(|| events.clone(), run, BatchSize::SmallInput));

    let mut long: Vec<Bytes> = (0..4_000).flat_map(|_| &events[..1]).cloned().collect();
    long.extend_from_slice(&events[EVENTS - 2..]);
    let whole = Bytes::from(long.concat());
    let frames: Vec<_> = whole.chunks(16 << 10).map(Bytes::copy_from_slice).collect();
    group.throughput(Throughput::Bytes(whole.len() as u64));
    group.bench_function("big_frames", |b| b.iter_batched(|| frames.clone(), run, BatchSize::SmallInput));
    group.finish();
}

/// Measures one pick among healthy backends.
pub(crate) fn strategies(c: &mut Criterion) {
    let mut group = c.benchmark_group("strategy");
    for n in [2, 10, 100] {
        let backends: Vec<_> = (0..n).map(|i| Arc::new(backend(&format!("provider-{i}")))).collect();
        let candidates: Vec<_> = backends.iter().map(|b| Candidate::new(b, View::default())).collect();
        for name in NAMES {
            let Some(strategy) = by_name(name, &SmartAi::default()) else { continue };
            group.bench_function(BenchmarkId::new(name, n), |b| {
                b.iter(|| strategy.pick(&candidates, &mut rand::random::<f64>));
            });
        }
    }
    group.finish();
}

/// Measures one request within its limits, with few and with many keys.
pub(crate) fn limiter(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiter");
    let runtime = runtime();
    let _inside = runtime.enter();
    for keys in [10_u64, 100_000] {
        let limits = Limits::new().per_minute(u32::MAX).per_hour(u32::MAX);
        let limit = PerKey::new(limits, |head: &Parts| head.extensions.get::<u64>().copied());
        let head = |key: u64| Request::builder().extension(key).body(()).expect("a request").into_parts().0;
        let heads: Vec<_> = (0..keys).map(head).collect();
        let mut next = heads.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(keys), |b| {
            b.iter(|| next.next().map(|head| limit.try_acquire(head).is_ok()));
        });
    }
    group.finish();
}

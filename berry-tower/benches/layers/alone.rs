//! The overhead of each layer over a service that is always ready.

use std::sync::Arc;

use berry_tower::{
    auth::{ApiKey, ApiKeys, AuthLayer},
    body::Buffered,
    breaker::{BreakerPolicy, CircuitBreakerLayer},
    client::BackendClient,
    collect::CollectLayer,
    commit::CommitLayer,
    drain::DrainLayer,
    early::EarlyLayer,
    error_response::ErrorResponseLayer,
    inspect::InspectLayer,
    permission::ModelPermissionLayer,
    progress::{CommitPoint, Progress},
    rate_limit::{Limits, PerKey, RateLimitLayer},
    resume::ResumeLayer,
    retry::{BackoffPolicy, RetryLayer},
    select::SelectLayer,
    sse::Grammar,
};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use http::{Request, request::Parts};
use http_body_util::Full;
use std::time::Duration;
use tower::{Layer, ServiceExt};

use crate::support::{TOKEN, backend, calls, catalog, chat_body, inspected, request, upstream};

/// Measures each layer. `ready` is the inner service alone; subtract it from the other figures.
pub(crate) fn layers(c: &mut Criterion) {
    let mut group = c.benchmark_group("layer");
    let body = chat_body(256, false);
    let plain = || request(&body);
    let read = || inspected(&body, None);
    let limits = Limits::new().per_minute(u32::MAX).per_hour(u32::MAX);

    group.bench_function("ready", |b| calls(b, &upstream(), plain));
    let service = ErrorResponseLayer::new().layer(upstream());
    group.bench_function("error_response", |b| calls(b, &service, plain));
    let service = DrainLayer::new().layer(upstream());
    group.bench_function("drain", |b| calls(b, &service, plain));
    let service = AuthLayer::new(ApiKeys::new([ApiKey::from_token(TOKEN, "me")])).layer(upstream());
    group.bench_function("auth", |b| calls(b, &service, plain));
    let service = RateLimitLayer::new(PerKey::new(limits, |_: &Parts| Some(1_u64))).layer(upstream());
    group.bench_function("rate_limit", |b| calls(b, &service, plain));
    let service = CollectLayer::new().layer(InspectLayer::new().layer(upstream()));
    group.bench_function("inspect", |b| calls(b, &service, plain));
    let service = ModelPermissionLayer::new(|_: &&str, model: &str| model == "fast").layer(upstream());
    let known = || {
        let mut request = read();
        request.extensions_mut().insert("me");
        request
    };
    group.bench_function("permission", |b| calls(b, &service, known));
    let service = EarlyLayer::new(Some(Duration::from_secs(15))).layer(upstream());
    group.bench_function("early", |b| calls(b, &service, read));
    let service = ResumeLayer.layer(upstream());
    group.bench_function("resume", |b| calls(b, &service, read));
    let service =
        RetryLayer::new(BackoffPolicy::default()).total_timeout(Some(Duration::from_secs(600))).layer(upstream());
    group.bench_function("retry", |b| calls(b, &service, read));
    let whole = upstream().map_response(|mut response| {
        response.extensions_mut().insert(Progress::new(CommitPoint::Whole, Grammar::Opaque));
        response
    });
    let service = CommitLayer.layer(whole);
    group.bench_function("commit", |b| calls(b, &service, read));
    let service = SelectLayer::new(catalog(2)).layer(upstream());
    group.bench_function("select", |b| calls(b, &service, read));
    let service = CircuitBreakerLayer::new(BreakerPolicy::default()).layer(upstream());
    group.bench_function("breaker", |b| calls(b, &service, read));
    let selected = Arc::new(backend("provider"));
    let service = BackendClient::new(upstream::<Buffered>());
    group.bench_function("client", |b| calls(b, &service, || inspected(&body, Some(&selected))));
    group.finish();
}

/// Measures `Inspect` for bodies of several sizes, in one frame and in frames of 16 KiB.
pub(crate) fn inspect(c: &mut Criterion) {
    let mut group = c.benchmark_group("inspect");
    let service = CollectLayer::new().layer(InspectLayer::new().layer(upstream()));
    for size in [1 << 10, 64 << 10, 1 << 20] {
        let body = chat_body(size, false);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("whole", size), |b| calls(b, &service, || request(&body)));
        group.bench_function(BenchmarkId::new("in_chunks", size), |b| calls(b, &service, || chunks(&body)));
    }
    group.finish();
}

type Chunks = http_body_util::StreamBody<
    futures_util::stream::Iter<std::vec::IntoIter<Result<http_body::Frame<Bytes>, std::convert::Infallible>>>,
>;

fn chunks(body: &Bytes) -> Request<Chunks> {
    let frames = (0..body.len()).step_by(16 << 10).map(|at| body.slice(at..body.len().min(at + (16 << 10))));
    let frames: Vec<_> = frames.map(|bytes| Ok(http_body::Frame::data(bytes))).collect();
    request(body).map(|_: Full<Bytes>| http_body_util::StreamBody::new(futures_util::stream::iter(frames)))
}

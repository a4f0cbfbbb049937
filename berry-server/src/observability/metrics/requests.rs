//! Metrics of clients' requests by route.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::extract::MatchedPath;
use berry_tower::upstream_time::UpstreamTime;
use http::{Extensions, Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::PrometheusRecorder;
use tokio::time::Instant;

use super::names::{DURATION, GATEWAY, IN_FLIGHT, OTHER, REQUESTS, plain_histogram};

/// The methods with labels of their own.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::HEAD,
    Method::OPTIONS,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::CONNECT,
    Method::TRACE,
];

/// The status label of a request whose client left before the response.
const CLIENT_LEFT: u16 = 499;
/// The most statuses per route and method whose handles are kept; further ones are looked up each time.
const STATUSES: usize = 12;

/// The handles of all routes that had requests.
pub(super) struct Routes {
    recorder: Arc<PrometheusRecorder>,
    in_flight: Gauge,
    overhead: Histogram,
    /// By the router's path, so that clients cannot add to it.
    known: ArcSwap<HashMap<Arc<str>, Arc<Route>>>,
    other: Arc<Route>,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Routes")
    }
}

/// The handles of one route, by method; the last is for all other methods.
struct Route {
    path: Arc<str>,
    methods: [OnceLock<MethodMetrics>; METHODS.len() + 1],
}

/// The handles of one route and method.
struct MethodMetrics {
    duration: Histogram,
    /// The counters by status, in the order of their first use.
    statuses: [OnceLock<(u16, Counter)>; STATUSES],
}

impl Routes {
    pub(super) fn new(recorder: &Arc<PrometheusRecorder>) -> Self {
        let in_flight = with_local_recorder(&**recorder, || gauge!(IN_FLIGHT));
        in_flight.set(0.0);
        let overhead = plain_histogram(recorder, GATEWAY);
        let other = Arc::new(Route::new(OTHER.into()));
        Self { recorder: recorder.clone(), in_flight, overhead, known: ArcSwap::default(), other }
    }

    pub(super) fn route(&self, path: &str) -> RouteMetrics {
        RouteMetrics(self.at(path))
    }

    fn of(&self, extensions: &Extensions) -> Arc<Route> {
        extensions.get::<MatchedPath>().map_or_else(|| self.other.clone(), |path| self.at(path.as_str()))
    }

    fn at(&self, path: &str) -> Arc<Route> {
        if let Some(route) = self.known.load().get(path) {
            return route.clone();
        }
        let new: Arc<Route> = Arc::new(Route::new(path.into()));
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.entry(new.path.clone()).or_insert_with(|| new.clone());
            known
        });
        self.known.load().get(path).unwrap_or(&new).clone()
    }
}

impl Route {
    fn new(path: Arc<str>) -> Self {
        Self { path, methods: Default::default() }
    }

    fn method(&self, method: usize, recorder: &PrometheusRecorder) -> &MethodMetrics {
        self.methods[method].get_or_init(|| {
            let labels = [("method", label(method)), ("path", self.path.to_string())];
            let duration = with_local_recorder(recorder, || histogram!(DURATION, &labels));
            MethodMetrics { duration, statuses: Default::default() }
        })
    }

    fn ended(&self, method: usize, status: u16, took: Duration, recorder: &PrometheusRecorder) {
        let metrics = self.method(method, recorder);
        metrics.duration.record(took);
        let new = || {
            let labels = [("method", label(method)), ("path", self.path.to_string()), ("status", status.to_string())];
            with_local_recorder(recorder, || counter!(REQUESTS, &labels))
        };
        let mut kept = metrics.statuses.iter().map(|slot| slot.get_or_init(|| (status, new())));
        match kept.find(|(of, _)| *of == status) {
            Some((_, counter)) => counter.increment(1),
            None => new().increment(1),
        }
    }
}

/// The handles of a route that is known in advance, so that requests need no look-up.
#[derive(Clone)]
pub(crate) struct RouteMetrics(Arc<Route>);

impl std::fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RouteMetrics").field(&self.0.path).finish()
    }
}

fn label(method: usize) -> String {
    METHODS.get(method).map_or(OTHER, Method::as_str).to_owned()
}

/// The measurement of a request, from its head to the end of its response.
pub(crate) struct RequestMetrics {
    routes: Arc<Routes>,
    route: Arc<Route>,
    method: usize,
    started: Instant,
    upstream: Option<UpstreamTime>,
}

impl std::fmt::Debug for RequestMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestMetrics")
    }
}

impl RequestMetrics {
    /// Starts the measurement on `route`, or on the route that the router has found.
    pub(super) fn new<R>(
        routes: &Arc<Routes>,
        request: &mut http::Request<R>,
        route: Option<&RouteMetrics>,
        started: Instant,
    ) -> Self {
        routes.in_flight.increment(1.0);
        let method = METHODS.iter().position(|method| method == request.method()).unwrap_or(METHODS.len());
        let route = route.map_or_else(|| routes.of(request.extensions()), |known| known.0.clone());
        // Only a POST goes to an upstream.
        let upstream = (request.method() == Method::POST).then(|| UpstreamTime::since(started));
        if let Some(upstream) = &upstream {
            request.extensions_mut().insert(upstream.clone());
        }
        Self { routes: routes.clone(), route, method, started, upstream }
    }

    /// Records the gateway's own time until the head of the response. The head waits for the first output, so that this is
    /// the time to the first byte.
    pub(crate) fn record_head(&self) {
        if let Some(waited) = self.upstream.as_ref().and_then(UpstreamTime::total) {
            self.routes.overhead.record(self.started.elapsed().saturating_sub(waited));
        }
    }

    /// Records the end of the response; without a status there was no response.
    pub(crate) fn record_end(&self, status: Option<StatusCode>, at: Instant) {
        let status = status.map_or(CLIENT_LEFT, |status| status.as_u16());
        self.route.ended(self.method, status, at - self.started, &self.routes.recorder);
    }
}

impl Drop for RequestMetrics {
    fn drop(&mut self) {
        self.routes.in_flight.decrement(1.0);
    }
}

//! Metrics of clients' requests by route.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicI64, AtomicU16, AtomicU64,
            Ordering::{Acquire, Relaxed},
        },
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::extract::MatchedPath;
use berry_tower::upstream_time::UpstreamTime;
use http::{Extensions, Method, StatusCode};
use tokio::time::Instant;

use super::{
    histogram::{Bounds, Histogram},
    names::{Metric, OTHER},
    scrape::Scrape,
    sharded::Sharded,
};

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
/// The most statuses per route and method with a label of their own; the rest are `other`.
const STATUSES: usize = 24;

/// The metrics of all routes that had requests.
#[derive(Debug)]
pub(super) struct Routes {
    totals: Sharded<Totals>,
    /// By the router's path, so that clients cannot add to it.
    known: ArcSwap<HashMap<Arc<str>, Arc<Route>>>,
    other: Arc<Route>,
}

/// The numbers of all routes together.
#[derive(Debug, Default)]
struct Totals {
    /// A request may end on another thread than it began on, so that one copy may be negative.
    in_flight: AtomicI64,
    overhead: Histogram,
}

/// The metrics of one route by method; the last is for all other methods.
#[derive(Debug)]
struct Route {
    path: Arc<str>,
    methods: [OnceLock<Sharded<Ended>>; METHODS.len() + 1],
}

/// The requests of one route and method that have ended.
#[derive(Debug, Default)]
struct Ended {
    duration: Histogram,
    /// The counters by status, in the order of their first use.
    statuses: [StatusCounter; STATUSES],
    other_statuses: AtomicU64,
}

/// The count of a status; status 0 is unused.
#[derive(Debug, Default)]
struct StatusCounter {
    status: AtomicU16,
    count: AtomicU64,
}

impl Default for Routes {
    fn default() -> Self {
        Self { totals: Sharded::default(), known: ArcSwap::default(), other: Arc::new(Route::new(OTHER.into())) }
    }
}

impl Routes {
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

    pub(super) fn read(&self, scrape: &mut Scrape) {
        let in_flight: i64 = self.totals.iter().map(|totals| totals.in_flight.load(Relaxed)).sum();
        scrape.gauge(Metric::InFlight, Vec::new(), in_flight as f64);
        scrape.histogram(Metric::Overhead, Vec::new(), self.totals.iter().map(|totals| &totals.overhead));
        let known = self.known.load();
        let mut routes: Vec<&Arc<Route>> = known.values().chain([&self.other]).collect();
        routes.sort_by_key(|route| &route.path);
        for route in routes {
            for (method, ended) in route.methods.iter().enumerate() {
                if let Some(ended) = ended.get() {
                    read_ended(ended, &label(method), &route.path, scrape);
                }
            }
        }
    }
}

fn read_ended(ended: &Sharded<Ended>, method: &str, path: &str, scrape: &mut Scrape) {
    let labels = vec![("method", method.to_owned()), ("path", path.to_owned())];
    let mut statuses = std::collections::BTreeMap::<u16, u64>::new();
    for StatusCounter { status, count } in ended.iter().flat_map(|ended| &ended.statuses) {
        let status = status.load(Acquire);
        if status != 0 {
            *statuses.entry(status).or_default() += count.load(Relaxed);
        }
    }
    let others = ended.iter().map(|ended| ended.other_statuses.load(Relaxed)).sum::<u64>();
    let statuses = statuses.into_iter().map(|(status, count)| (status.to_string(), count));
    for (status, count) in statuses.chain((others > 0).then(|| (OTHER.to_owned(), others))) {
        let mut labels = labels.clone();
        labels.push(("status", status));
        scrape.count(Metric::Requests, labels, count);
    }
    scrape.histogram(Metric::Duration, labels, ended.iter().map(|ended| &ended.duration));
}

impl Route {
    fn new(path: Arc<str>) -> Self {
        Self { path, methods: Default::default() }
    }

    fn ended(&self, method: usize, status: u16, took: Duration) {
        let ended = self.methods[method].get_or_init(Sharded::default).local();
        ended.duration.record(&Bounds::SECONDS, took);
        let counter = ended.statuses.iter().find(|counter| counter.is_of(status)).map(|counter| &counter.count);
        counter.unwrap_or(&ended.other_statuses).fetch_add(1, Relaxed);
    }
}

impl StatusCounter {
    /// Whether this counts the status; an unused counter takes it.
    fn is_of(&self, status: u16) -> bool {
        match self.status.load(Relaxed) {
            0 => {
                let taken = self.status.compare_exchange(0, status, Relaxed, Relaxed);
                taken.is_ok() || taken == Err(status)
            }
            taken => taken == status,
        }
    }
}

/// The metrics of a route that is known in advance, so that requests need no look-up.
#[derive(Clone, Debug)]
pub(crate) struct RouteMetrics(Arc<Route>);

fn label(method: usize) -> String {
    METHODS.get(method).map_or(OTHER, Method::as_str).to_owned()
}

/// The measurement of a request, from its head to the end of its response.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    routes: Arc<Routes>,
    route: Arc<Route>,
    method: usize,
    started: Instant,
    upstream: Option<UpstreamTime>,
}

impl RequestMetrics {
    /// Starts the measurement on `route`, or on the route that the router has found.
    pub(super) fn new<R>(
        routes: &Arc<Routes>,
        request: &mut http::Request<R>,
        route: Option<&RouteMetrics>,
        started: Instant,
    ) -> Self {
        routes.totals.local().in_flight.fetch_add(1, Relaxed);
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
            let own = self.started.elapsed().saturating_sub(waited);
            self.routes.totals.local().overhead.record(&Bounds::OVERHEAD, own);
        }
    }

    /// Records the end of the response; without a status there was no response.
    pub(crate) fn record_end(&self, status: Option<StatusCode>, at: Instant) {
        let status = status.map_or(CLIENT_LEFT, |status| status.as_u16());
        self.route.ended(self.method, status, at - self.started);
    }
}

impl Drop for RequestMetrics {
    fn drop(&mut self) {
        self.routes.totals.local().in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_statuses_beyond_the_bound_as_other() {
        let routes = Routes::default();
        let route = routes.route("/a").0;
        for status in 200..200 + STATUSES as u16 + 2 {
            route.ended(1, status, Duration::ZERO);
        }
        let mut scrape = Scrape::new();
        routes.read(&mut scrape);
        let text = super::super::text::encode(&scrape);
        assert!(text.contains(r#"http_requests_total{method="POST",path="/a",status="200"} 1"#), "{text}");
        assert!(text.contains(r#"http_requests_total{method="POST",path="/a",status="other"} 2"#), "{text}");
    }
}

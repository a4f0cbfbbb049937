//! Accepts connections, up to a limit, and drains them at the end.
//!
//! At the limit the connection that has been idle for the longest time is closed for a new one. If none is idle, a few
//! more connections are accepted still: health checks are answered on them at once, and other requests wait there until
//! a connection ends or becomes idle.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use berry_tower::error::BoxError;
use futures_util::future::Either as EitherFuture;
use http::{Method, Request, Response};
use http_body_util::Either;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::connection::{Connection, ConnectionState};
use crate::state::Gauge;

/// The most that is read of a request at once, so also the largest head that is read at all. A long conversation comes
/// in one piece then, which need not be joined.
const MAX_READ: usize = 400 * 1024;
/// The most headers that are read at all. The access log has a smaller limit, whose error has the gateway's own shape.
/// It is not much larger, because hyper makes room for so many with each request.
const MAX_HEADERS: usize = 512;
/// The most connections that are accepted beyond the limit.
const MAX_RESERVE: usize = 64;
/// The time after which connections that wait for a slot look for an idle connection again.
const RECHECK: Duration = Duration::from_millis(50);
/// The time for which a connection is not idle yet: its request may be under way.
const MIN_IDLE: Duration = Duration::from_millis(250);
/// The time that a request waits for a slot.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// The pause after an error of `accept`, most likely that no file is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The time between two log lines about errors of `accept`.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The files that the process has open besides connections.
const OTHER_FILES: u64 = 32;
/// The paths that are answered without a slot.
const HEALTH_PATHS: [&str; 4] = ["/livez", "/readyz", "/health", "/v1/health"];

/// Returns how many connections fit into a limit of open files, at most `wanted`. Each needs a second file for its
/// connection to a provider.
pub(crate) fn fit_connections(wanted: usize, file_limit: u64) -> usize {
    let fits = |max: u64| max.saturating_mul(2).saturating_add(reserve(max) + OTHER_FILES) <= file_limit;
    if u64::try_from(wanted).is_ok_and(fits) {
        return wanted;
    }
    // The largest number for which `fits` holds is between these two.
    let (mut low, mut high) = (1, file_limit / 2 + 1);
    while low + 1 < high {
        let middle = u64::midpoint(low, high);
        if fits(middle) { low = middle } else { high = middle }
    }
    usize::try_from(low).unwrap_or(usize::MAX).min(wanted)
}

/// Returns how many connections are accepted beyond a limit of `max`.
fn reserve(max: u64) -> u64 {
    (max / 8).clamp(4, MAX_RESERVE as u64)
}

/// The connections of a listener, as far as their number is limited.
#[derive(Debug)]
struct Slots {
    /// One permit for each connection within the limit.
    free: Arc<Semaphore>,
    /// One permit for each connection beyond the limit.
    reserve: Arc<Semaphore>,
    max_waiting: usize,
    waiting: Gauge,
    /// Wakes the listener when a connection has ended.
    ended: Notify,
}

/// The place of one connection: a slot, or a part of the reserve until there is one.
#[derive(Debug)]
struct Place {
    slots: Arc<Slots>,
    slot: OnceLock<OwnedSemaphorePermit>,
    holds_reserve: AtomicBool,
}

impl Slots {
    fn new(max_connections: usize, waiting: Gauge) -> Self {
        let reserve = usize::try_from(reserve(max_connections as u64)).unwrap_or(MAX_RESERVE);
        Self {
            free: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
            reserve: Arc::new(Semaphore::new(reserve)),
            // The rest of the reserve is for health checks.
            max_waiting: reserve / 2,
            waiting,
            ended: Notify::new(),
        }
    }

    /// Whether connections or requests wait for a slot.
    fn are_short(&self) -> bool {
        self.free.available_permits() == 0 && (self.waiting.get() > 0 || self.reserve.available_permits() == 0)
    }

    /// Takes a slot, else a part of the reserve.
    fn take(self: &Arc<Self>) -> Option<Arc<Place>> {
        let place = |holds_reserve| Place {
            slots: self.clone(),
            slot: OnceLock::new(),
            holds_reserve: AtomicBool::new(holds_reserve),
        };
        if let Ok(slot) = self.free.clone().try_acquire_owned() {
            let place = place(false);
            let _ = place.slot.set(slot);
            return Some(Arc::new(place));
        }
        self.reserve.try_acquire().ok()?.forget();
        Some(Arc::new(place(true)))
    }
}

impl Place {
    fn has_slot(&self) -> bool {
        self.slot.get().is_some()
    }

    fn give_back_reserve(&self) {
        if self.holds_reserve.swap(false, Relaxed) {
            self.slots.reserve.add_permits(1);
        }
    }

    /// Waits for a slot. Returns whether there is one.
    async fn wait(&self) -> bool {
        let _waiting = self.slots.waiting.enter();
        if self.slots.waiting.get() > self.slots.max_waiting {
            return false;
        }
        self.slots.ended.notify_one();
        let Ok(Ok(slot)) = timeout(MAX_WAIT, self.slots.free.clone().acquire_owned()).await else { return false };
        let _ = self.slot.set(slot);
        self.give_back_reserve();
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_back_reserve();
        self.slot.take();
        self.slots.ended.notify_one();
    }
}

/// The connections that are open, for the listener alone.
#[derive(Default)]
struct Open(Vec<(ConnectionState, Weak<Place>)>);

impl Open {
    fn add(&mut self, connection: ConnectionState, place: &Arc<Place>) {
        // Amortized: half of a full list has ended, or it grows.
        if self.0.len() == self.0.capacity() {
            self.0.retain(|(connection, _)| !connection.is_closed());
        }
        self.0.push((connection, Arc::downgrade(place)));
    }

    /// Closes the connection that has been idle for the longest time, among those with a slot or among all.
    fn displace_longest_idle(&mut self, with_slot: bool) {
        self.0.retain(|(connection, _)| !connection.is_closed());
        let counts = |place: &Weak<Place>| !with_slot || place.upgrade().is_some_and(|place| place.has_slot());
        let counted = self.0.iter().filter(|(_, place)| counts(place));
        let now = Instant::now();
        let idle = counted.filter_map(|(connection, _)| Some((connection.idle_since()?, connection)));
        let idle = idle.filter(|(since, _)| now.saturating_duration_since(*since) >= MIN_IDLE);
        if let Some((_, connection)) = idle.min_by_key(|(since, _)| *since) {
            connection.displace();
        }
    }
}

/// Accepts connections until `closing` becomes true, then waits for those that are open. Each request is answered by
/// `answer`, or by `overloaded` if the connection is beyond the limit and no slot becomes free. `waiting` counts the requests that wait for
/// one.
pub(crate) async fn serve<A, F, B, O, R>(
    listener: TcpListener,
    answer: A,
    overloaded: R,
    max_connections: usize,
    waiting: Gauge,
    mut closing: watch::Receiver<bool>,
) where
    A: Fn(Request<Either<Incoming, B>>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<O>, Infallible>> + Send + 'static,
    B: Send + 'static,
    O: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    R: Fn(&Request<Incoming>) -> Response<O> + Clone + Send + Sync + 'static,
{
    let slots = Arc::new(Slots::new(max_connections, waiting));
    let graceful = GracefulShutdown::new();
    let (mut open, mut errors) = (Open::default(), AcceptErrors::default());
    loop {
        let accepted = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => break,
            accepted = accept(&listener, &slots, &mut open, &mut errors) => accepted,
        };
        let (stream, place) = accepted;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was not set");
        }
        let state = ConnectionState::new();
        if !place.has_slot() {
            open.displace_longest_idle(true);
        }
        open.add(state.clone(), &place);
        let connection = Connection::new(stream, state.clone());
        let (answer, overloaded) = (answer.clone(), overloaded.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            state.begin();
            if place.has_slot() || is_health_check(&request) {
                request.extensions_mut().insert(state.clone());
                return EitherFuture::Left(answer(request.map(Either::Left)));
            }
            let (state, place) = (state.clone(), place.clone());
            let (answer, overloaded) = (answer.clone(), overloaded.clone());
            EitherFuture::Right(Box::pin(async move {
                if !place.wait().await {
                    // The response closes the connection, which is not idle until then.
                    return Ok(overloaded(&request));
                }
                request.extensions_mut().insert(state);
                answer(request.map(Either::Left)).await
            }))
        });
        let connection = http1::Builder::new()
            // The connection has its own timers, which are not reset for each request.
            .header_read_timeout(None)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_READ)
            .serve_connection(TokioIo::new(connection), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

fn is_health_check<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && HEALTH_PATHS.contains(&request.uri().path())
}

/// Accepts the next connection. While slots are short, it closes idle connections.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Slots>,
    open: &mut Open,
    errors: &mut AcceptErrors,
) -> (TcpStream, Arc<Place>) {
    loop {
        if slots.are_short() {
            // A connection without a slot delays no other until the reserve is used up.
            open.displace_longest_idle(slots.reserve.available_permits() > 0);
        }
        let may_accept = slots.free.available_permits() > 0 || slots.reserve.available_permits() > 0;
        let result = tokio::select! {
            result = listener.accept(), if may_accept && errors.pause.is_none() => result,
            () = slots.ended.notified() => continue,
            () = sleep(RECHECK), if slots.are_short() => continue,
            () = sleep_until(errors.pause.unwrap_or_else(Instant::now)), if errors.pause.is_some() => {
                errors.pause = None;
                continue;
            }
        };
        match result {
            Ok((stream, _)) => {
                if let Some(place) = slots.take() {
                    return (stream, place);
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                errors.record(&error);
                // The most likely error is that no file is left.
                open.displace_longest_idle(false);
            }
        }
    }
}

/// The errors of `accept`, which come in great numbers.
#[derive(Default)]
struct AcceptErrors {
    /// The end of the pause after the last one.
    pause: Option<Instant>,
    last_logged: Option<Instant>,
}

impl AcceptErrors {
    fn record(&mut self, error: &io::Error) {
        let now = Instant::now();
        self.pause = Some(now + ACCEPT_PAUSE);
        if self.last_logged.is_none_or(|last| now.duration_since(last) >= LOG_INTERVAL) {
            self.last_logged = Some(now);
            tracing::error!(%error, "connections cannot be accepted; idle ones are closed");
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_limit_of_files() {
        for limit in [64, 100, 256, 1024, 4096, 20_000, 1_000_000] {
            let max = fit_connections(10_000, limit) as u64;
            assert!(2 * max + reserve(max) + OTHER_FILES <= limit, "{limit}: {max}");
            assert!(max == 10_000 || 2 * (max + 1) + reserve(max + 1) + OTHER_FILES > limit, "{limit}: {max}");
        }
        assert_eq!(fit_connections(10_000, u64::MAX), 10_000);
        assert_eq!(fit_connections(10_000, 3), 1, "at least one");
    }
}

//! The connection to the store, and the breaker around it.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{
    Client, RedisError, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster_async::ClusterConnection,
};
use tokio::time::{Instant, timeout};

use super::config::{CONNECT_TIMEOUT, OnError, RESPONSE_TIMEOUT, Server};
use crate::store::StoreHealth;

/// So many timeouts in a row open the breaker; a broken connection does at once.
const TIMEOUTS: u32 = 3;

#[derive(Clone)]
enum Connection {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

/// The connection, which is made anew whenever it breaks.
pub(super) struct Link {
    server: Server,
    connection: ArcSwapOption<Connection>,
    timeout: Duration,
    on_error: OnError,
    is_away: AtomicBool,
    /// Timeouts since the last answer.
    timeouts: AtomicU32,
    outages: AtomicU64,
    errors: AtomicU64,
    pub(super) replicas: AtomicU64,
    /// The start of the outage in milliseconds since `started`.
    away_since: AtomicU64,
    started: Instant,
}

impl Link {
    pub(super) fn new(server: Server, timeout: Duration, on_error: OnError) -> Self {
        Self {
            server,
            connection: ArcSwapOption::empty(),
            timeout,
            on_error,
            is_away: AtomicBool::new(false),
            timeouts: AtomicU32::new(0),
            outages: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            replicas: AtomicU64::new(1),
            away_since: AtomicU64::new(0),
            started: Instant::now(),
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.is_away.load(Relaxed)
    }

    pub(super) fn health(&self) -> StoreHealth {
        StoreHealth {
            is_available: !self.is_away(),
            outages: self.outages.load(Relaxed),
            errors: self.errors.load(Relaxed),
            replicas: self.replicas.load(Relaxed).max(1),
        }
    }

    /// Runs a script for a request, which waits no longer than the timeout.
    pub(super) async fn ask<T: redis::FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Option<T> {
        if self.is_away() {
            return None;
        }
        self.run(call, self.timeout).await
    }

    /// Runs a script whether the breaker is open or not, and closes it on success.
    pub(super) async fn probe<T: redis::FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Option<T> {
        let answer = self.run(call, self.timeout.max(Duration::from_millis(100))).await;
        if answer.is_some() && self.is_away.swap(false, Relaxed) {
            let since = Duration::from_millis(self.away_since.load(Relaxed));
            let seconds = self.started.elapsed().saturating_sub(since).as_secs_f64();
            tracing::info!(seconds, "the store of the limits is back");
        }
        answer
    }

    async fn run<T: redis::FromRedisValue>(&self, call: &ScriptInvocation<'_>, limit: Duration) -> Option<T> {
        let asking = async {
            match self.connection().await? {
                Connection::Single(mut connection) => call.invoke_async(&mut connection).await,
                Connection::Cluster(mut connection) => call.invoke_async(&mut connection).await,
            }
        };
        let answer = within(limit, asking).await;
        if !matches!(answer, Some(Ok(_))) {
            self.errors.fetch_add(1, Relaxed);
        }
        match answer {
            Some(Ok(answer)) => {
                self.timeouts.store(0, Relaxed);
                Some(answer)
            }
            Some(Err(error)) => {
                if matches!(self.server, Server::Cluster(..)) && error.is_unrecoverable_error() {
                    self.connection.store(None);
                }
                self.lost(&reason(&error));
                None
            }
            None => {
                if self.timeouts.fetch_add(1, Relaxed) + 1 >= TIMEOUTS {
                    self.lost("it does not answer in time");
                }
                None
            }
        }
    }

    /// Opens the breaker; each outage is logged by one line.
    fn lost(&self, reason: &str) {
        if self.is_away.swap(true, Relaxed) {
            return;
        }
        self.outages.fetch_add(1, Relaxed);
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.away_since.store(now, Relaxed);
        let replicas = self.replicas.load(Relaxed);
        let (on_error, allowed) = match self.on_error {
            OnError::Share => ("share", "each replica allows its share of the limits"),
            OnError::Local => ("local", "each replica allows the whole limits"),
            OnError::Deny => ("deny", "limited requests are refused"),
        };
        tracing::warn!(reason, on_error, replicas, "the store of the limits is away; {allowed}");
    }

    async fn connection(&self) -> redis::RedisResult<Connection> {
        if let Some(connection) = &*self.connection.load() {
            return Ok(Connection::clone(connection));
        }
        let connection = match &self.server {
            Server::Single(client) => {
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(Some(RESPONSE_TIMEOUT))
                    .set_number_of_retries(0);
                Connection::Single(ConnectionManager::new_lazy_with_config(Client::clone(client), config)?)
            }
            Server::Cluster(client, _) => Connection::Cluster(client.get_async_connection().await?),
        };
        self.connection.store(Some(Arc::new(connection.clone())));
        Ok(connection)
    }
}

/// Returns why a call failed. A refusal by the server is reduced to its code, since its text may quote what was sent.
pub(super) fn reason(error: &RedisError) -> String {
    match error.code() {
        _ if error.is_io_error() => error.to_string(),
        Some(code) => format!("the server refuses with {code}"),
        None => error.category().to_owned(),
    }
}

/// Waits for a future no longer than `limit`. An answer that has come, but whose reader was not
/// scheduled in time, is not missed.
async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    if let Ok(output) = timeout(limit, future.as_mut()).await {
        return Some(output);
    }
    for _ in 0..3 {
        tokio::task::yield_now().await;
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_why_a_call_failed() {
        let answered = |answer: &str| redis::parse_redis_value(answer.as_bytes()).unwrap().extract_error().unwrap_err();
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        for (error, expected) in [
            (RedisError::from(refused), "connection refused"),
            (answered("-NOAUTH Authentication required.\r\n"), "the server refuses with NOAUTH"),
            (
                answered("-READONLY You can't write against a read only replica.\r\n"),
                "the server refuses with READONLY",
            ),
        ] {
            assert_eq!(reason(&error), expected);
        }
    }
}

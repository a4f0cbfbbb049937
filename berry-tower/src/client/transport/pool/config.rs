//! Settings of the connections.

use std::time::Duration;

/// How connections are made, shared and kept.
#[derive(Clone, Debug)]
pub(in super::super) struct Config {
    /// The most HTTP/2 connections to one destination.
    pub(in super::super) max_connections: usize,
    /// The most streams that this side opens on one HTTP/2 connection.
    pub(in super::super) max_streams: usize,
    /// The bytes that one HTTP/2 stream may hold unread.
    pub(in super::super) stream_window: u32,
    /// The silence on an HTTP/2 connection with open streams after which it is pinged.
    pub(in super::super) keep_alive: Option<Duration>,
    /// How long the answer to a ping may take.
    pub(in super::super) keep_alive_timeout: Duration,
    /// The most free HTTP/1 connections that are kept for one destination.
    pub(in super::super) max_idle: usize,
    /// How long an unused connection is kept.
    pub(in super::super) idle_timeout: Duration,
    /// Whether HTTP/2 is offered over TLS.
    pub(in super::super) http2: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 16,
            max_streams: 100,
            stream_window: 128 * 1024,
            keep_alive: Some(Duration::from_secs(30)),
            keep_alive_timeout: Duration::from_secs(15),
            max_idle: usize::MAX,
            idle_timeout: Duration::from_secs(90),
            http2: true,
        }
    }
}

/// The largest window of HTTP/2.
const MAX_WINDOW: u32 = (1 << 31) - 1;

impl Config {
    /// The window of a connection: all its streams may be unread without filling it.
    pub(super) fn connection_window(&self) -> u32 {
        let streams = u32::try_from(self.max_streams).unwrap_or(u32::MAX);
        self.stream_window.saturating_mul(streams).clamp(65_535, MAX_WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_streams_cannot_fill_the_connection_window() {
        let config = Config::default();
        assert_eq!(config.connection_window() as usize, config.max_streams * config.stream_window as usize);
        let huge = Config { max_streams: usize::MAX, ..config };
        assert_eq!(huge.connection_window(), MAX_WINDOW);
    }
}

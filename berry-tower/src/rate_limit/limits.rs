//! Limits, windows and what is used of them, as plain values.

use std::{fmt, time::Duration};

/// The limits of one caller: any number of windows, and a number of requests in flight.
///
/// A limit of 0 admits no request; a limit that is not set admits all.
///
/// ```
/// use berry_tower::rate_limit::{Limits, Window, WindowLimit};
/// use std::time::Duration;
///
/// let limits = Limits::new()
///     .per_minute(60)
///     .per_day(5_000)
///     .concurrent(4)
///     .window(WindowLimit::new(5, Duration::from_secs(1)).burst(20));
/// assert_eq!(limits.windows().len(), 3);
/// assert_eq!(limits.get(Window::HOUR), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// From the shortest window to the longest.
    windows: Vec<WindowLimit>,
    concurrent: Option<u32>,
}

impl Limits {
    /// Creates an empty set of limits.
    #[must_use]
    pub const fn new() -> Self {
        Self { windows: Vec::new(), concurrent: None }
    }

    /// Sets or, with `None`, removes the limit of requests per minute.
    #[must_use]
    pub fn per_minute(self, n: impl Into<Option<u32>>) -> Self {
        self.with(Window::MINUTE, n.into())
    }

    /// Sets or, with `None`, removes the limit of requests per hour.
    #[must_use]
    pub fn per_hour(self, n: impl Into<Option<u32>>) -> Self {
        self.with(Window::HOUR, n.into())
    }

    /// Sets or, with `None`, removes the limit of requests per day.
    #[must_use]
    pub fn per_day(self, n: impl Into<Option<u32>>) -> Self {
        self.with(Window::DAY, n.into())
    }

    /// Adds the limit of a window of any length, in place of one for a window of the same length.
    #[must_use]
    pub fn window(mut self, limit: WindowLimit) -> Self {
        match self.windows.binary_search_by_key(&limit.window, |limit| limit.window) {
            Ok(i) => self.windows[i] = limit,
            Err(i) => self.windows.insert(i, limit),
        }
        self
    }

    /// Sets or, with `None`, removes the limit of requests in flight. A request is in flight until
    /// the body of its response has ended.
    #[must_use]
    pub fn concurrent(mut self, n: impl Into<Option<u32>>) -> Self {
        self.concurrent = n.into();
        self
    }

    /// Returns the limits of windows, from the shortest window to the longest.
    #[must_use]
    pub fn windows(&self) -> &[WindowLimit] {
        &self.windows
    }

    /// Returns the limit of requests in one window.
    #[must_use]
    pub fn get(&self, window: Window) -> Option<u32> {
        self.windows.iter().find(|limit| limit.window == window).map(|limit| limit.limit)
    }

    /// Returns the limit of requests in flight.
    #[must_use]
    pub const fn max_concurrent(&self) -> Option<u32> {
        self.concurrent
    }

    fn with(mut self, window: Window, n: Option<u32>) -> Self {
        self.windows.retain(|limit| limit.window != window);
        match n {
            Some(n) => self.window(WindowLimit::new(n, window.length())),
            None => self,
        }
    }
}

/// The limit of requests in one window of time.
///
/// It is a bucket that holds [`burst`](Self::burst) requests and refills evenly, by the limit over
/// the length of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimit {
    pub(super) window: Window,
    pub(super) limit: u32,
    pub(super) burst: u32,
}

impl WindowLimit {
    /// Allows `limit` requests per `period`, all of them at once if need be.
    ///
    /// With a limit of 0 no request passes. The shortest interval between two requests is one
    /// nanosecond, the longest about 100 years.
    #[must_use]
    pub const fn new(limit: u32, period: Duration) -> Self {
        Self { window: Window(period), limit, burst: limit }
    }

    /// Sets how many requests may pass at once after a pause. Default: the limit; at least 1.
    #[must_use]
    pub const fn burst(mut self, n: u32) -> Self {
        self.burst = if n == 0 { 1 } else { n };
        self
    }
}

/// A window of time, known by its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window(Duration);

impl Window {
    /// A window of 60 seconds.
    pub const MINUTE: Self = Self(Duration::from_secs(60));
    /// A window of 60 minutes.
    pub const HOUR: Self = Self(Duration::from_secs(3_600));
    /// A window of 24 hours.
    pub const DAY: Self = Self(Duration::from_secs(86_400));

    /// Returns the length of the window.
    #[must_use]
    pub const fn length(self) -> Duration {
        self.0
    }

    /// Returns `minute`, `hour`, `day`, or `window` for one of another length.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match (self.0.as_secs(), self.0.subsec_nanos()) {
            (60, 0) => "minute",
            (3_600, 0) => "hour",
            (86_400, 0) => "day",
            _ => "window",
        }
    }
}

impl From<Duration> for Window {
    fn from(length: Duration) -> Self {
        Self(length)
    }
}

/// Writes `minute`, `hour`, `day`, or the length as in `10s`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "window" => f.write_str(&go_duration(self.0)),
            name => f.write_str(name),
        }
    }
}

/// How much of one window is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowUsage {
    /// The window.
    pub window: Window,
    /// The limit of requests in the window.
    pub limit: u32,
    /// The number of requests that may pass now.
    pub remaining: u32,
    /// The time until the whole burst is available again if no request is made.
    pub reset: Duration,
}

impl WindowUsage {
    /// Creates the usage of a window, for a [`Limit`](super::Limit) that keeps its state elsewhere.
    #[must_use]
    pub const fn new(window: Window, limit: u32, remaining: u32, reset: Duration) -> Self {
        Self { window, limit, remaining, reset }
    }
}

/// How much of a quota is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaUsage {
    /// The usage of each limited window, from the shortest to the longest.
    pub windows: Vec<WindowUsage>,
    /// The number of requests in flight.
    pub in_flight: u32,
}

impl QuotaUsage {
    /// Returns the usage of one window, if it is limited.
    #[must_use]
    pub fn get(&self, window: Window) -> Option<WindowUsage> {
        self.windows.iter().find(|usage| usage.window == window).copied()
    }

    /// Returns the window with the fewest requests left, the shorter one of equals.
    #[must_use]
    pub fn tightest(&self) -> Option<WindowUsage> {
        self.windows.iter().copied().min_by_key(|usage| usage.remaining)
    }
}

/// Formats a duration as Go does, rounded up to milliseconds: `1s`, `6m0s`, `1h0m0.5s`, `20ms`.
pub(super) fn go_duration(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    let mut text = String::with_capacity(32);
    // Without `format!`, since it runs for every response.
    let mut push = |number: u64, unit: &str| {
        text.push_str(itoa::Buffer::new().format(number));
        text.push_str(unit);
    };
    let (seconds, mut fraction) = (millis / 1_000, millis % 1_000);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    if seconds == 0 && fraction > 0 {
        push(fraction, "ms");
        return text;
    }
    if hours > 0 {
        push(hours, "h");
    }
    if hours > 0 || minutes > 0 {
        push(minutes, "m");
    }
    if fraction == 0 {
        push(seconds % 60, "s");
        return text;
    }
    push(seconds % 60, ".");
    let mut place = 100;
    while fraction > 0 {
        push(fraction / place, "");
        (fraction, place) = (fraction % place, place / 10);
    }
    text.push('s');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_durations_as_go_does() {
        for (millis, text) in [
            (0, "0s"),
            (20, "20ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (1_050, "1.05s"),
            (360_000, "6m0s"),
            (3_600_000, "1h0m0s"),
            (86_399_999, "23h59m59.999s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(go_duration(Duration::from_nanos(1)), "1ms", "rounded up");
    }

    #[test]
    fn windows_are_sorted_and_replaced_by_length() {
        let ten = WindowLimit::new(3, Duration::from_secs(10));
        let limits = Limits::new().per_day(9).per_minute(5).window(ten).per_minute(7).per_hour(None);
        let listed: Vec<_> = limits.windows().iter().map(|limit| (limit.window.to_string(), limit.limit)).collect();
        assert_eq!(listed, [("10s".to_owned(), 3), ("minute".to_owned(), 7), ("day".to_owned(), 9)]);
        assert_eq!(limits.per_minute(None).get(Window::MINUTE), None);
    }
}

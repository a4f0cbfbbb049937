//! Limits, windows and what is spent of them, as plain values.

use std::time::Duration;

/// How many requests a caller may make. A number of 0, like an absent one, sets no limit.
///
/// ```
/// use berry_tower::rate_limit::Limits;
///
/// let limits = Limits::new().per_minute(60).per_day(5_000).concurrent(4);
/// assert_eq!(limits.per_hour, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests per minute.
    pub per_minute: u32,
    /// Requests per hour.
    pub per_hour: u32,
    /// Requests per day.
    pub per_day: u32,
    /// Requests at the same time.
    pub concurrent: u32,
}

impl Limits {
    /// No limits yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { per_minute: 0, per_hour: 0, per_day: 0, concurrent: 0 }
    }

    /// Limits the requests per minute.
    #[must_use]
    pub const fn per_minute(mut self, n: u32) -> Self {
        self.per_minute = n;
        self
    }

    /// Limits the requests per hour.
    #[must_use]
    pub const fn per_hour(mut self, n: u32) -> Self {
        self.per_hour = n;
        self
    }

    /// Limits the requests per day.
    #[must_use]
    pub const fn per_day(mut self, n: u32) -> Self {
        self.per_day = n;
        self
    }

    /// Limits the requests under way at the same time; one is under way until its response's body
    /// has ended.
    #[must_use]
    pub const fn concurrent(mut self, n: u32) -> Self {
        self.concurrent = n;
        self
    }
}

/// A window of time that a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
}

impl Window {
    /// How long it is.
    #[must_use]
    pub const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }

    /// `minute`, `hour` or `day`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// How much of one window is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The window.
    pub window: Window,
    /// Its limit.
    pub limit: u32,
    /// How many requests are left now.
    pub remaining: u32,
    /// Until all of them are left again, if none is made.
    pub reset: Duration,
}

/// What one caller has spent, and what is going on for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The minute, if it is limited.
    pub minute: Option<Usage>,
    /// The hour, if it is limited.
    pub hour: Option<Usage>,
    /// The day, if it is limited.
    pub day: Option<Usage>,
    /// Requests under way; counted only where concurrency is limited.
    pub in_flight: u32,
}

impl Snapshot {
    /// The window with the fewest requests left, the shorter one of equals.
    #[must_use]
    pub fn tightest(&self) -> Option<Usage> {
        [self.minute, self.hour, self.day].into_iter().flatten().min_by_key(|usage| usage.remaining)
    }
}

/// A duration as Go prints it, rounded up to milliseconds: `1s`, `6m0s`, `1h0m0.5s`, `20ms`.
///
/// ```
/// use berry_tower::rate_limit::go_duration;
/// use std::time::Duration;
///
/// assert_eq!(go_duration(Duration::from_millis(360_500)), "6m0.5s");
/// ```
#[must_use]
pub fn go_duration(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    let mut text = String::with_capacity(32);
    // Without the machinery of formats: it is done for every answer.
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

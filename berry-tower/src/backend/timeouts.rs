//! How long one attempt on a provider may take.

use std::time::Duration;

/// How long the parts of one attempt may take. `Duration::MAX` means no limit.
///
/// ```
/// use berry_tower::backend::Timeouts;
/// use std::time::Duration;
///
/// let timeouts = Timeouts::default().with_connect(Duration::from_secs(1)).with_idle(None);
/// assert_eq!(timeouts.stream_head(), Duration::from_secs(30));
/// assert_eq!(timeouts.idle(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    connect: Duration,
    stream_head: Duration,
    plain_head: Duration,
    first_token: Option<Duration>,
    idle: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            stream_head: Duration::from_secs(30),
            plain_head: Duration::from_secs(300),
            first_token: None,
            idle: Some(Duration::from_secs(120)),
        }
    }
}

impl Timeouts {
    /// Sets the time until the connection is established; 5 s by default.
    #[must_use]
    pub const fn with_connect(mut self, timeout: Duration) -> Self {
        self.connect = timeout;
        self
    }

    /// Sets the time until the head of a streamed response; 30 s by default.
    #[must_use]
    pub const fn with_stream_head(mut self, timeout: Duration) -> Self {
        self.stream_head = timeout;
        self
    }

    /// Sets the time until the head of a plain response, which comes only when the whole answer has
    /// been generated; 300 s by default.
    #[must_use]
    pub const fn with_plain_head(mut self, timeout: Duration) -> Self {
        self.plain_head = timeout;
        self
    }

    /// Sets the time until a stream's first event with output; none by default.
    #[must_use]
    pub fn with_first_token(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.first_token = timeout.into();
        self
    }

    /// Sets the longest time between two frames of a body; 120 s by default.
    #[must_use]
    pub fn with_idle(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle = timeout.into();
        self
    }

    /// The time until the connection is established.
    #[must_use]
    pub const fn connect(&self) -> Duration {
        self.connect
    }

    /// The time until the head of a streamed response.
    #[must_use]
    pub const fn stream_head(&self) -> Duration {
        self.stream_head
    }

    /// The time until the head of a plain response.
    #[must_use]
    pub const fn plain_head(&self) -> Duration {
        self.plain_head
    }

    /// The time until a stream's first event with output; `None` means no limit.
    #[must_use]
    pub const fn first_token(&self) -> Option<Duration> {
        self.first_token
    }

    /// The longest time between two frames of a body; `None` means no limit.
    #[must_use]
    pub const fn idle(&self) -> Option<Duration> {
        self.idle
    }
}

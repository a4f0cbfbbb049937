//! Faults, and when they strike.

use super::refusal::Refusal;
use std::time::Duration;

/// A count for [`Fault::CutAfter`], [`Fault::ResetAfter`] and [`Fault::StallAfter`]: the break comes after the last
/// `finish_reason`, just before the end of the stream.
pub const AFTER_FINISH: usize = usize::MAX;

/// A fault of a response.
///
/// Faults can be combined ([`Behavior::and`]), for example CRLF line ends and a cut after ten tokens. Of two that exclude
/// each other, the first applies. A "token" is one event of a stream that has output. On a plain response a fault of
/// streams means the nearest thing: a break in the middle of the body for a cut, reset or stall, half a JSON document for
/// a malformed event, a 200 with an error object for an error event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An error with this status and a provider's usual text.
    Status(u16),
    /// A custom error.
    Refuse(Refusal),
    /// 400 `context_length_exceeded`.
    ContextLength,
    /// 400 `content_policy_violation`.
    ContentPolicy,
    /// 401 `invalid_api_key`, even for a valid key.
    BadKey,
    /// 429 `insufficient_quota`.
    Quota,
    /// 503 with an overload error.
    Overloaded,
    /// 400 that names `stream_options`, if the request has it.
    RefuseStreamOptions,
    /// 400 that names `max_tokens`, if the request has it.
    RefuseMaxTokens,
    /// 400 if the request has both `temperature` and `top_p`.
    RefuseBothSamplings,
    /// 400 if the request has either `temperature` or `top_p`.
    RefuseSampling,
    /// 404 on `/responses`, as of a server that has chat completions alone.
    ChatOnly,
    /// 400 on chat completions with function tools unless `reasoning_effort` is `none`, as OpenAI's reasoning models answer
    /// since GPT-5.4.
    ToolsNeedResponses,
    /// The response head is delayed by this time.
    LateHead(Duration),
    /// A TCP reset instead of a response head.
    Reset,
    /// The request is accepted and never answered.
    Silent,
    /// 200 with an HTML page.
    Html,
    /// 200 with an empty body.
    Empty,
    /// A stream where a plain response was requested, and the reverse.
    Swap,
    /// Every token carries this many bytes of text.
    Huge(usize),
    /// Streams have no usage, even if it was requested.
    NoUsage,
    /// The model declines to answer, in the way of the wire format.
    Declined,
    /// A filter stops the response at its end.
    Filtered,
    /// The head comes at once; the first token, or the plain body, is delayed by this time.
    LateFirstToken(Duration),
    /// The connection is closed after this many tokens, without the end of the chunked body.
    CutAfter(usize),
    /// A TCP reset after this many tokens.
    ResetAfter(usize),
    /// Nothing more comes after this many tokens, and the connection stays open.
    StallAfter(usize),
    /// An event that is not JSON comes after this many tokens, in addition to the valid ones.
    Malformed(usize),
    /// An event of an unknown type comes after this many tokens.
    Unknown(usize),
    /// A ping, or a comment if the format has no ping, comes before every token.
    Pings,
    /// The stream has no `[DONE]`, or no `message_stop`; Google's streams have neither anyway.
    NoDone,
    /// The stream has no event with the `finish_reason`, `stop_reason` or `finishReason`
    /// (and, for the Responses API, no `response.completed`).
    NoFinish,
    /// A 200 whose first event is an error; a `[DONE]` or `message_stop` follows it, for clients
    /// that are misled by it.
    ErrorFirst,
    /// An error event after this many tokens, then a `[DONE]` or `message_stop`.
    ErrorAfter(usize),
    /// The body is sent in separate writes of this many bytes.
    Split(usize),
    /// Lines end in CRLF.
    Crlf,
    /// The body is sent byte by byte, at this interval.
    Drip(Duration),
    /// `Content-Length` is that of the whole body, and the connection is closed after half of it.
    Short,
    /// The connection is closed in the middle of a chunked body.
    Chopped,
}

impl Fault {
    /// Returns this fault, for one request.
    #[must_use]
    pub fn once(self) -> Behavior {
        Behavior::from(self).times(1)
    }

    /// Returns this fault, for `times` requests.
    #[must_use]
    pub fn times(self, times: u64) -> Behavior {
        Behavior::from(self).times(times)
    }

    /// Returns this fault, for `percent` percent of the requests.
    #[must_use]
    pub fn percent(self, percent: u8) -> Behavior {
        Behavior::from(self).percent(percent)
    }

    /// Returns this fault, with a `Retry-After` header on the error, in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Behavior {
        Behavior::from(self).retry_after(seconds)
    }

    /// Returns this fault combined with another.
    #[must_use]
    pub fn and(self, other: Fault) -> Behavior {
        Behavior::from(self).and(other)
    }

    /// Returns this fault, for the requests of `scope`.
    #[must_use]
    pub fn on(self, scope: Scope) -> Behavior {
        Behavior::from(self).on(scope)
    }
}

/// The requests that a behaviour applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Model requests (`POST`).
    #[default]
    Answers,
    /// Requests for the list of models (`GET`), as health probes send them.
    Lists,
    /// All requests.
    Everything,
}

/// How requests are answered: the faults, how often they strike, and the pace and content of the response.
///
/// ```
/// use berry_simulated::{Behavior, Fault};
///
/// let behavior = Fault::Status(429).retry_after(2).once();
/// assert_eq!(behavior.retry_after, Some(2));
/// assert_eq!(behavior.times, Some(1));
/// assert!(Behavior::healthy().faults.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behavior {
    /// The faults.
    pub faults: Vec<Fault>,
    /// The `Retry-After` of errors, in seconds.
    pub retry_after: Option<u64>,
    /// The share of requests that it applies to, in percent, evenly spread; the others have no fault.
    pub percent: u8,
    /// The number of requests that it applies to; `None` is no bound.
    pub times: Option<u64>,
    /// The requests that it applies to.
    pub scope: Scope,
    /// The number of tokens in a response, instead of the provider's setting.
    pub tokens: Option<usize>,
    /// The time between tokens, instead of the provider's setting.
    pub per_token: Option<Duration>,
    /// The number of tool calls in the response to a request with tools.
    pub tools: usize,
    /// Whether text precedes the tool calls.
    pub talks: bool,
    /// The number of tokens of the prompt that came from a cache, at most all of them.
    pub cached: usize,
    /// Whether reasoning precedes the answer.
    pub reasoning: bool,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            faults: Vec::new(),
            retry_after: None,
            percent: 100,
            times: None,
            scope: Scope::default(),
            tokens: None,
            per_token: None,
            tools: 0,
            talks: false,
            cached: 0,
            reasoning: false,
        }
    }
}

impl From<Fault> for Behavior {
    fn from(fault: Fault) -> Self {
        Self { faults: vec![fault], ..Self::default() }
    }
}

impl Behavior {
    /// Returns the behaviour without faults.
    pub fn healthy() -> Self {
        Self::default()
    }

    /// Adds a fault.
    #[must_use]
    pub fn and(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Applies to one request.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Applies to `times` requests.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Applies to `percent` percent of the requests, at most 100.
    #[must_use]
    pub fn percent(mut self, percent: u8) -> Self {
        self.percent = percent.min(100);
        self
    }

    /// Adds `Retry-After` to errors, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Applies to the requests of `scope`.
    #[must_use]
    pub fn on(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets the number of tokens in a response.
    #[must_use]
    pub fn tokens(mut self, tokens: usize) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Sets the time between tokens.
    #[must_use]
    pub fn per_token(mut self, wait: Duration) -> Self {
        self.per_token = Some(wait);
        self
    }

    /// Sets the number of tool calls in the response to a request with tools.
    #[must_use]
    pub fn tools(mut self, calls: usize) -> Self {
        self.tools = calls;
        self
    }

    /// Adds reasoning before the answer.
    #[must_use]
    pub fn reasoning(mut self) -> Self {
        self.reasoning = true;
        self
    }

    pub(super) fn find<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.faults.iter().find_map(pick)
    }

    pub(super) fn has(&self, fault: &Fault) -> bool {
        self.faults.contains(fault)
    }
}

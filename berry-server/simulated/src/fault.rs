//! What can go wrong with an answer, and when it does.

use super::refusal::Refusal;
use std::time::Duration;

/// For [`Fault::CutAfter`], [`Fault::ResetAfter`] and [`Fault::StallAfter`]: the break comes after
/// the last `finish_reason`, just before what ends the stream.
pub const AFTER_FINISH: usize = usize::MAX;

/// One thing that goes wrong.
///
/// Faults can be joined ([`Behavior::and`]): CRLF line ends and a cut after ten tokens, for
/// example. Of two that exclude each other the first counts. "Token" means one event of a stream
/// that carries output. A plain answer has no tokens, so there the stream's faults mean what comes
/// nearest: a break in the middle of the body for a cut, reset or stall, half a JSON document for a
/// malformed event, a 200 with an error object for an error event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An error with this status, worded as providers word it.
    Status(u16),
    /// An error of your own.
    Refuse(Refusal),
    /// 400 `context_length_exceeded`.
    ContextLength,
    /// 400 `content_policy_violation`.
    ContentPolicy,
    /// 401 `invalid_api_key`, whatever the key.
    BadKey,
    /// 429 `insufficient_quota`.
    Quota,
    /// 503 with an overload error.
    Overloaded,
    /// 400 that names `stream_options`, when the request has it.
    RefuseStreamOptions,
    /// 400 that names `max_tokens`, when the request has it.
    RefuseMaxTokens,
    /// 400 when the request has both `temperature` and `top_p`.
    RefuseBothSamplings,
    /// 400 when the request has either `temperature` or `top_p`.
    RefuseSampling,
    /// The response head comes this late.
    LateHead(Duration),
    /// A TCP reset in place of a response head.
    Reset,
    /// The request is taken and never answered.
    Silent,
    /// 200 with an HTML page.
    Html,
    /// 200 with an empty body.
    Empty,
    /// A stream where a plain answer was asked, and the reverse.
    Swap,
    /// Every token carries this many bytes of text.
    Huge(usize),
    /// Streams carry no usage, whatever was asked.
    NoUsage,
    /// The model declines to answer, in the way that the dialect has for it.
    Declined,
    /// A filter stops the answer at its end.
    Filtered,
    /// The head comes at once, the first token (or the plain body) this late.
    LateFirstToken(Duration),
    /// The connection is closed after this many tokens, without the end of the chunked body.
    CutAfter(usize),
    /// A TCP reset after this many tokens.
    ResetAfter(usize),
    /// Nothing more comes after this many tokens, and the connection stays open.
    StallAfter(usize),
    /// An event that is no JSON comes after this many tokens, in addition to the good ones.
    Malformed(usize),
    /// An event of an unknown type comes after this many tokens.
    Unknown(usize),
    /// A ping, or a comment where the format has none, comes before every token.
    Pings,
    /// The stream has no `[DONE]`, or no `message_stop`; Google's streams have neither anyway.
    NoDone,
    /// The stream has no event that tells the `finish_reason`, `stop_reason` or `finishReason`
    /// (and, for the Responses API, no `response.completed`).
    NoFinish,
    /// A 200 whose first event is an error; a `[DONE]` or `message_stop` follows it, for clients
    /// that fall for it.
    ErrorFirst,
    /// An error event after this many tokens, then a `[DONE]` or `message_stop`.
    ErrorAfter(usize),
    /// The body is sent in pieces of this many bytes, each written by itself.
    Split(usize),
    /// Lines end in CRLF.
    Crlf,
    /// One byte at a time, this far apart.
    Drip(Duration),
    /// `Content-Length` promises the whole body, half of it comes, the connection is closed.
    Short,
    /// A chunked body that is closed halfway.
    Chopped,
}

impl Fault {
    /// This fault, once.
    #[must_use]
    pub fn once(self) -> Behavior {
        Behavior::from(self).times(1)
    }

    /// This fault, for so many requests.
    #[must_use]
    pub fn times(self, times: u64) -> Behavior {
        Behavior::from(self).times(times)
    }

    /// This fault, for so many of a hundred requests.
    #[must_use]
    pub fn percent(self, percent: u8) -> Behavior {
        Behavior::from(self).percent(percent)
    }

    /// This fault, with a `Retry-After` header (in seconds) on the error.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Behavior {
        Behavior::from(self).retry_after(seconds)
    }

    /// This fault together with another.
    #[must_use]
    pub fn and(self, other: Fault) -> Behavior {
        Behavior::from(self).and(other)
    }

    /// This fault, for the requests named.
    #[must_use]
    pub fn on(self, scope: Scope) -> Behavior {
        Behavior::from(self).on(scope)
    }
}

/// The requests that a behaviour is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those that ask for an answer (`POST`).
    #[default]
    Answers,
    /// The lists of models (`GET`), which health probes ask for.
    Lists,
    /// All.
    Everything,
}

/// How requests are answered: the faults, how often they strike, and the answer's pace and shape.
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
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// `Retry-After` on errors, in seconds.
    pub retry_after: Option<u64>,
    /// How many of a hundred requests it is for, evenly spread; the others are answered well.
    pub percent: u8,
    /// After how many requests it is over; for ever when there is no number.
    pub times: Option<u64>,
    /// The requests that it is for.
    pub scope: Scope,
    /// The number of tokens in an answer, in place of the provider's.
    pub tokens: Option<usize>,
    /// The time between tokens, in place of the provider's.
    pub per_token: Option<Duration>,
    /// Answer with so many tool calls when the request has tools.
    pub tools: usize,
    /// Say something before the tool calls.
    pub talks: bool,
    /// So many tokens of the prompt came from a cache, as far as it has so many.
    pub cached: usize,
    /// Send reasoning before the answer.
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
    /// No fault.
    pub fn healthy() -> Self {
        Self::default()
    }

    /// Adds a fault.
    #[must_use]
    pub fn and(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// For one request.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// For so many requests.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// For so many of a hundred requests; more than 100 is 100.
    #[must_use]
    pub fn percent(mut self, percent: u8) -> Self {
        self.percent = percent.min(100);
        self
    }

    /// Errors carry `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// For the requests named.
    #[must_use]
    pub fn on(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Answers have so many tokens.
    #[must_use]
    pub fn tokens(mut self, tokens: usize) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Tokens come this far apart.
    #[must_use]
    pub fn per_token(mut self, wait: Duration) -> Self {
        self.per_token = Some(wait);
        self
    }

    /// Answers with so many tool calls when the request has tools.
    #[must_use]
    pub fn tools(mut self, calls: usize) -> Self {
        self.tools = calls;
        self
    }

    /// Sends reasoning before the answer.
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

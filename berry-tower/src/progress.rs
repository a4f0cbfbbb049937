//! How far an answer has come; on responses, put by the client that reads the upstream's bytes.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use tokio::time::Instant;

/// Which grammar a stream follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// OpenAI's chat completions: a `finish_reason` for every choice, then `[DONE]`.
    Chat,
    /// OpenAI's older completions, which end in the same way.
    Completions,
    /// OpenAI's Responses API: ends with `response.completed`, `.incomplete` or `.failed`.
    Responses,
    /// Anthropic's Messages API: ends with `message_stop`.
    Messages,
    /// Anything else, such as speech: passes untouched, and ends as the upstream ends it.
    Opaque,
}

/// Tokens, as the upstream counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the question, those read from a cache included.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// How many of `input` came from a cache.
    pub cached: u64,
}

/// What of an answer must be there before its head may go to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitPoint {
    /// A stream: the first event that bears output.
    Output,
    /// A plain answer: all of it.
    Whole,
    /// Anything else: the first byte.
    FirstByte,
}

/// An answer's progress, shared by the body that is read and by whoever watches it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Progress(Arc<State>);

#[derive(Debug)]
struct State {
    hold: CommitPoint,
    grammar: Grammar,
    output: AtomicBool,
    finished: AtomicBool,
    between_events: AtomicBool,
    events: AtomicU64,
    malformed: AtomicU64,
    first_output: OnceLock<Instant>,
    usage: [AtomicU64; 3],
    has_usage: AtomicBool,
}

impl Progress {
    /// An answer of which nothing has been read.
    #[must_use]
    pub fn new(hold: CommitPoint, grammar: Grammar) -> Self {
        Self(Arc::new(State {
            hold,
            grammar,
            output: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            between_events: AtomicBool::new(true),
            events: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            first_output: OnceLock::new(),
            usage: Default::default(),
            has_usage: AtomicBool::new(false),
        }))
    }

    /// What must be there before the head may go.
    #[must_use]
    pub fn hold(&self) -> CommitPoint {
        self.0.hold
    }

    /// The grammar of a stream; [`Grammar::Opaque`] for all else.
    #[must_use]
    pub fn grammar(&self) -> Grammar {
        self.0.grammar
    }

    /// Whether it is a stream of events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.0.hold == CommitPoint::Output
    }

    /// Whether something that bears output has been read.
    #[must_use]
    pub fn output_seen(&self) -> bool {
        self.0.output.load(Relaxed)
    }

    /// Whether what has been read shows that the upstream serves the request: the first output of a
    /// stream, or the first bytes of any other body.
    #[cfg(feature = "breaker")]
    pub(crate) fn shows_output(&self) -> bool {
        !self.is_stream() || self.output_seen()
    }

    /// When it was.
    #[must_use]
    pub fn first_output(&self) -> Option<Instant> {
        self.0.first_output.get().copied()
    }

    /// Whether the answer is complete by its own grammar.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.0.finished.load(Relaxed)
    }

    /// Whether what has been handed on ends between two events, so that a comment may follow.
    #[must_use]
    pub fn between_events(&self) -> bool {
        self.0.between_events.load(Relaxed)
    }

    /// How many events were read.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.0.events.load(Relaxed)
    }

    /// How many events were left out since they were malformed.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.0.malformed.load(Relaxed)
    }

    /// The tokens, as the upstream counted them.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        let [input, output, cached] = self.0.usage.each_ref().map(|n| n.load(Relaxed));
        self.0.has_usage.load(Relaxed).then_some(Usage { input, output, cached })
    }

    /// Says that something that bears output has been read. A client of your own calls this, and the
    /// other setters, as it reads.
    pub fn mark_output_started(&self) {
        if !self.0.output.swap(true, Relaxed) {
            let _ = self.0.first_output.set(Instant::now());
        }
    }

    /// Says that the answer is complete.
    pub fn set_finished(&self) {
        self.0.finished.store(true, Relaxed);
    }

    /// Says how many events were read, how many of them were left out, and whether what has been
    /// handed on ends between two events.
    pub fn set_events(&self, events: u64, malformed: u64, between: bool) {
        self.0.events.store(events, Relaxed);
        self.0.malformed.store(malformed, Relaxed);
        self.0.between_events.store(between, Relaxed);
    }

    /// Says what the upstream has counted.
    pub fn set_usage(&self, usage: Option<Usage>) {
        let Some(Usage { input, output, cached }) = usage else { return };
        for (slot, n) in self.0.usage.iter().zip([input, output, cached]) {
            slot.store(n, Relaxed);
        }
        self.0.has_usage.store(true, Relaxed);
    }
}

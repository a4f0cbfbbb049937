//! The progress of a response body, shared by the body and those who watch it.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use tokio::time::Instant;

use crate::{
    attempt::{Attempt, BackendId},
    body::ByteBudget,
    sync,
};

/// The grammar of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grammar {
    /// OpenAI's chat completions: a `finish_reason` for every choice, then `[DONE]`.
    Chat,
    /// OpenAI's older completions, which end in the same way.
    Completions,
    /// OpenAI's Responses API: ends with `response.completed`, `.incomplete` or `.failed`.
    Responses,
    /// Anthropic's Messages API: ends with `message_stop`.
    Messages,
    /// Anything else, such as speech. It passes unchanged and ends as the upstream ends it.
    Opaque,
}

/// The most tokens of one kind that a response is believed to have. An upstream that reports more is broken, and sums of
/// such numbers would overflow.
const MAX_TOKENS: u64 = 1 << 40;

/// The numbers of tokens, as the upstream counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request, those read from a cache included.
    pub input: u64,
    /// Tokens of the response.
    pub output: u64,
    /// How many of `input` were read from a cache.
    pub cached: u64,
    /// How many of `input` were written to a cache.
    pub cache_write: u64,
    /// How many of `output` are reasoning.
    pub reasoning: u64,
}

/// The part of a response that must be there before its head is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitPoint {
    /// Of a stream: the first event that carries output.
    Output,
    /// Of a plain response: all of it.
    Whole,
    /// Of anything else: the first byte.
    FirstByte,
}

/// The progress of a response body. It is an extension of responses, inserted by the client that
/// reads the upstream's bytes. Cloning it is cheap, and all clones share their state.
///
/// ```
/// use berry_tower::progress::{CommitPoint, Grammar, Progress, Usage};
///
/// let progress = Progress::new(CommitPoint::Output, Grammar::Chat);
/// let watcher = progress.clone();
/// assert_eq!((watcher.output_seen(), watcher.usage()), (false, None));
///
/// let usage = Usage { input: 7, output: 2, ..Usage::default() };
/// progress.mark_output_started();
/// progress.set_usage(Some(usage));
/// assert_eq!((watcher.output_seen(), watcher.usage()), (true, Some(usage)));
/// ```
#[derive(Clone, Debug)]
pub struct Progress(Arc<State>);

#[derive(Debug)]
struct State {
    commit_point: CommitPoint,
    grammar: Grammar,
    output: AtomicBool,
    finished: AtomicBool,
    interrupted: AtomicBool,
    between_events: AtomicBool,
    events: AtomicU64,
    malformed: AtomicU64,
    first_output: OnceLock<Instant>,
    usage: UsageCell,
    attempts: AtomicU32,
    served_by: Latest,
    /// The progress of the response that this one announced before it was there.
    source: OnceLock<Progress>,
    budget: Option<ByteBudget>,
}

impl Progress {
    /// Returns the progress of a body of which nothing has been read.
    #[must_use]
    pub fn new(commit_point: CommitPoint, grammar: Grammar) -> Self {
        Self(Arc::new(State {
            commit_point,
            grammar,
            output: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            between_events: AtomicBool::new(true),
            events: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            first_output: OnceLock::new(),
            usage: UsageCell::new(),
            attempts: AtomicU32::new(0),
            served_by: Latest::default(),
            source: OnceLock::new(),
            budget: None,
        }))
    }

    /// Sets the budget that bytes of the response count against while a layer holds them back. It must
    /// be set before the progress is cloned.
    #[must_use]
    pub fn with_budget(mut self, budget: impl Into<Option<ByteBudget>>) -> Self {
        debug_assert!(Arc::strong_count(&self.0) == 1, "the budget is set after the progress was cloned");
        if let Some(state) = Arc::get_mut(&mut self.0) {
            state.budget = budget.into();
        }
        self
    }

    /// The budget that bytes of the response count against while a layer holds them back.
    #[must_use]
    pub fn budget(&self) -> Option<&ByteBudget> {
        self.0.budget.as_ref()
    }

    /// The state that is read: that of the response, where another announced it.
    fn state(&self) -> &State {
        match self.0.source.get() {
            Some(source) => source.state(),
            None => &self.0,
        }
    }

    /// The part of the response that must be there before its head is passed on.
    #[must_use]
    pub fn commit_point(&self) -> CommitPoint {
        self.0.commit_point
    }

    /// The grammar of a stream; [`Grammar::Opaque`] for anything else.
    #[must_use]
    pub fn grammar(&self) -> Grammar {
        self.0.grammar
    }

    /// Whether the response is a stream of events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.0.commit_point == CommitPoint::Output
    }

    /// Whether a part that carries output has been read.
    #[must_use]
    pub fn output_seen(&self) -> bool {
        self.state().output.load(Relaxed)
    }

    /// Whether what has been read shows that the upstream serves the request: the first output of a
    /// stream, or the first bytes of any other body.
    #[cfg(feature = "breaker")]
    pub(crate) fn shows_output(&self) -> bool {
        !self.is_stream() || self.output_seen()
    }

    /// The time at which the first output was read.
    #[must_use]
    pub fn first_output(&self) -> Option<Instant> {
        self.state().first_output.get().copied()
    }

    /// Whether the response is complete by its own grammar.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.state().finished.load(Relaxed)
    }

    /// Whether the gateway has ended the stream with an error event.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.0.interrupted.load(Relaxed) || self.state().interrupted.load(Relaxed)
    }

    /// Whether the bytes passed on so far end between two events, so that a comment may follow.
    #[must_use]
    pub fn between_events(&self) -> bool {
        self.state().between_events.load(Relaxed)
    }

    /// The number of events that were read.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.state().events.load(Relaxed)
    }

    /// The number of events that were left out because they were malformed.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.state().malformed.load(Relaxed)
    }

    /// The tokens, as the upstream has counted them so far.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.state().usage.load()
    }

    /// The number of attempts for this response, where more were made after its head had been
    /// passed on; `None` where the head's own [`Attempt`] is right.
    #[must_use]
    pub fn attempts(&self) -> Option<u32> {
        let attempts = self.0.attempts.load(Relaxed).max(self.state().attempts.load(Relaxed));
        (attempts > 0).then_some(attempts)
    }

    /// The attempt that provides the rest of the response, where it began after the head had been
    /// passed on; `None` where the head names the right backend.
    #[must_use]
    pub fn continued_by(&self) -> Option<&Continuation> {
        self.state().served_by.get().or_else(|| self.0.served_by.get())
    }

    /// Records that a part that carries output has been read. A client of your own calls this and
    /// the other setters as it reads.
    pub fn mark_output_started(&self) {
        if !self.0.output.load(Relaxed) && !self.0.output.swap(true, Relaxed) {
            let _ = self.0.first_output.set(Instant::now());
        }
    }

    /// Records that the response is complete.
    pub fn set_finished(&self) {
        self.0.finished.store(true, Relaxed);
    }

    /// Records that the stream was ended with an error event.
    pub fn set_interrupted(&self) {
        self.0.interrupted.store(true, Relaxed);
    }

    /// Records how many events were read, how many of them were left out, and whether the bytes
    /// passed on end between two events.
    pub fn set_events(&self, events: u64, malformed: u64, between: bool) {
        self.0.events.store(events, Relaxed);
        self.0.malformed.store(malformed, Relaxed);
        self.0.between_events.store(between, Relaxed);
    }

    /// Records the tokens that the upstream has counted; `None` changes nothing. More than 2⁴⁰ of a kind count as 2⁴⁰.
    pub fn set_usage(&self, usage: Option<Usage>) {
        let Some(Usage { input, output, cached, cache_write, reasoning }) = usage else { return };
        let [input, output, cached, cache_write, reasoning] =
            [input, output, cached, cache_write, reasoning].map(|tokens| tokens.min(MAX_TOKENS));
        self.0.usage.store(Usage { input, output, cached, cache_write, reasoning });
    }

    /// Records that `attempt` provides the rest of the response.
    pub fn set_continued_by(&self, attempt: &Attempt) {
        self.set_attempts(attempt.number());
        if let Some(backend) = attempt.backend() {
            self.0.served_by.set(Continuation { backend: backend.clone(), fallback_index: attempt.fallback_index() });
        }
    }

    /// Records the number of attempts that were made for this response.
    pub fn set_attempts(&self, attempts: u32) {
        self.0.attempts.fetch_max(attempts, Relaxed);
    }

    /// Makes this the progress of a response that has another one already. Only the first call has
    /// an effect.
    #[cfg(any(test, feature = "early"))]
    pub(crate) fn follow(&self, source: Self) {
        if !Arc::ptr_eq(&self.0, &source.0) {
            let _ = self.0.source.set(source);
        }
    }
}

/// The backend that provides the rest of a response whose head named another one, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Continuation {
    /// The backend.
    pub backend: BackendId,
    /// 0 for the model that the request names, k for its k-th fallback.
    pub fallback_index: u32,
}

/// The last of a few values, readable without a lock. Earlier values are kept until all are dropped.
#[derive(Default)]
struct Latest(OnceLock<Box<(Continuation, Self)>>);

impl Latest {
    fn get(&self) -> Option<&Continuation> {
        let (mut value, mut rest) = self.0.get().map(|node| (&node.0, &node.1))?;
        while let Some(node) = rest.0.get() {
            (value, rest) = (&node.0, &node.1);
        }
        Some(value)
    }

    fn set(&self, value: Continuation) {
        let mut end = self;
        let mut node = Box::new((value, Self::default()));
        loop {
            match end.0.set(node) {
                Ok(()) => return,
                Err(back) => node = back,
            }
            match end.0.get() {
                Some(next) => end = &next.1,
                // A cell that refuses a value has one.
                None => return,
            }
        }
    }
}

impl fmt::Debug for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

/// The numbers of tokens, read and written as one: a sequence lock whose data are atomics.
///
/// The version is 0 before the first write, odd during one, and even after it.
#[derive(Debug)]
struct UsageCell {
    version: sync::AtomicU64,
    usage: [sync::AtomicU64; 5],
}

impl UsageCell {
    fn new() -> Self {
        let zero = || sync::AtomicU64::new(0);
        Self { version: zero(), usage: [zero(), zero(), zero(), zero(), zero()] }
    }

    fn load(&self) -> Option<Usage> {
        loop {
            let version = self.version.load(sync::Ordering::Acquire);
            if version == 0 {
                return None;
            }
            if let Some(usage) = self.read(version) {
                return Some(usage);
            }
            sync::spin_loop();
        }
    }

    /// Usually one body writes. Several writers wait for each other.
    fn store(&self, usage: Usage) {
        let version = loop {
            let version = self.version.load(sync::Ordering::Acquire);
            if version.is_multiple_of(2) {
                // The count is set at every frame and changes seldom.
                if version > 0 && self.read(version) == Some(usage) {
                    return;
                }
                let odd = version + 1;
                if self.version.compare_exchange(version, odd, sync::Ordering::Acquire, sync::Ordering::Relaxed).is_ok()
                {
                    break odd;
                }
            }
            sync::spin_loop();
        };
        sync::fence(sync::Ordering::Release);
        let counts = [usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning];
        for (word, count) in self.usage.iter().zip(counts) {
            word.store(count, sync::Ordering::Relaxed);
        }
        self.version.store(version + 1, sync::Ordering::Release);
    }

    /// Returns the counts of this version, unless they are being replaced.
    fn read(&self, version: u64) -> Option<Usage> {
        if !version.is_multiple_of(2) {
            return None;
        }
        let counts = self.usage.each_ref().map(|word| word.load(sync::Ordering::Relaxed));
        let [input, output, cached, cache_write, reasoning] = counts;
        sync::fence(sync::Ordering::Acquire);
        let is_unchanged = self.version.load(sync::Ordering::Relaxed) == version;
        is_unchanged.then_some(Usage { input, output, cached, cache_write, reasoning })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;

    use super::*;

    const fn usage(tokens: u64) -> Usage {
        Usage { input: tokens, output: tokens, cached: tokens, cache_write: tokens, reasoning: tokens }
    }

    #[test]
    fn usage_is_read_as_it_was_written() {
        for _ in 0..100 {
            let progress = Progress::new(CommitPoint::Output, Grammar::Chat);
            thread::scope(|scope| {
                for writer in 0..2 {
                    let progress = &progress;
                    scope.spawn(move || (1..200).for_each(|n| progress.set_usage(Some(usage(2 * n + writer)))));
                }
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let Some(read) = progress.usage() else { continue };
                        assert_eq!(read, usage(read.input));
                    }
                });
            });
            assert!(progress.usage().is_some());
        }
    }

    #[test]
    fn absurd_counts_are_bounded() {
        let progress = Progress::new(CommitPoint::Whole, Grammar::Chat);
        progress.set_usage(Some(Usage { output: 7, ..usage(u64::MAX) }));
        assert_eq!(progress.usage(), Some(Usage { output: 7, ..usage(MAX_TOKENS) }));
    }

    #[test]
    fn last_continuation_counts() {
        let progress = Progress::new(CommitPoint::Output, Grammar::Chat);
        assert_eq!((progress.attempts(), progress.continued_by()), (None, None));
        let mut attempt = Attempt::first();
        for name in ["a", "b", "c"] {
            attempt = attempt.next(crate::classify::Class::Network, false);
            attempt.record_backend(BackendId { provider: name.into(), model: "m".into() });
            progress.set_continued_by(&attempt);
            assert_eq!(&*progress.continued_by().unwrap().backend.provider, name);
        }
        assert_eq!(progress.attempts(), Some(4));
    }

    #[test]
    fn announced_progress_follows_that_of_the_response() {
        let announced = Progress::new(CommitPoint::Output, Grammar::Chat);
        let response = Progress::new(CommitPoint::Output, Grammar::Chat);
        announced.follow(response.clone());
        response.mark_output_started();
        response.set_usage(Some(usage(3)));
        assert!(announced.output_seen() && announced.first_output().is_some());
        assert_eq!(announced.usage(), Some(usage(3)));
        announced.set_interrupted();
        assert!(announced.is_interrupted() && !response.is_interrupted());
    }
}

//! Tracks a stream by the grammar of its endpoint, and decides whether it is complete.

use super::counts::Counts;
use super::event::Event;
use super::event_type::EventType;
use super::scan::{Choice, Facts, MOST_CHOICES};
use super::{Grammar, StreamFault, Usage};

/// What the filter does with an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// The event is valid but hidden from the client.
    Hide,
    /// The event is dropped, since it would break the client's parser.
    Malformed,
    /// The event is passed and ends the stream.
    Close,
    Fault(StreamFault),
}

/// The choices of a stream that have appeared and that have finished, as bit sets.
#[derive(Default)]
struct Choices {
    finished: Vec<u64>,
    seen: Vec<u64>,
    finished_count: usize,
    seen_count: usize,
    /// Whether a choice continued after its finish: from then on only a clean end makes the stream complete.
    has_continued: bool,
    /// A choice with an unusable index appeared.
    odd: bool,
}

impl Choices {
    fn mark(&mut self, choice: Choice) {
        let Some(index) = choice.index else {
            self.odd = true;
            return;
        };
        self.seen_count += usize::from(set(&mut self.seen, index));
        if choice.has_output && self.finished_count > 0 && clear(&mut self.finished, index) {
            self.finished_count -= 1;
            self.has_continued = true;
        }
        if choice.finished {
            self.finished_count += usize::from(set(&mut self.finished, index));
        }
    }

    fn all_finished(&self, expected: usize) -> bool {
        !self.odd && self.finished_count == self.seen_count && self.finished_count >= expected
    }
}

/// Clears a bit; returns whether it was set.
fn clear(bits: &mut [u64], index: u16) -> bool {
    let bit = 1 << (index % 64);
    let Some(word) = bits.get_mut(usize::from(index / 64)) else { return false };
    let was_set = *word & bit != 0;
    *word &= !bit;
    was_set
}

/// Sets a bit; returns whether it was clear.
fn set(bits: &mut Vec<u64>, index: u16) -> bool {
    let (word, bit) = (usize::from(index / 64), 1 << (index % 64));
    debug_assert!(usize::from(index) < MOST_CHOICES);
    if bits.len() <= word {
        bits.resize(word + 1, 0);
    }
    let was_clear = bits[word] & bit == 0;
    bits[word] |= bit;
    was_clear
}

/// The state of a stream that is not opaque.
pub(super) struct Progress {
    grammar: Grammar,
    hide_usage: bool,
    expected: usize,
    choices: Choices,
    /// The Responses or Messages API ended the stream.
    ended: bool,
    /// The Messages API sent a stop reason.
    reason: bool,
    output: bool,
    adds_done: bool,
    counts: Counts,
}

impl Progress {
    pub(super) fn new(grammar: Grammar, hide_usage: bool) -> Self {
        Self {
            grammar,
            hide_usage,
            expected: 1,
            choices: Choices::default(),
            ended: false,
            reason: false,
            output: false,
            adds_done: false,
            counts: Counts::default(),
        }
    }

    pub(super) fn expect(&mut self, choices: usize) {
        self.expected = choices;
    }

    pub(super) fn grammar(&self) -> Grammar {
        self.grammar
    }

    /// Whether an event with output has passed.
    pub(super) fn output(&self) -> bool {
        self.output
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.counts.usage()
    }

    /// Whether the stream ends with `[DONE]`.
    pub(super) fn wants_done(&self) -> bool {
        matches!(self.grammar, Grammar::Chat | Grammar::Completions)
    }

    /// Whether `[DONE]` follows the event that ends the response.
    pub(super) fn adds_done(&self) -> bool {
        self.grammar == Grammar::Responses && self.adds_done
    }

    pub(super) fn set_adds_done(&mut self, adds_done: bool) {
        self.adds_done = adds_done;
    }

    /// Whether the response is complete even if the stream breaks off here.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole_at_end() && !self.choices.has_continued
    }

    /// Whether the response is complete if the stream ends cleanly here.
    pub(super) fn is_whole_at_end(&self) -> bool {
        self.ended || (self.wants_done() && self.choices.all_finished(self.expected))
    }

    /// The fault of a stream that ends here while it is incomplete.
    pub(super) fn cut(&self) -> StreamFault {
        if self.output { StreamFault::Interrupted } else { StreamFault::NoOutput }
    }

    /// Whether what has come of an event that is not complete bears output already. Its line `event` may
    /// lack its end, and does not count.
    pub(super) fn bears_output_so_far(&self, event: &Event) -> bool {
        self.bears_output(event.facts.kind, &event.facts)
    }

    fn bears_output(&self, kind: EventType, facts: &Facts) -> bool {
        match self.grammar {
            Grammar::Chat | Grammar::Completions => facts.output,
            Grammar::Responses => match kind {
                EventType::ResponseDelta => facts.delta_output,
                EventType::ItemDone | EventType::ResponseEnd | EventType::ResponseFailed => true,
                _ => false,
            },
            Grammar::Messages => match kind {
                EventType::BlockStart => facts.block_output,
                EventType::BlockDelta => facts.delta_output,
                EventType::MessageDelta => facts.stop,
                _ => false,
            },
            Grammar::Opaque => true,
        }
    }

    /// Processes a complete event.
    pub(super) fn take(&mut self, event: &mut Event) -> Verdict {
        if !event.has_data() {
            return Verdict::Pass;
        }
        if event.is_done() {
            return self.take_done();
        }
        if !event.is_object() {
            return Verdict::Malformed;
        }
        let is_choices = matches!(self.grammar, Grammar::Chat | Grammar::Completions);
        if event.is_error() || is_choices && event.facts.detail && !event.facts.choices_listed {
            // After the end an error changes nothing.
            return if self.ended { Verdict::Hide } else { fault(&mut event.facts) };
        }
        self.counts.merge(&event.facts.counts);
        match self.grammar {
            Grammar::Chat | Grammar::Completions => self.take_choices(event),
            Grammar::Responses => self.take_response(event),
            Grammar::Messages => self.take_message(event),
            Grammar::Opaque => Verdict::Pass,
        }
    }

    fn take_done(&self) -> Verdict {
        // Every choice that has appeared has finished, however many were asked for.
        match (self.ended || self.choices.all_finished(1), self.wants_done()) {
            (true, true) => Verdict::Close,
            (true, false) => Verdict::Pass,
            (false, true) => Verdict::Fault(self.cut()),
            (false, false) => Verdict::Malformed,
        }
    }

    fn take_choices(&mut self, event: &Event) -> Verdict {
        let facts = &event.facts;
        for choice in &facts.choices {
            self.choices.mark(*choice);
        }
        self.output |= facts.output;
        let only_usage = facts.choices_listed && !facts.choices_filled && facts.usage_object;
        if self.hide_usage && only_usage { Verdict::Hide } else { Verdict::Pass }
    }

    fn take_response(&mut self, event: &mut Event) -> Verdict {
        let kind = event.kind();
        if kind == EventType::ResponseFailed && !self.output {
            return fault(&mut event.facts);
        }
        self.output |= self.bears_output(kind, &event.facts);
        if matches!(kind, EventType::ResponseEnd | EventType::ResponseFailed) {
            self.ended = true;
            return Verdict::Close;
        }
        Verdict::Pass
    }

    fn take_message(&mut self, event: &Event) -> Verdict {
        self.output |= self.bears_output(event.kind(), &event.facts);
        self.reason |= event.kind() == EventType::MessageDelta && event.facts.stop;
        if event.kind() == EventType::MessageStop {
            if !self.reason {
                return Verdict::Fault(self.cut());
            }
            self.ended = true;
            return Verdict::Close;
        }
        Verdict::Pass
    }
}

fn fault(facts: &mut Facts) -> Verdict {
    Verdict::Fault(StreamFault::Error(std::mem::take(&mut facts.error)))
}

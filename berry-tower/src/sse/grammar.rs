//! What has been seen of a stream by the grammar of its endpoint, and whether it may end well.

use super::counts::Counts;
use super::event::Event;
use super::event_type::EventType;
use super::scan::{Choice, Facts, MOST_CHOICES};
use super::{Grammar, StreamFault, Usage};

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// Not for the client, and nothing wrong with it.
    Hide,
    /// Would break the client's parser.
    Malformed,
    /// It passes, and the stream is over with it.
    Close,
    Fault(StreamFault),
}

/// The choices of a stream: which have appeared, which are finished, as one bit for each.
#[derive(Default)]
struct Choices {
    finished: Vec<u64>,
    seen: Vec<u64>,
    finished_count: usize,
    seen_count: usize,
    /// A choice went on after its finish: from then on only the stream's clean end says that it is whole.
    has_continued: bool,
    /// One appeared that cannot be told by its index.
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

/// Clears a bit; tells whether it was set before.
fn clear(bits: &mut [u64], index: u16) -> bool {
    let bit = 1 << (index % 64);
    let Some(word) = bits.get_mut(usize::from(index / 64)) else { return false };
    let was_set = *word & bit != 0;
    *word &= !bit;
    was_set
}

/// Sets a bit; tells whether it was clear before.
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
    /// The Responses or the Messages API said that this is the end.
    ended: bool,
    /// The Messages API has said why the answer ends.
    reason: bool,
    output: bool,
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
            counts: Counts::default(),
        }
    }

    pub(super) fn expect(&mut self, choices: usize) {
        self.expected = choices;
    }

    pub(super) fn grammar(&self) -> Grammar {
        self.grammar
    }

    /// An event that bears output has passed.
    pub(super) fn output(&self) -> bool {
        self.output
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.counts.usage()
    }

    /// The stream ends with `[DONE]`.
    pub(super) fn wants_done(&self) -> bool {
        matches!(self.grammar, Grammar::Chat | Grammar::Completions)
    }

    /// The answer is complete, whatever becomes of the stream from here on.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole_at_end() && !self.choices.has_continued
    }

    /// The answer is complete if the stream ends cleanly here.
    pub(super) fn is_whole_at_end(&self) -> bool {
        self.ended || (self.wants_done() && self.choices.all_finished(self.expected))
    }

    /// The fault of a stream that ends here without being whole.
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
            Grammar::Responses => {
                matches!(kind, EventType::ResponsePart | EventType::ResponseEnd | EventType::ResponseFailed)
            }
            Grammar::Messages => match kind {
                EventType::BlockStart => facts.block_output,
                EventType::BlockDelta => facts.delta_output,
                EventType::MessageDelta => facts.stop,
                _ => false,
            },
            Grammar::Opaque => true,
        }
    }

    /// Takes in an event that is complete.
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
            // Behind the end it cannot take anything back.
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
        self.ended |= matches!(kind, EventType::ResponseEnd | EventType::ResponseFailed);
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

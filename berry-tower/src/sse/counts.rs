//! Token counts under the names of each protocol.

use super::Usage;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Prompt,
    Input,
    Output,
    Cached,
    CacheRead,
    CacheCreation,
    /// Tokens that were written to a cache, as a part of the input.
    CacheWrite,
    Reasoning,
}

/// Token counts under their names in the protocols; a later one replaces an earlier one unless it is 0.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    prompt: Option<u64>,
    input: Option<u64>,
    output: Option<u64>,
    cached: Option<u64>,
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
    cache_write: Option<u64>,
    reasoning: Option<u64>,
}

impl Counts {
    pub(super) fn slot(&mut self, count: Count) -> &mut Option<u64> {
        match count {
            Count::Prompt => &mut self.prompt,
            Count::Input => &mut self.input,
            Count::Output => &mut self.output,
            Count::Cached => &mut self.cached,
            Count::CacheRead => &mut self.cache_read,
            Count::CacheCreation => &mut self.cache_creation,
            Count::CacheWrite => &mut self.cache_write,
            Count::Reasoning => &mut self.reasoning,
        }
    }

    /// Takes over later counts; none of 0 takes back an earlier one.
    pub(super) fn merge(&mut self, later: &Self) {
        let newer = |old: &mut Option<u64>, new: Option<u64>| *old = new.filter(|new| *new > 0).or(*old).or(new);
        newer(&mut self.prompt, later.prompt);
        newer(&mut self.input, later.input);
        newer(&mut self.output, later.output);
        newer(&mut self.cached, later.cached);
        newer(&mut self.cache_read, later.cache_read);
        newer(&mut self.cache_creation, later.cache_creation);
        newer(&mut self.cache_write, later.cache_write);
        newer(&mut self.reasoning, later.reasoning);
    }

    /// The sum of it. Anthropic's `input_tokens` leave out what the cache read and wrote;
    /// `prompt_tokens` hold everything.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.prompt.or(self.input).or(self.output)?;
        let of = |count: Option<u64>| count.unwrap_or(0);
        let split = of(self.input).saturating_add(of(self.cache_read)).saturating_add(of(self.cache_creation));
        Some(Usage {
            input: self.prompt.unwrap_or(split),
            output: of(self.output),
            cached: of(self.cached.or(self.cache_read)),
            cache_write: of(self.cache_write.or(self.cache_creation)),
            reasoning: of(self.reasoning),
        })
    }
}

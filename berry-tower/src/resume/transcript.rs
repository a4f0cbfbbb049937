//! The text that a client has of a response.

use sha2::{Digest, Sha256};

use crate::body::ByteLease;

/// The text of a response, as a hash and a length.
#[derive(Clone, Debug, Default)]
pub(super) struct Transcript {
    digest: Sha256,
    length: u64,
    channel: Option<u8>,
}

impl Transcript {
    /// The length, with the marks.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Adds a mark that is no text, such as the end of a part. `mark` is less than 128.
    pub(super) fn mark(&mut self, mark: u8) {
        // Channels have lower numbers.
        self.digest.update([0xff, 0x80 | mark]);
        self.length += 2;
        self.channel = None;
    }

    /// Returns the bytes that mark a change to another channel. No text contains the first of them.
    fn channel_mark(&self, channel: u8) -> Option<[u8; 2]> {
        (self.channel != Some(channel)).then_some([0xff, channel])
    }

    /// Adds a text.
    pub(super) fn add(&mut self, channel: u8, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(mark) = self.channel_mark(channel) {
            self.digest.update(mark);
            self.length += mark.len() as u64;
            self.channel = Some(channel);
        }
        self.digest.update(text);
        self.length += text.len() as u64;
    }

    /// Adds the text until the length is `limit` and returns the rest; `None` when the limit is
    /// inside a character or a mark.
    pub(super) fn add_up_to<'a>(&mut self, channel: u8, text: &'a str, limit: u64) -> Option<&'a str> {
        if text.is_empty() {
            return Some("");
        }
        let mark = self.channel_mark(channel).map_or(0, |mark| mark.len() as u64);
        let room = limit.checked_sub(self.length + mark).filter(|room| *room > 0)?;
        let at = usize::try_from(room).unwrap_or(usize::MAX).min(text.len());
        let (here, rest) = text.split_at_checked(at)?;
        self.add(channel, here);
        Some(rest)
    }

    /// Whether two texts are equal.
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.length == other.length && self.digest.clone().finalize() == other.digest.clone().finalize()
    }
}

/// The most bytes of text that are kept as an assistant prefix. A longer response is sent again from
/// the beginning.
pub(super) const MAX_TEXT: usize = 256 << 10;

/// The text of a response, as far as it is kept.
#[derive(Debug, Default)]
pub(super) struct KeptText {
    text: String,
    /// Counts the text against the budget of the request.
    lease: Option<ByteLease>,
}

impl KeptText {
    /// No text yet; what is kept counts against `lease`.
    pub(super) const fn new(lease: Option<ByteLease>) -> Self {
        Self { text: String::new(), lease }
    }

    /// The text so far.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Adds to the text; returns `false` if there is no room.
    pub(super) fn push(&mut self, more: &str) -> bool {
        let length = self.text.len() + more.len();
        if length > MAX_TEXT {
            return false;
        }
        if length > self.text.capacity() {
            self.text.reserve(more.len());
            if self.lease.as_mut().is_some_and(|lease| !lease.try_resize(self.text.capacity())) {
                return false;
            }
        }
        self.text.push_str(more);
        true
    }
}

#[cfg(test)]
impl Clone for KeptText {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), lease: None }
    }
}

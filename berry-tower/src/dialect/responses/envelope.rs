//! Envelopes: what Claude and Gemini want back with a turn, as the `encrypted_content` of a reasoning item, and
//! what Gemini wants back as the data of a redacted block of Messages.
//!
//! An envelope is authenticated with a key of the backend's provider and bound to the provider, its model and the
//! reasoning's text. One that does not fit, such as one that another backend made, is left out of the request.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    sync::{Arc, OnceLock},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::dialect::hub;

/// The prefix of all envelopes; OpenAI's encrypted reasoning never begins with it.
const MARK: &str = "berry:";

/// The version of the format.
const VERSION: &str = "berry:1:";

/// The content of a reasoning item that no backend can use again.
pub(super) const UNSIGNED: &str = "berry:1:u";

/// The number of bytes of a code.
const CODE: usize = 16;

/// The number of bytes that tell backends apart.
const TAG: usize = 4;

/// Derives the key of a provider's seals from its API key or from a secret of the server, so that every instance of a
/// gateway opens the envelopes of the others. Without a secret it is a random one, which a restart forgets.
pub(crate) fn seal_key(secret: &[u8]) -> [u8; 32] {
    static RANDOM: OnceLock<[u64; 4]> = OnceLock::new();
    let mut hash = Sha256::new_with_prefix(b"berry: seals of reasoning");
    if secret.is_empty() {
        for random in RANDOM.get_or_init(|| [0; 4].map(|_: u64| RandomState::new().hash_one(0_u8))) {
            hash.update(random.to_le_bytes());
        }
    }
    hash.update(secret);
    hash.finalize().into()
}

/// What an envelope holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Kind {
    /// Anthropic's signature of the reasoning.
    Thinking,
    /// Anthropic's encrypted reasoning.
    Redacted,
    /// Google's signature of the call that follows.
    GoogleCall,
    /// Google's signature of the text before it.
    GoogleText,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Thinking, Self::Redacted, Self::GoogleCall, Self::GoogleText];

    const fn letter(self) -> &'static str {
        match self {
            Self::Thinking => "t",
            Self::Redacted => "r",
            Self::GoogleCall => "g",
            Self::GoogleText => "x",
        }
    }
}

/// Makes and opens the envelopes of one backend.
#[derive(Clone)]
pub(crate) struct Seal {
    key: Arc<[u8]>,
    origin: hub::Origin,
    tag: String,
}

impl fmt::Debug for Seal {
    // Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Seal {
    /// The seal of a provider's model, with the provider's key.
    pub(crate) fn new(key: Arc<[u8]>, provider: Arc<str>, model: Arc<str>) -> Self {
        let origin = hub::Origin { provider, model };
        let mut seal = Self { key, origin, tag: String::new() };
        seal.tag = seal.mac(&["tag"]).map_or_else(String::new, |mac| hex(&mac.finalize().into_bytes()[..TAG]));
        seal
    }

    /// The backend.
    pub(crate) const fn origin(&self) -> &hub::Origin {
        &self.origin
    }

    fn mac(&self, parts: &[&str]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        for part in [&*self.origin.provider, &*self.origin.model].into_iter().chain(parts.iter().copied()) {
            // The length keeps two neighbours from being taken for each other.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        Some(mac)
    }

    /// Returns an envelope with this data, for reasoning with this text.
    pub(in crate::dialect) fn close(&self, kind: Kind, data: &str, text: &str) -> String {
        let kind = kind.letter();
        let Some(mac) = self.mac(&[kind, data, text]) else { return UNSIGNED.to_owned() };
        format!("{VERSION}{kind}:{}:{}:{data}", self.tag, hex(&mac.finalize().into_bytes()[..CODE]))
    }

    /// Returns what an envelope holds; `None` if this backend did not make it for this text.
    fn open<'a>(&self, parts: &Parts<'a>, text: &str) -> Option<(Kind, &'a str)> {
        if parts.tag != self.tag {
            return None;
        }
        let mac = self.mac(&[parts.kind.letter(), parts.data, text])?;
        mac.verify_truncated_left(&unhex(parts.code)?).ok()?;
        Some((parts.kind, parts.data))
    }
}

/// The parts of an envelope.
struct Parts<'a> {
    kind: Kind,
    tag: &'a str,
    code: &'a str,
    data: &'a str,
}

/// Returns what an envelope holds and the backend that made it; `None` if none of these did.
pub(in crate::dialect) fn open<'a>(
    envelope: &'a str,
    text: &str,
    seals: &[Seal],
) -> Option<(Kind, &'a str, hub::Origin)> {
    let mut parts = envelope.strip_prefix(VERSION)?.splitn(4, ':');
    let letter = parts.next()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.letter() == letter)?;
    let parts = Parts { kind, tag: parts.next()?, code: parts.next()?, data: parts.next()? };
    if parts.code.len() != 2 * CODE {
        return None;
    }
    seals.iter().find_map(|seal| seal.open(&parts, text).map(|(kind, data)| (kind, data, seal.origin.clone())))
}

/// Whether encrypted content was made here, and is nothing that OpenAI could decrypt.
pub(super) fn is_ours(encrypted: &str) -> bool {
    encrypted.starts_with(MARK)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: u8, provider: &str, model: &str) -> Seal {
        Seal::new([key; 32].into(), provider.into(), model.into())
    }

    #[test]
    fn opens_only_for_its_backend_and_text() {
        let own = seal(1, "claude", "opus");
        let envelope = own.close(Kind::Thinking, "c2ln:bmF0dXJl", "hm");
        let opened = open(&envelope, "hm", &[seal(2, "x", "y"), own.clone()]);
        assert_eq!(opened, Some((Kind::Thinking, "c2ln:bmF0dXJl", own.origin().clone())));
        for others in [seal(2, "claude", "opus"), seal(1, "claude", "sonnet"), seal(1, "claud", "eopus")] {
            assert_eq!(open(&envelope, "hm", &[others]), None);
        }
        assert_eq!(open(&envelope, "hm!", std::slice::from_ref(&own)), None);
        assert!(is_ours(&envelope) && is_ours(UNSIGNED) && !is_ours("gAAAAABo"));
    }

    #[test]
    fn refuses_what_was_changed() {
        let own = seal(1, "p", "m");
        let envelope = own.close(Kind::GoogleCall, "data", "");
        for at in 0..envelope.len() {
            let mut bytes = envelope.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(open(&changed, "", std::slice::from_ref(&own)), None, "{changed}");
        }
        for cut in 0..envelope.len() {
            assert_eq!(open(&envelope[..cut], "", std::slice::from_ref(&own)), None);
        }
        assert_eq!(open(UNSIGNED, "", &[own]), None);
    }
}

//! Reads the ids out of a response that only the backend's account knows, as its bytes pass.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use memchr::memmem::Finder;

use crate::{
    backend::{Backend, IdHash},
    endpoint::Endpoint,
};

const NAMES_COUNT: usize = 4;

/// Finds the names of the members that hold ids, with the quotes.
static NAMES: LazyLock<[Finder<'static>; NAMES_COUNT]> =
    LazyLock::new(|| ["\"id\"", "\"encrypted_content\"", "\"container_id\"", "\"file_id\""].map(Finder::new));

/// The names in a piece. Each kind of name is searched through the piece once, however many of another kind there are.
struct Names<'a> {
    bytes: &'a [u8],
    /// The next name of each kind; `None` before the first search.
    next: Option<[Option<usize>; NAMES_COUNT]>,
}

impl<'a> Names<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: None }
    }

    /// Returns the end of the first name that begins at `from` or later. `from` never decreases.
    fn end_from(&mut self, from: usize) -> Option<usize> {
        let is_new = self.next.is_none();
        let next = self.next.get_or_insert_default();
        for (name, at) in NAMES.iter().zip(&mut *next) {
            if is_new || at.is_some_and(|at| at < from) {
                *at = name.find(&self.bytes[from..]).map(|found| from + found);
            }
        }
        let ends = NAMES.iter().zip(next).filter_map(|(name, at)| Some((*at)? + name.needle().len()));
        ends.min()
    }
}

/// The bytes that are kept of a piece, in which a name may have begun.
const TAIL: usize = 32;

/// Envelopes of reasoning begin with it. They are bound to their backend anyway.
const OWN: &[u8] = b"berry:";

/// The most new ids of one response that the backend's observer gets.
const MOST_NEW: usize = 64;

/// Reads ids, and records them at the backend. Its observer gets them when the response has ended.
pub(super) struct IdReader {
    backend: Arc<Backend>,
    /// Whether only ids of containers and files count.
    is_messages: bool,
    /// The last bytes, for names that are split.
    tail: Vec<u8>,
    value: Value,
    /// The hashes of the new ids.
    new: Vec<u64>,
}

/// The value that is being read.
#[derive(Clone, Copy, Debug, Default)]
enum Value {
    /// None.
    #[default]
    None,
    /// A name was found; the value has not begun.
    Before,
    /// Within the value: its hash and its first bytes.
    Inside(IdHash, [u8; 10], usize),
}

impl fmt::Debug for IdReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdReader").finish_non_exhaustive()
    }
}

impl IdReader {
    /// Reads the responses of an endpoint with ids; `None` for any other endpoint.
    pub(super) fn new(backend: &Arc<Backend>, endpoint: Endpoint) -> Option<Self> {
        let is_messages = endpoint == Endpoint::Messages;
        (is_messages || endpoint == Endpoint::Responses).then(|| Self {
            backend: backend.clone(),
            is_messages,
            tail: Vec::new(),
            value: Value::None,
            new: Vec::new(),
        })
    }

    /// Reads the next bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let (mut names, mut at) = (Names::new(bytes), 0);
        loop {
            let rest = &bytes[at..];
            match &mut self.value {
                Value::None => match self.find(&mut names, at) {
                    Some(end) => at = end,
                    None => return,
                },
                Value::Before => {
                    let is_between = |byte: &u8| matches!(byte, b':' | b' ' | b'\t' | b'\r' | b'\n');
                    let Some(begin) = rest.iter().position(|byte| !is_between(byte)) else { return };
                    let is_text = rest[begin] == b'"';
                    self.value = if is_text { Value::Inside(IdHash::default(), [0; 10], 0) } else { Value::None };
                    at += begin + usize::from(is_text);
                }
                Value::Inside(hash, first, length) => {
                    let end = memchr::memchr(b'"', rest);
                    let part = &rest[..end.unwrap_or(rest.len())];
                    hash.add(part);
                    for byte in part {
                        let Some(place) = first.get_mut(*length) else { break };
                        (*place, *length) = (*byte, *length + 1);
                    }
                    let (hash, first, length) = (*hash, *first, *length);
                    let Some(end) = end else { return };
                    self.value = Value::None;
                    self.record(hash, &first[..length]);
                    at += end + 1;
                }
            }
        }
    }

    fn record(&mut self, hash: IdHash, first: &[u8]) {
        let counts = !self.is_messages || [&b"container"[..], b"file"].iter().any(|kind| first.starts_with(kind));
        let id = hash.finish();
        if counts
            && !first.is_empty()
            && !first.starts_with(OWN)
            && self.backend.state().made_ids().record(id)
            && self.new.len() < MOST_NEW
        {
            self.new.push(id);
        }
    }

    /// Finds the next name that begins at `at` or later, or that began in the piece before, and returns its end. What
    /// of a name may have begun at the end of the piece is kept.
    fn find(&mut self, names: &mut Names<'_>, at: usize) -> Option<usize> {
        let bytes = names.bytes;
        if !self.tail.is_empty() {
            let known = self.tail.len();
            self.tail.extend_from_slice(&bytes[..bytes.len().min(TAIL)]);
            // The tail has no whole name: each is found when its last byte comes.
            if let Some(end) = Names::new(&self.tail).end_from(0) {
                self.tail.clear();
                self.value = Value::Before;
                return Some(end - known);
            }
            if bytes.len() < TAIL {
                let surplus = self.tail.len().saturating_sub(TAIL);
                self.tail.drain(..surplus);
                return None;
            }
            self.tail.clear();
        }
        let end = names.end_from(at);
        match end {
            Some(_) => self.value = Value::Before,
            None => self.tail.extend_from_slice(&bytes[at.max(bytes.len().saturating_sub(TAIL))..]),
        }
        end
    }
}

impl Drop for IdReader {
    fn drop(&mut self) {
        if let (false, Some(observer)) = (self.new.is_empty(), self.backend.state().observer()) {
            observer.ids_made(&self.new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Provider;

    fn hash(id: &str) -> u64 {
        let mut hash = IdHash::default();
        hash.add(id.as_bytes());
        hash.finish()
    }

    #[test]
    fn finds_ids_wherever_the_bytes_are_split() {
        let body = r#"{"id": "resp_1","output":[{"type":"reasoning","id":"rs_2","encrypted_content" : "gAAAA"},
            {"encrypted_content":"berry:1:u","item_id":"no"},{"id":7,"container_id":null,"file_id":"file-3"}],"x":{"id":"z"}}"#;
        for size in 1..body.len() {
            let provider = Provider::new("p", "http://127.0.0.1:9").unwrap();
            let backend = Arc::new(Backend::new(Arc::new(provider), "m"));
            let mut reader = IdReader::new(&backend, Endpoint::Responses).unwrap();
            body.as_bytes().chunks(size).for_each(|bytes| reader.read(bytes));
            let has = |id: &str| backend.state().made_ids().contains(hash(id));
            for id in ["resp_1", "rs_2", "gAAAA", "file-3", "z"] {
                assert!(has(id), "{id} in pieces of {size}");
            }
            for id in ["no", "berry:1:u", "7"] {
                assert!(!has(id), "{id} in pieces of {size}");
            }
        }
        let provider = Provider::new("p", "http://127.0.0.1:9").unwrap();
        let backend = Arc::new(Backend::new(Arc::new(provider), "m"));
        let mut reader = IdReader::new(&backend, Endpoint::Messages).unwrap();
        reader.read(br#"{"id":"msg_1","container":{"id":"container_1"}}"#);
        assert!(backend.state().made_ids().contains(hash("container_1")));
        assert!(!backend.state().made_ids().contains(hash("msg_1")));
        assert!(IdReader::new(&backend, Endpoint::ChatCompletions).is_none());
    }
}

//! Requests read and answers made before, so that load of one kind costs next to nothing.

use super::dialect::{ModelRequest, Shape, Target};
use super::fault::Behavior;
use super::layout::ValidResponse;
use super::refusal::Refusal;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

const SLOTS: usize = 16;
/// Longer requests are read anew each time, which bounds the memory.
const MAX_BODY: usize = 64 << 10;
/// Longer answers are made anew each time.
const MAX_ANSWER: usize = 256 << 10;

/// A request that has been read, with what follows from it alone.
#[derive(Debug)]
pub(super) struct CachedRequest {
    body: Bytes,
    place: Target,
    pub(super) hash: u64,
    pub(super) ask: Result<ModelRequest, Refusal>,
    /// What the model's name asks for; none when it is a plain name.
    pub(super) by_name: Option<Arc<Behavior>>,
    answer: OnceLock<(Shape, ValidResponse)>,
}

/// A few slots, found by hash; the newest request takes its slot.
#[derive(Debug, Default)]
pub(super) struct Cache([ArcSwapOption<CachedRequest>; SLOTS]);

impl Cache {
    /// The request as read before, or read by `read`.
    pub(super) fn known(
        &self,
        place: &Target,
        body: &Bytes,
        read: impl FnOnce() -> (Result<ModelRequest, Refusal>, Option<Arc<Behavior>>),
    ) -> Arc<CachedRequest> {
        let mut hasher = DefaultHasher::new();
        (place, body).hash(&mut hasher);
        let hash = hasher.finish();
        let slot = &self.0[hash as usize % SLOTS];
        if let Some(known) = slot.load_full()
            && known.place == *place
            && known.body == *body
        {
            return known;
        }
        let (ask, by_name) = read();
        let keeps = body.len() <= MAX_BODY;
        let known = Arc::new(CachedRequest {
            // A copy, because the request's own bytes hold a whole read buffer.
            body: if keeps { Bytes::copy_from_slice(body) } else { Bytes::new() },
            place: place.clone(),
            hash,
            ask,
            by_name,
            answer: OnceLock::new(),
        });
        if keeps {
            slot.store(Some(Arc::clone(&known)));
        }
        known
    }
}

impl CachedRequest {
    /// The answer in this shape, as made before or by `make`.
    pub(super) fn answer(&self, shape: Shape, make: impl FnOnce() -> ValidResponse) -> ValidResponse {
        if let Some((made, good)) = self.answer.get()
            && *made == shape
        {
            return good.clone();
        }
        let good = make();
        let size: usize = good.pieces.iter().map(|p| p.data.len()).sum();
        if size <= MAX_ANSWER {
            // Another request may have been faster; its answer is as good.
            let _ = self.answer.set((shape, good.clone()));
        }
        good
    }
}

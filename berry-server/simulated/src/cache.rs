//! A cache of parsed requests and built responses, which makes load tests cheap.

use super::fault::Behavior;
use super::model_request::{ModelRequest, Target};
use super::refusal::Refusal;
use super::shape::Shape;
use super::valid_response::ValidResponse;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

const SLOTS: usize = 16;
/// The maximum size of a cached request, in bytes, which limits memory.
const MAX_BODY: usize = 64 << 10;
/// The maximum size of a cached response, in bytes.
const MAX_ANSWER: usize = 256 << 10;

/// A parsed request with everything that depends only on it.
#[derive(Debug)]
pub(super) struct CachedRequest {
    body: Bytes,
    place: Target,
    pub(super) hash: u64,
    pub(super) ask: Result<ModelRequest, Refusal>,
    /// The behaviour in the model's name, if any.
    pub(super) by_name: Option<Arc<Behavior>>,
    answer: OnceLock<(Shape, ValidResponse)>,
}

/// A few slots, selected by hash. A new request replaces the one in its slot.
#[derive(Debug, Default)]
pub(super) struct Cache([ArcSwapOption<CachedRequest>; SLOTS]);

impl Cache {
    /// Returns the cached request, or parses it with `read`.
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
            // A copy, because the bytes of the request keep a whole read buffer alive.
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
    /// Returns the cached response of the given shape, or builds it with `make`.
    pub(super) fn answer(&self, shape: Shape, make: impl FnOnce() -> ValidResponse) -> ValidResponse {
        if let Some((made, good)) = self.answer.get()
            && *made == shape
        {
            return good.clone();
        }
        let good = make();
        let size: usize = good.pieces.iter().map(|p| p.data.len()).sum();
        if size <= MAX_ANSWER {
            // A concurrent request may have stored an equal response first.
            let _ = self.answer.set((shape, good.clone()));
        }
        good
    }
}

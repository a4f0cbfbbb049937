//! What becomes of a request's fields that a backend's format cannot express.

/// The members of a chat request that are mere hints: for what the response is like, or for the provider's
/// caches and books, on which the response does not depend. A backend that cannot express one answers
/// without it.
pub(super) const HINTS: [&str; 10] = [
    "seed",
    "logit_bias",
    "user",
    "service_tier",
    "prediction",
    "store",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
];

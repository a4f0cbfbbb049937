//! The eight strategies.

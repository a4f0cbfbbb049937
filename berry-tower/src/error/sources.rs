//! The sources of an error.

use std::{error::Error, iter::successors};

/// Any error, as Tower's own layers use it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Returns the error and its sources, the outermost first.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&e| e.source())
}

/// Returns the first error of type `E` in an error and its sources.
#[must_use]
pub fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(<dyn Error>::downcast_ref)
}

//! Bodies: a request's, read whole; a response's, watched to its end.

mod buffered;
mod guarded;

pub use buffered::Buffered;
pub use guarded::{End, Guard, GuardedBody};

//! Body types: [`Buffered`] for requests, [`GuardedBody`] and [`ResponseBody`] for responses.

mod buffered;
mod guarded;
mod response;

pub use buffered::Buffered;
pub use guarded::{End, Guard, GuardedBody};
pub use response::ResponseBody;

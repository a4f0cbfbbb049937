//! Body types: [`Buffered`] for requests, [`GuardedBody`] and [`ResponseBody`] for responses.

mod budget;
mod buffered;
mod guarded;
mod response;

pub use budget::{ByteBudget, ByteLease};
pub use buffered::Buffered;
pub use guarded::{End, Guard, GuardedBody};
pub use response::ResponseBody;

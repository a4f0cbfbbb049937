//! Body types: [`Buffered`] for requests, [`GuardedBody`] and [`ResponseBody`] for responses.

mod budget;
mod buffered;
mod guarded;
mod response;

pub use budget::{ByteBudget, ByteLease};
pub use buffered::Buffered;
#[cfg(feature = "drain")]
pub(crate) use guarded::is_at_end;
pub use guarded::{End, Guard, GuardedBody};
pub use response::ResponseBody;

//! Panics, caught where a request meets them, so that its connection goes on.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use berry_tower::render::Refusal;
use http::StatusCode;

/// What somebody panicked with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Panicked(pub(super) String);

impl Panicked {
    #[expect(clippy::needless_pass_by_value, reason = "it is at its end")]
    fn with(panic: Box<dyn Any + Send>) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Self(text.unwrap_or("not a text").to_owned())
    }
}

/// What something gives, unless it panics.
pub(super) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(run)).map_err(Panicked::with)
}

/// What the client is told.
pub(super) fn mistake() -> Refusal {
    let message = "the gateway made a mistake; its log has the request id";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message).code("internal_error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept() {
        assert_eq!(caught(|| 1), Ok(1));
        assert_eq!(caught(|| -> u8 { panic!("a text") }), Err(Panicked("a text".into())));
        assert_eq!(caught(|| -> u8 { panic!("{} texts", 2) }), Err(Panicked("2 texts".into())));
        assert_eq!(caught(|| -> u8 { std::panic::panic_any(3) }), Err(Panicked("not a text".into())));
    }
}

//! Panics of handlers and layers, caught so that the connection survives.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use berry_tower::render::Refusal;
use http::StatusCode;

/// The message of a panic.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PanicMessage(pub(super) String);

impl PanicMessage {
    fn new(payload: &(dyn Any + Send)) -> Self {
        let text =
            payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
        Self(text.unwrap_or("the panic has no message").to_owned())
    }
}

/// Runs `run` and returns its result, or the message of its panic.
pub(super) fn catch_panic<T>(run: impl FnOnce() -> T) -> Result<T, PanicMessage> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| PanicMessage::new(&*payload))
}

/// Returns the error that a client gets for a panic.
pub(super) fn internal_error() -> Refusal {
    let message = "internal error; the server's log has the request id";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message).code("internal_error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_message_of_a_panic() {
        let message = |text: &str| Err(PanicMessage(text.into()));
        assert_eq!(catch_panic(|| 1), Ok(1));
        assert_eq!(catch_panic(|| -> u8 { panic!("a text") }), message("a text"));
        assert_eq!(catch_panic(|| -> u8 { panic!("{} texts", 2) }), message("2 texts"));
        assert_eq!(catch_panic(|| -> u8 { std::panic::panic_any(3) }), message("the panic has no message"));
    }
}

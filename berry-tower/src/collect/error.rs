//! Why a body was not collected.

use std::{error::Error, time::Duration};

use http::{StatusCode, header::ACCEPT_ENCODING};
use http_body_util::LengthLimitError;

use super::{coding, pace::TooSlow};
use crate::{error::find, render::Refusal};

const KIND: &str = "invalid_request_error";
/// When a client may try again after the budget was used up. Bodies are held for as long as it takes
/// to send them, so room comes back soon.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) enum CollectError {
    Incomplete,
    /// With the limit in bytes.
    TooLarge(usize),
    /// A limit that a layer outside has put around the body is exceeded.
    OverOuterLimit,
    TooSlow(TooSlow),
    OverBudget,
    UnsupportedCoding,
    #[cfg_attr(not(feature = "decompress"), allow(dead_code, reason = "there is no decoder"))]
    Undecodable,
}

impl CollectError {
    /// The reason why a body failed with `error`.
    pub(super) fn of_body(error: &(dyn Error + 'static)) -> Self {
        // tower-http's `RequestBodyLimit` fails so, too.
        if find::<LengthLimitError>(error).is_some() { Self::OverOuterLimit } else { Self::Incomplete }
    }

    pub(super) fn refusal(&self) -> Refusal {
        let slow = |message: String| Refusal::new(StatusCode::REQUEST_TIMEOUT, KIND, message).code("request_timeout");
        match self {
            Self::Incomplete => {
                let message = "the connection ended before the request body was complete";
                Refusal::new(StatusCode::BAD_REQUEST, KIND, message)
            }
            Self::TooLarge(max) => {
                let message = format!("the request body is larger than the {max} bytes that this server accepts");
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, KIND, message).code("request_too_large")
            }
            Self::OverOuterLimit => {
                let message = "the request body is larger than this server accepts";
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, KIND, message).code("request_too_large")
            }
            Self::TooSlow(TooSlow::Silence(max)) => slow(format!(
                "no byte of the request body arrived for {} s; this server stopped waiting",
                max.as_secs_f64()
            )),
            Self::TooSlow(TooSlow::Time(max)) => slow(format!(
                "the request body was not complete after {} s; this server stopped waiting",
                max.as_secs_f64()
            )),
            Self::TooSlow(TooSlow::Rate(min)) => slow(format!(
                "the request body arrived at less than {min} bytes per second; this server stopped waiting"
            )),
            Self::OverBudget => {
                let message = "this server holds as many request bodies as its memory allows; try again shortly";
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
                    .code("overloaded")
                    .retry_after(RETRY_AFTER)
            }
            Self::UnsupportedCoding => {
                let message = "this server does not support the Content-Encoding of the request body";
                Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, KIND, message)
                    .code("unsupported_content_encoding")
                    .header(ACCEPT_ENCODING, coding::SUPPORTED)
            }
            Self::Undecodable => {
                let message = "the request body is not valid in the coding that its Content-Encoding names";
                Refusal::new(StatusCode::BAD_REQUEST, KIND, message)
            }
        }
    }
}

//! What a transport's error says about the upstream.

use std::{error::Error, io};

use crate::error::{BoxError, Failure};
#[cfg(feature = "client-hyper")]
use crate::error::{Deadline, LostTogether};

/// Error numbers of a system that lacks something of its own: descriptors of the process or the
/// system, buffers.
#[cfg(target_os = "linux")]
const EXHAUSTED: [i32; 3] = [24, 23, 105];
#[cfg(not(target_os = "linux"))]
const EXHAUSTED: [i32; 3] = [24, 23, 55];

fn is_exhausted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error().is_some_and(|code| EXHAUSTED.contains(&code))
        // A wrapped error is not among the sources of the one that wraps it.
        || error.get_ref().is_some_and(|inner| is_local(inner))
}

/// Whether this machine lacked a file, a port or a buffer (`EMFILE`, `ENFILE`, `EADDRNOTAVAIL`,
/// `ENOBUFS`).
fn is_local(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(is_exhausted) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The failure of a connection attempt.
pub(super) fn connect(error: BoxError) -> Failure {
    if is_local(&*error) { Failure::LocalResource(error) } else { Failure::Connect(error) }
}

/// The failure of a connection that existed.
pub(super) fn lost(error: BoxError) -> Failure {
    if is_local(&*error) { Failure::LocalResource(error) } else { Failure::ConnectionLost(error) }
}

/// The failure of a connection attempt whose look-up of the name had no thread.
pub(super) fn no_resolver_thread() -> Failure {
    Failure::LocalResource("no thread is free to look up the provider's name".into())
}

/// Whether an error ends an HTTP/2 connection with all its streams, and not one stream only.
#[cfg(feature = "client-hyper")]
pub(super) fn ends_connection(error: &(dyn Error + 'static)) -> bool {
    !crate::error::find::<h2::Error>(error).is_some_and(h2::Error::is_reset)
}

/// The silence of a connection that has gone deaf, for requests after the first that finds it so.
#[cfg(feature = "client-hyper")]
pub(super) fn deaf() -> Failure {
    Failure::ConnectionLost(LostTogether::new(Failure::Timeout(Deadline::Head)).into())
}

/// Whether an HTTP/2 peer has not processed the request: it refused the stream, or its GOAWAY names
/// a lower one (RFC 9113, section 8.7).
pub(super) fn is_unprocessed(error: &(dyn Error + 'static)) -> bool {
    let Some(error) = crate::error::find::<h2::Error>(error) else { return false };
    error.is_remote() && (error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_files_ports_or_buffers_is_local_however_it_is_wrapped() {
        let wrapped = |error: io::Error| -> BoxError { io::Error::other(io::Error::other(error)).into() };
        for code in EXHAUSTED {
            assert!(
                matches!(connect(wrapped(io::Error::from_raw_os_error(code))), Failure::LocalResource(_)),
                "{code}"
            );
            assert!(matches!(lost(io::Error::from_raw_os_error(code).into()), Failure::LocalResource(_)), "{code}");
        }
        assert!(matches!(connect(io::Error::from(io::ErrorKind::AddrNotAvailable).into()), Failure::LocalResource(_)));
        assert!(matches!(connect(io::Error::from(io::ErrorKind::ConnectionRefused).into()), Failure::Connect(_)));
        assert!(matches!(lost("anything".into()), Failure::ConnectionLost(_)));
    }
}

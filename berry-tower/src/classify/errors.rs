//! The classes of errors, by their types, and the wait that a response asks for.

use std::{error::Error, io, time::Duration};

use http::{HeaderMap, header::RETRY_AFTER};

use super::Class;
use crate::error::{Failure, chain};

/// The upper bound on a `Retry-After`.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// Returns the class of an error by the types in its chain of sources; the first known type decides.
///
/// A [`Failure`] has a class of its own. The timeouts of tokio and tower and
/// [`io::ErrorKind::TimedOut`] are a [`Class::Timeout`]. Other I/O errors of a connection are a
/// [`Class::Network`], and so are those of hyper and reqwest where a feature brings these crates.
/// Errors for want of descriptors, ports or buffers are a [`Class::LocalResource`], and so are the
/// refusals of tower's `LoadShed`. Any other error is a [`Class::Server`].
///
/// ```
/// use berry_tower::classify::{Class, class_of_error};
/// use std::io::{Error, ErrorKind};
///
/// assert_eq!(class_of_error(&Error::from(ErrorKind::ConnectionReset)), Class::Network);
/// assert_eq!(class_of_error(&Error::from(ErrorKind::TimedOut)), Class::Timeout);
/// assert_eq!(class_of_error(&Error::other("disk full")), Class::Server);
/// ```
#[must_use]
pub fn class_of_error(error: &(dyn Error + 'static)) -> Class {
    // A connection error that wraps the timeout behind it is a timeout, so a found network error
    // does not end the search.
    let mut found = None;
    for e in chain(error) {
        let class = if let Some(failure) = e.downcast_ref::<Failure>() {
            Some(failure.class())
        } else if e.is::<tokio::time::error::Elapsed>() || e.is::<tower::timeout::error::Elapsed>() {
            Some(Class::Timeout)
        } else if e.is::<tower::load_shed::error::Overloaded>() {
            Some(Class::LocalResource)
        } else if let Some(e) = e.downcast_ref::<io::Error>() {
            class_of_io(e)
        } else {
            class_of_client(e)
        };
        match class {
            Some(Class::Network) => found = class,
            Some(class) => return class,
            None => {}
        }
    }
    found.unwrap_or(Class::Server)
}

fn class_of_io(error: &io::Error) -> Option<Class> {
    use io::ErrorKind;
    /// ENFILE, EMFILE and ENOBUFS, which have no kind of their own.
    const EXHAUSTED: [i32; 3] = if cfg!(target_os = "linux") { [23, 24, 105] } else { [23, 24, 55] };
    match error.kind() {
        _ if cfg!(unix) && error.raw_os_error().is_some_and(|code| EXHAUSTED.contains(&code)) => {
            Some(Class::LocalResource)
        }
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse => Some(Class::LocalResource),
        ErrorKind::TimedOut => Some(Class::Timeout),
        // A wrapper: `source()` skips the error that it wraps.
        ErrorKind::Other => error.get_ref().map(|inner| class_of_error(inner)).filter(|class| *class != Class::Server),
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::AlreadyExists
        | ErrorKind::InvalidInput
        | ErrorKind::Unsupported
        | ErrorKind::StorageFull
        | ErrorKind::OutOfMemory => None,
        _ => Some(Class::Network),
    }
}

/// The class of an error of the HTTP clients that come with a feature.
fn class_of_client(error: &(dyn Error + 'static)) -> Option<Class> {
    #[cfg(feature = "client-hyper")]
    if let Some(e) = error.downcast_ref::<hyper::Error>() {
        return Some(if e.is_timeout() { Class::Timeout } else { Class::Network });
    }
    #[cfg(feature = "client-reqwest")]
    if let Some(e) = error.downcast_ref::<reqwest::Error>() {
        return Some(if e.is_timeout() { Class::Timeout } else { Class::Network });
    }
    let _ = error;
    None
}

/// Reads `retry-after-ms` and `Retry-After` (seconds or a date), at most [`MAX_RETRY_AFTER`].
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let millis = text("retry-after-ms").and_then(|v| v.parse::<f64>().ok()).map(|ms| ms / 1000.0);
    let seconds = text(RETRY_AFTER.as_str()).and_then(|v| v.parse::<f64>().ok());
    if let Some(seconds) = millis.or(seconds) {
        let bounded =
            if seconds.is_finite() { seconds.clamp(0.0, MAX_RETRY_AFTER.as_secs_f64()) } else { return None };
        return Some(Duration::from_secs_f64(bounded));
    }
    let date = httpdate::parse_http_date(text(RETRY_AFTER.as_str())?).ok()?;
    let wait = date.duration_since(std::time::SystemTime::now()).unwrap_or_default();
    Some(wait.min(MAX_RETRY_AFTER))
}

//! The keys of the configuration and those made at run time, as one authenticator.

use std::{future::ready, sync::Arc};

use berry_tower::auth::{ApiKeys, Authenticate, Immediate, Rejection};
use http::{HeaderMap, HeaderName, request::Parts};

use crate::config::build::Caller;
#[cfg(feature = "database")]
use crate::keys::Directory;

/// All keys. A key of the configuration wins over one of the database with the same token. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    file: ApiKeys<Arc<Caller>>,
    #[cfg(feature = "database")]
    directory: Option<Directory>,
}

impl Keys {
    pub(crate) fn new(file: ApiKeys<Arc<Caller>>) -> Self {
        Self {
            file,
            #[cfg(feature = "database")]
            directory: None,
        }
    }

    /// Adds the keys of the database, if there is one.
    #[cfg(feature = "database")]
    pub(crate) fn with_directory(mut self, directory: Option<Directory>) -> Self {
        self.directory = directory;
        self
    }

    /// Returns the caller whose key is in `headers`.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Rejection> {
        if let Some(caller) = self.file.identify(headers) {
            return Ok(caller);
        }
        #[cfg(feature = "database")]
        if let Some(directory) = &self.directory {
            if let Some(caller) = directory.identify(headers) {
                return Ok(caller);
            }
            if !directory.is_loaded() && has_runtime_key(headers) {
                return Err(not_loaded());
            }
        }
        Err(Rejection::InvalidToken)
    }
}

/// Whether a request has a key that may have been made at run time.
#[cfg(feature = "database")]
fn has_runtime_key(headers: &HeaderMap) -> bool {
    let bearer = berry_tower::auth::bearer(headers);
    let token = bearer.or_else(|| headers.get("x-api-key").map(http::HeaderValue::as_bytes));
    token.and_then(|token| std::str::from_utf8(token).ok()).is_some_and(crate::keys::is_well_formed)
}

/// The answer to a key that may be good, while the database has not been read.
#[cfg(feature = "database")]
fn not_loaded() -> Rejection {
    let message = "the keys of this gateway are being read; try again shortly";
    berry_tower::render::Refusal::new(http::StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
        .code("keys_unavailable")
        .retry_after(std::time::Duration::from_secs(1))
        .into()
}

impl Authenticate<Immediate> for Keys {
    type Identity = Arc<Caller>;

    fn authenticate(&self, head: &Parts) -> impl Future<Output = Result<Arc<Caller>, Rejection>> + Send {
        ready(self.identify(&head.headers))
    }

    fn secret_headers(&self) -> &[HeaderName] {
        self.file.secret_headers()
    }
}

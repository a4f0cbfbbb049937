//! What the handlers of changes share: the body, and the errors.

use std::{sync::Arc, time::Duration};

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
};
use berry_tower::render::Refusal;
use http::StatusCode;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{
    database::Database,
    http::routes::status::Rejection,
    keys::{ChangeError, Directory},
    state::Snapshot,
};

/// The longest body of a change, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// A JSON body; an empty one reads as `{}`.
pub(in crate::http::routes) struct Payload<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Payload<T> {
    type Rejection = Rejection;

    async fn from_request(request: Request, _: &S) -> Result<Self, Rejection> {
        let too_long = |_| {
            let message = "the body is longer than 64 KiB, or broke off";
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message)
        };
        let body = to_bytes(request.into_body(), MAX_BODY).await.map_err(too_long)?;
        let body = if body.is_empty() { b"{}" } else { &body[..] };
        let read = serde_json::from_slice(body);
        Ok(Self(read.map_err(|error| invalid(None, &format!("the body is not what it should be: {error}")))?))
    }
}

/// Reads a value that may be null: `Some(None)` for null, `None` when the key is absent.
pub(super) fn nullable<'de, D, T>(value: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(value).map(Some)
}

/// Returns the directory, or the error of a server without a database.
pub(super) fn directory(snapshot: &Arc<Snapshot>) -> Result<&Directory, Rejection> {
    snapshot.process.directory.as_ref().ok_or_else(|| {
        let message = "this gateway has no database; add `[database]` to its configuration, and restart it";
        Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("no_database").into()
    })
}

/// Returns the database, or the error of a server without one.
pub(in crate::http::routes) fn database(snapshot: &Arc<Snapshot>) -> Result<&Database, Rejection> {
    directory(snapshot)?;
    snapshot.process.database.as_ref().ok_or_else(|| refused(ChangeError::Unavailable))
}

pub(in crate::http::routes) fn invalid(param: Option<&'static str>, message: &str) -> Rejection {
    let refusal = Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", message.to_owned());
    match param {
        Some(param) => refusal.param(param).into(),
        None => refusal.into(),
    }
}

/// Returns the response of a change that was refused.
pub(in crate::http::routes) fn refused(error: ChangeError) -> Rejection {
    match error {
        ChangeError::NotFound => {
            let message = "there is nothing with this id";
            Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("not_found").into()
        }
        ChangeError::Conflict(message) => {
            Refusal::new(StatusCode::CONFLICT, "invalid_request_error", message).code("conflict").into()
        }
        ChangeError::Invalid(param, message) => invalid(Some(param), &message),
        ChangeError::Unavailable => {
            let message = "the database is not available, so nothing was changed; try again shortly";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
                .code("database_unavailable")
                .retry_after(Duration::from_secs(1))
                .into()
        }
    }
}

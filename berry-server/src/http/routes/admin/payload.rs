//! What the handlers of changes share: the body, and the errors.

use std::{sync::Arc, time::Duration};

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
};
use berry_tower::render::Refusal;
use http::StatusCode;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use utoipa::ToSchema;

use crate::{
    database::Database,
    http::routes::status::Rejection,
    keys::{ChangeError, Directory},
    state::Snapshot,
};

/// The longest body of a change, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Describes a tag.
#[derive(ToSchema)]
#[schema(as = Keys::Tag, value_type = String, pattern = r"^[^\s\x00-\x1F\x7F-\x9F]+$")]
#[expect(dead_code, reason = "tags are strings; this describes them")]
pub(in crate::http::routes) struct Tag(String);

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
        let body = if body.is_empty() { b"{}" } else { body.trim_ascii_start() };
        // A derived type would take a list for its members in their order.
        if !body.starts_with(b"{") {
            return Err(invalid(None, "the body must be a JSON object"));
        }
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

/// Reads a whole number, which JSON may write as `450.0`, too.
pub(super) fn whole<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    let number = f64::deserialize(value)?;
    if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
        return Ok(number as u32);
    }
    Err(serde::de::Error::custom(format_args!("{number} is no whole number from 0 to {}", u32::MAX)))
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

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Change {
        #[serde(default)]
        count: u32,
    }

    async fn read(body: &'static str) -> Option<u32> {
        let payload = Payload::<Change>::from_request(Request::new(Body::from(body)), &()).await;
        payload.ok().map(|Payload(change)| change.count)
    }

    #[tokio::test]
    async fn a_body_is_an_object_or_empty() {
        for (body, count) in [("", Some(0)), (" {}", Some(0)), ("\n{\"count\":2}", Some(2))] {
            assert_eq!(read(body).await, count, "{body}");
        }
        for body in ["[]", "[2]", " [2]", "2", "null", "\"a\"", " ", "{", "{\"other\":1}"] {
            assert_eq!(read(body).await, None, "{body}");
        }
    }
}

//! Keys that are made at run time.

use std::{num::NonZeroU32, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::payload::{Payload, Tag, directory, invalid, nullable, refused, whole};
use crate::{
    http::routes::{
        status::{Params, Rejection, filled, switch},
        tags,
    },
    keys::{KeyChange, KeyFilter, KeyRecord, Limits, NewKey},
    state::Snapshot,
};

/// The most keys of a page.
const MAX_PAGE: u32 = 1_000;
/// The keys of a page without `limit`.
const PAGE: u32 = 100;
/// The longest grace, in seconds.
const MAX_GRACE: u32 = 90 * 86_400;

/// The body of `POST /admin/keys`.
#[derive(Deserialize, ToSchema)]
#[schema(as = Keys::NewKey)]
#[serde(deny_unknown_fields)]
pub(in crate::http::routes) struct CreateKey {
    /// The user that it belongs to. A key has either a user or a team.
    user: Option<String>,
    /// The team that it belongs to.
    team: Option<String>,
    /// A label for people.
    #[serde(default)]
    #[schema(max_length = 128, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$")]
    name: String,
    /// Its tags; without any, those of its user.
    #[serde(default)]
    #[schema(value_type = Vec<Tag>)]
    tags: Vec<String>,
    /// Names or ids of the models that it may use, among those of its owner; without any, all of these.
    #[serde(default)]
    models: Vec<String>,
    /// Its limits, beside those of its owner.
    #[schema(value_type = Option<Limits>)]
    limits: Option<serde_json::Value>,
    /// From when on it is refused (RFC 3339).
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

/// The body of `PATCH /admin/keys/{id}`; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[schema(as = Keys::KeyChange)]
#[serde(deny_unknown_fields)]
pub(in crate::http::routes) struct ChangeKey {
    /// A label for people.
    #[schema(max_length = 128, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$")]
    name: Option<String>,
    /// The tags.
    #[schema(value_type = Option<Vec<Tag>>)]
    tags: Option<Vec<String>>,
    /// Names or ids of models.
    models: Option<Vec<String>>,
    /// The limits.
    #[schema(value_type = Option<Limits>)]
    limits: Option<serde_json::Value>,
    /// From when on it is refused; null for never.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<String>>,
    /// Whether it is accepted.
    enabled: Option<bool>,
}

/// The body of `POST /admin/keys/{id}/rotate`.
#[derive(Deserialize, ToSchema)]
#[schema(as = Keys::Rotation)]
#[serde(deny_unknown_fields)]
pub(in crate::http::routes) struct RotateKey {
    /// How long the key before stays valid, in seconds.
    #[serde(default, deserialize_with = "whole")]
    #[schema(maximum = 7776000)]
    grace_seconds: u32,
}

/// The query of `GET /admin/keys`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http::routes) struct ListQuery {
    /// Only keys of this user.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "filled")]
    user: Option<String>,
    /// Only keys of this team.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "filled")]
    team: Option<String>,
    /// Whether to list revoked keys, too.
    #[serde(default, deserialize_with = "switch")]
    #[param(value_type = Option<bool>)]
    revoked: bool,
    /// The id after which the page begins.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "filled")]
    after: Option<String>,
    /// The most keys of the page; at most 1000, 100 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<NonZeroU32>,
}

/// A page of keys.
#[derive(Serialize, ToSchema)]
#[schema(as = Keys::KeyList)]
pub(in crate::http::routes) struct KeyList {
    /// The keys, by id.
    data: Vec<KeyRecord>,
    /// The value of `after` for the next page; null if this is the last one.
    next: Option<String>,
}

/// A key with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = Keys::CreatedKey)]
pub(in crate::http::routes) struct CreatedKey {
    /// The key. Only its digest is kept, so that it cannot be shown again.
    key: String,
    #[serde(flatten)]
    record: KeyRecord,
}

/// Makes a key for a user or a team.
#[utoipa::path(
    post,
    path = "/admin/keys",
    tag = tags::ADMIN,
    request_body = CreateKey,
    responses((status = 201, body = CreatedKey)),
)]
pub(in crate::http::routes) async fn create_key(
    State(snapshot): State<Arc<Snapshot>>,
    Payload(new): Payload<CreateKey>,
) -> Result<(StatusCode, Json<CreatedKey>), Rejection> {
    let CreateKey { user, team, name, tags, models, limits, expires_at } = new;
    let new = NewKey { user, team, name, tags, models, limits, expires_at };
    let (token, record) = directory(&snapshot)?.create_key(new).await.map_err(refused)?;
    tracing::info!(key = record.id, user = record.user, team = record.team, "a key was created");
    Ok((StatusCode::CREATED, Json(CreatedKey { key: token.text().to_owned(), record })))
}

/// A page of keys, without their secrets.
#[utoipa::path(get, path = "/admin/keys", tag = tags::ADMIN, params(ListQuery), responses((status = 200, body = KeyList)))]
pub(in crate::http::routes) async fn list_keys(
    State(snapshot): State<Arc<Snapshot>>,
    Params(query): Params<ListQuery>,
) -> Result<Json<KeyList>, Rejection> {
    let limit = query.limit.map_or(PAGE, NonZeroU32::get);
    if limit > MAX_PAGE {
        return Err(invalid(Some("limit"), "a page has at most 1000 keys"));
    }
    let filter = KeyFilter {
        user: query.user,
        team: query.team,
        with_revoked: query.revoked,
        after: query.after.unwrap_or_default(),
        limit: limit + 1,
    };
    let mut data = directory(&snapshot)?.keys(filter).await.map_err(refused)?;
    let has_more = data.len() > limit as usize;
    data.truncate(limit as usize);
    let next = data.last().filter(|_| has_more).map(|key| key.id.clone());
    Ok(Json(KeyList { data, next }))
}

/// A key, without its secret.
#[utoipa::path(get, path = "/admin/keys/{id}", tag = tags::ADMIN, params(("id" = String, Path)), responses((status = 200, body = KeyRecord)))]
pub(in crate::http::routes) async fn show_key(
    State(snapshot): State<Arc<Snapshot>>,
    Path(id): Path<String>,
) -> Result<Json<KeyRecord>, Rejection> {
    directory(&snapshot)?.key(&id).await.map(Json).map_err(refused)
}

/// Changes a key.
#[utoipa::path(
    patch,
    path = "/admin/keys/{id}",
    tag = tags::ADMIN,
    params(("id" = String, Path)),
    request_body = ChangeKey,
    responses((status = 200, body = KeyRecord)),
)]
pub(in crate::http::routes) async fn update_key(
    State(snapshot): State<Arc<Snapshot>>,
    Path(id): Path<String>,
    Payload(change): Payload<ChangeKey>,
) -> Result<Json<KeyRecord>, Rejection> {
    let ChangeKey { name, tags, models, limits, expires_at, enabled } = change;
    let change = KeyChange { name, tags, models, limits, expires_at, enabled };
    let record = directory(&snapshot)?.update_key(&id, &change).await.map_err(refused)?;
    tracing::info!(key = record.id, enabled = record.enabled, "a key was changed");
    Ok(Json(record))
}

/// Gives a key another secret; the one before stays valid for the grace.
#[utoipa::path(
    post,
    path = "/admin/keys/{id}/rotate",
    tag = tags::ADMIN,
    params(("id" = String, Path)),
    request_body = RotateKey,
    responses((status = 200, body = CreatedKey)),
)]
pub(in crate::http::routes) async fn rotate_key(
    State(snapshot): State<Arc<Snapshot>>,
    Path(id): Path<String>,
    Payload(RotateKey { grace_seconds }): Payload<RotateKey>,
) -> Result<Json<CreatedKey>, Rejection> {
    if grace_seconds > MAX_GRACE {
        return Err(invalid(Some("grace_seconds"), "the grace is at most 90 days"));
    }
    let grace_ms = i64::from(grace_seconds) * 1_000;
    let (token, record) = directory(&snapshot)?.rotate_key(&id, grace_ms).await.map_err(refused)?;
    tracing::info!(key = record.id, grace_seconds, "a key was rotated");
    Ok(Json(CreatedKey { key: token.text().to_owned(), record }))
}

/// Revokes a key for ever.
#[utoipa::path(delete, path = "/admin/keys/{id}", tag = tags::ADMIN, params(("id" = String, Path)), responses((status = 200, body = KeyRecord)))]
pub(in crate::http::routes) async fn revoke_key(
    State(snapshot): State<Arc<Snapshot>>,
    Path(id): Path<String>,
) -> Result<Json<KeyRecord>, Rejection> {
    let record = directory(&snapshot)?.revoke_key(&id).await.map_err(refused)?;
    tracing::info!(key = record.id, "a key was revoked");
    Ok(Json(record))
}

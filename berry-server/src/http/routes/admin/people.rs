//! Users and teams: those of the file, and those that are made at run time.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::payload::{Payload, Tag, directory, nullable, refused};
use crate::{
    http::routes::{status::Rejection, tags},
    keys::{Limits, NewTeam, NewUser, TeamChange, TeamRecord, UserChange, UserRecord},
    state::Snapshot,
};

/// The body of `POST /admin/users`.
#[derive(Deserialize, ToSchema)]
#[schema(as = Keys::NewUser)]
#[serde(deny_unknown_fields)]
pub(in crate::http::routes) struct CreateUser {
    /// The id: letters, digits, `-`, `_`, `.`, `@`.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[A-Za-z0-9._@-]+$")]
    id: String,
    /// A label for people; the id by default.
    #[schema(max_length = 128, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$")]
    name: Option<String>,
    /// The user's team.
    team: Option<String>,
    /// The tags, which open backends and `/admin/*`.
    #[serde(default)]
    #[schema(value_type = Vec<Tag>)]
    tags: Vec<String>,
    /// Names or ids of the models that the user may use; none for all.
    #[serde(default)]
    models: Vec<String>,
    /// The limits of all keys of the user together.
    #[schema(value_type = Option<Limits>)]
    limits: Option<serde_json::Value>,
}

/// The body of `PATCH /admin/users/{id}`; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[schema(as = Keys::UserChange)]
#[serde(deny_unknown_fields)]
pub(in crate::http::routes) struct ChangeUser {
    /// A label for people.
    #[schema(max_length = 128, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$")]
    name: Option<String>,
    /// The user's team; null for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    team: Option<Option<String>>,
    /// The tags.
    #[schema(value_type = Option<Vec<Tag>>)]
    tags: Option<Vec<String>>,
    /// Names or ids of models.
    models: Option<Vec<String>>,
    /// The limits.
    #[schema(value_type = Option<Limits>)]
    limits: Option<serde_json::Value>,
    /// Whether the user's keys are accepted.
    enabled: Option<bool>,
}

/// The body of `POST /admin/teams`.
#[derive(Deserialize, ToSchema)]
#[schema(as = Keys::NewTeam)]
#[serde(deny_unknown_fields)]
pub(in crate::http::routes) struct CreateTeam {
    /// The id: letters, digits, `-`, `_`, `.`, `@`.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[A-Za-z0-9._@-]+$")]
    id: String,
    /// A label for people; the id by default.
    #[schema(max_length = 128, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$")]
    name: Option<String>,
    /// The team that it is a part of.
    parent: Option<String>,
    /// Names or ids of the models that its members may use; none for all.
    #[serde(default)]
    models: Vec<String>,
    /// The limits of all members together.
    #[schema(value_type = Option<Limits>)]
    limits: Option<serde_json::Value>,
}

/// The body of `PATCH /admin/teams/{id}`; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[schema(as = Keys::TeamChange)]
#[serde(deny_unknown_fields)]
pub(in crate::http::routes) struct ChangeTeam {
    /// A label for people.
    #[schema(max_length = 128, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$")]
    name: Option<String>,
    /// The team that it is a part of; null for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    parent: Option<Option<String>>,
    /// Names or ids of models.
    models: Option<Vec<String>>,
    /// The limits.
    #[schema(value_type = Option<Limits>)]
    limits: Option<serde_json::Value>,
    /// Whether the keys of its members are accepted.
    enabled: Option<bool>,
}

/// All users.
#[derive(Serialize, ToSchema)]
#[schema(as = Keys::UserList)]
pub(in crate::http::routes) struct UserList {
    /// The users, by id.
    data: Vec<UserRecord>,
}

/// All teams.
#[derive(Serialize, ToSchema)]
#[schema(as = Keys::TeamList)]
pub(in crate::http::routes) struct TeamList {
    /// The teams, by id.
    data: Vec<TeamRecord>,
}

/// The users of the file and those made at run time.
#[utoipa::path(get, path = "/admin/users", tag = tags::ADMIN, responses((status = 200, body = UserList)))]
pub(in crate::http::routes) async fn list_users(
    State(snapshot): State<Arc<Snapshot>>,
) -> Result<Json<UserList>, Rejection> {
    Ok(Json(UserList { data: directory(&snapshot)?.users() }))
}

/// Makes a user.
#[utoipa::path(post, path = "/admin/users", tag = tags::ADMIN, request_body = CreateUser, responses((status = 201, body = UserRecord)))]
pub(in crate::http::routes) async fn create_user(
    State(snapshot): State<Arc<Snapshot>>,
    Payload(new): Payload<CreateUser>,
) -> Result<(StatusCode, Json<UserRecord>), Rejection> {
    let CreateUser { id, name, team, tags, models, limits } = new;
    let new = NewUser { id, name, team, tags, models, limits };
    let record = directory(&snapshot)?.create_user(new).await.map_err(refused)?;
    tracing::info!(user = record.id, "a user was created");
    Ok((StatusCode::CREATED, Json(record)))
}

/// A user.
#[utoipa::path(get, path = "/admin/users/{id}", tag = tags::ADMIN, params(("id" = String, Path)), responses((status = 200, body = UserRecord)))]
pub(in crate::http::routes) async fn show_user(
    State(snapshot): State<Arc<Snapshot>>,
    Path(id): Path<String>,
) -> Result<Json<UserRecord>, Rejection> {
    directory(&snapshot)?.user(&id).map(Json).map_err(refused)
}

/// Changes a user that was made at run time.
#[utoipa::path(
    patch,
    path = "/admin/users/{id}",
    tag = tags::ADMIN,
    params(("id" = String, Path)),
    request_body = ChangeUser,
    responses((status = 200, body = UserRecord)),
)]
pub(in crate::http::routes) async fn update_user(
    State(snapshot): State<Arc<Snapshot>>,
    Path(id): Path<String>,
    Payload(change): Payload<ChangeUser>,
) -> Result<Json<UserRecord>, Rejection> {
    let ChangeUser { name, team, tags, models, limits, enabled } = change;
    let change = UserChange { name, team, tags, models, limits, enabled };
    let record = directory(&snapshot)?.update_user(&id, change).await.map_err(refused)?;
    tracing::info!(user = record.id, enabled = record.enabled, "a user was changed");
    Ok(Json(record))
}

/// Deletes a user that was made at run time, and revokes its keys.
#[utoipa::path(delete, path = "/admin/users/{id}", tag = tags::ADMIN, params(("id" = String, Path)), responses((status = 200, body = UserRecord)))]
pub(in crate::http::routes) async fn delete_user(
    State(snapshot): State<Arc<Snapshot>>,
    Path(id): Path<String>,
) -> Result<Json<UserRecord>, Rejection> {
    let record = directory(&snapshot)?.delete_user(&id).await.map_err(refused)?;
    tracing::info!(user = record.id, "a user was deleted");
    Ok(Json(record))
}

/// The teams of the file and those made at run time.
#[utoipa::path(get, path = "/admin/teams", tag = tags::ADMIN, responses((status = 200, body = TeamList)))]
pub(in crate::http::routes) async fn list_teams(
    State(snapshot): State<Arc<Snapshot>>,
) -> Result<Json<TeamList>, Rejection> {
    Ok(Json(TeamList { data: directory(&snapshot)?.teams() }))
}

/// Makes a team.
#[utoipa::path(post, path = "/admin/teams", tag = tags::ADMIN, request_body = CreateTeam, responses((status = 201, body = TeamRecord)))]
pub(in crate::http::routes) async fn create_team(
    State(snapshot): State<Arc<Snapshot>>,
    Payload(new): Payload<CreateTeam>,
) -> Result<(StatusCode, Json<TeamRecord>), Rejection> {
    let CreateTeam { id, name, parent, models, limits } = new;
    let new = NewTeam { id, name, parent, models, limits };
    let record = directory(&snapshot)?.create_team(new).await.map_err(refused)?;
    tracing::info!(team = record.id, "a team was created");
    Ok((StatusCode::CREATED, Json(record)))
}

/// A team.
#[utoipa::path(get, path = "/admin/teams/{id}", tag = tags::ADMIN, params(("id" = String, Path)), responses((status = 200, body = TeamRecord)))]
pub(in crate::http::routes) async fn show_team(
    State(snapshot): State<Arc<Snapshot>>,
    Path(id): Path<String>,
) -> Result<Json<TeamRecord>, Rejection> {
    directory(&snapshot)?.team(&id).map(Json).map_err(refused)
}

/// Changes a team that was made at run time.
#[utoipa::path(
    patch,
    path = "/admin/teams/{id}",
    tag = tags::ADMIN,
    params(("id" = String, Path)),
    request_body = ChangeTeam,
    responses((status = 200, body = TeamRecord)),
)]
pub(in crate::http::routes) async fn update_team(
    State(snapshot): State<Arc<Snapshot>>,
    Path(id): Path<String>,
    Payload(change): Payload<ChangeTeam>,
) -> Result<Json<TeamRecord>, Rejection> {
    let ChangeTeam { name, parent, models, limits, enabled } = change;
    let change = TeamChange { name, parent, models, limits, enabled };
    let record = directory(&snapshot)?.update_team(&id, change).await.map_err(refused)?;
    tracing::info!(team = record.id, enabled = record.enabled, "a team was changed");
    Ok(Json(record))
}

/// Deletes a team that was made at run time and has no users, keys or teams.
#[utoipa::path(delete, path = "/admin/teams/{id}", tag = tags::ADMIN, params(("id" = String, Path)), responses((status = 200, body = TeamRecord)))]
pub(in crate::http::routes) async fn delete_team(
    State(snapshot): State<Arc<Snapshot>>,
    Path(id): Path<String>,
) -> Result<Json<TeamRecord>, Rejection> {
    let record = directory(&snapshot)?.delete_team(&id).await.map_err(refused)?;
    tracing::info!(team = record.id, "a team was deleted");
    Ok(Json(record))
}

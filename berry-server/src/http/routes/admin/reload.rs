//! The reload of the configuration by an admin.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use berry_tower::render::Refusal;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    config::{Errors, Finding},
    http::routes::{
        refusals::refuse,
        status::{Moment, rfc3339},
        tags,
    },
    reload::{Changes, Reloader, Success},
};

/// The response of `/admin/reload-config` when the new configuration is in force.
#[derive(Serialize, ToSchema)]
pub(in crate::http::routes) struct Reloaded {
    /// The differences from the configuration before.
    changes: Changes,
    /// What is allowed but probably a mistake.
    warnings: Vec<Finding>,
    /// The time at which the configuration in force was loaded.
    loaded_at: String,
    /// The file.
    source: Option<String>,
    /// The time of the response.
    timestamp: String,
}

/// `POST /admin/reload-config`
///
/// Reads the file again and applies it. A file with errors is a 422 that lists them all; then the old configuration
/// stays in force.
#[utoipa::path(post, path = "/admin/reload-config", tag = tags::ADMIN, responses(
    (status = 200, body = Reloaded),
    (status = 422, description = "The file has errors; the message lists each on a line."),
))]
pub(super) async fn reload_config(State(reloader): State<Reloader>) -> Response {
    match reloader.reload_file("an admin").await {
        Ok(Success { changes, warnings, snapshot }) => {
            let source = snapshot.source.as_ref().map(|path| path.display().to_string());
            let (loaded_at, timestamp) = (rfc3339(snapshot.loaded_at), Moment::now().timestamp());
            Json(Reloaded { changes, warnings, loaded_at, source, timestamp }).into_response()
        }
        Err(errors) => refused(&errors),
    }
}

/// Returns the error response, whose message has a line for each finding.
fn refused(errors: &Errors) -> Response {
    let mut message = "the new configuration is invalid and the old one stays in force:".to_owned();
    for finding in &errors.findings {
        message.push('\n');
        message.push_str(&finding.to_string());
    }
    let refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request_error", message);
    refuse(&refusal.code("invalid_configuration"))
}

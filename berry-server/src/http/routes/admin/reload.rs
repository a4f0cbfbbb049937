//! The reload that an admin asks for.

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

/// The answer of `/admin/reload-config` when the new configuration is in force.
#[derive(Serialize, ToSchema)]
pub(in crate::http::routes) struct Reloaded {
    /// What differs from the configuration before.
    changes: Changes,
    /// What is allowed but probably not meant.
    warnings: Vec<Finding>,
    /// When the configuration in force was read.
    loaded_at: String,
    /// The file.
    source: Option<String>,
    /// When this was so.
    timestamp: String,
}

/// `POST /admin/reload-config`
///
/// Reads the file again and goes over to what it says now. A file with errors is a 422 that lists
/// them all; the old configuration then stays in force.
#[utoipa::path(post, path = "/admin/reload-config", tag = tags::ADMIN, responses(
    (status = 200, body = Reloaded),
    (status = 422, description = "The file has errors; the message lists them all, each on a line."),
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

/// All that is wrong, in the one shape that errors have: each finding is a line of the message.
fn refused(errors: &Errors) -> Response {
    let mut message = "the new configuration is refused, and the old one stays in force:".to_owned();
    for finding in &errors.findings {
        message.push('\n');
        message.push_str(&finding.to_string());
    }
    let refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request_error", message);
    refuse(&refusal.code("invalid_configuration"))
}

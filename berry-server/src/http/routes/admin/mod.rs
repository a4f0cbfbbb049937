//! The endpoints for admins: models, backends, users and the server.

pub(super) mod explain;
pub(super) mod health;
pub(super) mod reload;
pub(super) mod system;
pub(super) mod usage;
pub(super) mod weights;

use axum::{
    Router,
    routing::{get, post},
};

use super::context::Context;

/// Returns the routes; the caller adds the check that the user is an admin.
pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route("/admin/model-weights", get(weights::model_weights))
        .route("/admin/backend-health", get(health::backend_health))
        .route("/admin/system-stats", get(system::system_stats))
        .route("/admin/rate-limit-usage", get(usage::rate_limit_usage))
        .route("/admin/reload-config", post(reload::reload_config))
        .route("/admin/explain", get(explain::explain))
}

//! What admins may see of models, backends, users and the server itself.

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

/// The routes; the rule that they are for admins is put before them elsewhere.
pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route("/admin/model-weights", get(weights::model_weights))
        .route("/admin/backend-health", get(health::backend_health))
        .route("/admin/system-stats", get(system::system_stats))
        .route("/admin/rate-limit-usage", get(usage::rate_limit_usage))
        .route("/admin/reload-config", post(reload::reload_config))
        .route("/admin/explain", get(explain::explain))
}

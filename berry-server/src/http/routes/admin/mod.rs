//! The endpoints for admins: models, backends, users and the server.

pub(super) mod explain;
pub(super) mod health;
#[cfg(feature = "database")]
pub(super) mod keys;
#[cfg(feature = "database")]
pub(super) mod payload;
#[cfg(feature = "database")]
pub(super) mod people;
pub(super) mod reload;
#[cfg(feature = "database")]
pub(super) mod spending;
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
    let routes = Router::new()
        .route("/admin/model-weights", get(weights::model_weights))
        .route("/admin/backend-health", get(health::backend_health))
        .route("/admin/system-stats", get(system::system_stats))
        .route("/admin/rate-limit-usage", get(usage::rate_limit_usage))
        .route("/admin/reload-config", post(reload::reload_config))
        .route("/admin/explain", get(explain::explain));
    #[cfg(feature = "database")]
    let routes = routes
        .route("/admin/keys", get(keys::list_keys).post(keys::create_key))
        .route("/admin/keys/{id}", get(keys::show_key).patch(keys::update_key).delete(keys::revoke_key))
        .route("/admin/keys/{id}/rotate", post(keys::rotate_key))
        .route("/admin/usage", get(spending::usage))
        .route("/admin/users", get(people::list_users).post(people::create_user))
        .route("/admin/users/{id}", get(people::show_user).patch(people::update_user).delete(people::delete_user))
        .route("/admin/teams", get(people::list_teams).post(people::create_team))
        .route("/admin/teams/{id}", get(people::show_team).patch(people::update_team).delete(people::delete_team));
    routes
}

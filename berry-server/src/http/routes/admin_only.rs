//! The rule for what only admins may see: no valid token is a 401, a user's is a 403.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use berry_tower::{
    auth::{ApiKeys, AuthLayer},
    render::Refusal,
};
use http::StatusCode;

use super::refuse;
use crate::{app::Snapshot, config::build::Caller, http::access_log::Who};

/// Puts the rule before every route of `router`.
pub(super) fn admins_only(router: Router<Arc<Snapshot>>, keys: ApiKeys<Arc<Caller>>) -> Router<Arc<Snapshot>> {
    // The one added last stands outside: who it is, then whether that is enough.
    router.route_layer(from_fn(admit)).route_layer(AuthLayer::new(keys))
}

async fn admit(Extension(caller): Extension<Arc<Caller>>, request: Request, next: Next) -> Response {
    Who::learn(request.extensions());
    if caller.is_admin() {
        return next.run(request).await;
    }
    let message = "this path of the gateway is for users with the tag `admin`";
    refuse(&Refusal::new(StatusCode::FORBIDDEN, "permission_error", message).code("admin_required"))
}

//! Admission of admins: 401 without a valid token, 403 without the tag `admin`.

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

use super::{context::Context, refusals::refuse};
use crate::{config::build::Caller, http::access_log::RequestIdentity};

/// Requires an admin's token for every route of `router`.
pub(super) fn admins_only(router: Router<Context>, keys: ApiKeys<Arc<Caller>>) -> Router<Context> {
    // The layer that is added last is the outermost: authentication precedes the check of the tag.
    router.route_layer(from_fn(admit)).route_layer(AuthLayer::new(keys))
}

async fn admit(Extension(caller): Extension<Arc<Caller>>, request: Request, next: Next) -> Response {
    RequestIdentity::fill_from(request.extensions());
    if caller.is_admin() {
        return next.run(request).await;
    }
    let message = "this path is for users with the tag `admin`";
    refuse(&Refusal::new(StatusCode::FORBIDDEN, "permission_error", message).code("admin_required"))
}

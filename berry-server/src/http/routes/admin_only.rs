//! Admission of admins: 401 without a valid token, 403 without the tag `admin`.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Extension, Router,
    extract::{FromRequestParts, Request},
    middleware::{Next, from_fn},
    response::Response,
};
use berry_tower::{
    auth::{AuthLayer, Authenticate},
    render::Refusal,
};
use http::{StatusCode, request::Parts};

use super::{context::Context, refusals::refuse};
use crate::{authentication::Keys, config::build::Caller, http::access_log::RequestIdentity};

/// Requires an admin's token for every route of `router`.
pub(super) fn admins_only(router: Router<Context>, keys: Keys) -> Router<Context> {
    // The layer that is added last is the outermost: authentication precedes the check of the tag.
    router.route_layer(from_fn(admit)).route_layer(AuthLayer::new(keys))
}

/// The reader of a public page, which shows more to an admin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewer {
    pub(super) is_admin: bool,
}

impl FromRequestParts<Context> for Viewer {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, context: &Context) -> Result<Self, Infallible> {
        // Present where the page requires a token.
        if let Some(caller) = head.extensions.get::<Arc<Caller>>() {
            return Ok(Self { is_admin: caller.is_admin() });
        }
        let caller = context.snapshot.keys.authenticate(head).await;
        Ok(Self { is_admin: caller.is_ok_and(|caller| caller.is_admin()) })
    }
}

async fn admit(Extension(caller): Extension<Arc<Caller>>, request: Request, next: Next) -> Response {
    RequestIdentity::fill_from(request.extensions());
    if caller.is_admin() {
        return next.run(request).await;
    }
    let message = "this path is for users with the tag `admin`";
    refuse(&Refusal::new(StatusCode::FORBIDDEN, "permission_error", message).code("admin_required"))
}

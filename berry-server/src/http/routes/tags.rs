//! The tags that group the endpoints of the OpenAPI document.

/// Endpoints for load balancers and people.
pub(super) const HEALTH: &str = "health";
/// The models that the caller may use.
pub(super) const MODELS: &str = "models";
/// Requests that a backend answers.
pub(super) const INFERENCE: &str = "inference";
/// What the caller has spent.
pub(super) const USAGE: &str = "usage";
/// Status pages: public unless `public_status` is off.
pub(super) const STATUS: &str = "status";
/// Endpoints for users with the tag `admin`.
pub(super) const ADMIN: &str = "admin";

//! Error responses of the server's own routes.

use axum::{body::Body, response::Response};
use berry_tower::render::{OpenAiErrors, Refusal, Render, RequestSummary};
use http::{HeaderName, HeaderValue, StatusCode, header::ALLOW};

use crate::http::error_shape::ErrorShape;

/// Returns the error response in OpenAI's shape.
pub(super) fn refuse(refusal: &Refusal) -> Response {
    OpenAiErrors.render(refusal.clone(), &RequestSummary::default()).map(Body::from)
}

/// Returns the 405 of an endpoint that takes only `POST`.
pub(super) fn only_post(errors: ErrorShape, id: Option<&HeaderValue>) -> Response {
    let summary = RequestSummary::default().with_request_id(id.cloned());
    let mut response = errors.render(method_not_allowed(), &summary).map(Body::from);
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static("POST"));
    if let (ErrorShape::Anthropic, Some(id)) = (errors, id) {
        headers.insert(HeaderName::from_static("request-id"), id.clone());
    }
    response
}

pub(super) fn not_found() -> Refusal {
    let message = "unknown path; the OpenAI API is under /v1";
    Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("not_found")
}

pub(super) fn method_not_allowed() -> Refusal {
    let message = "this path does not support the method";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message).code("method_not_allowed")
}

//! Error responses of the server's own routes.

use std::time::Duration;

use axum::{body::Body, response::Response};
use berry_tower::render::{ApiErrors, OpenAiErrors, Refusal, Render, RequestSummary};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode,
    header::{ALLOW, CONNECTION, UPGRADE},
    request::Parts,
};

use crate::http::{access_log::request_id, error_shape::ErrorShape};

/// Returns the error response in OpenAI's shape.
pub(super) fn refuse(refusal: &Refusal) -> Response {
    OpenAiErrors.render(refusal.clone(), &RequestSummary::default()).map(Body::from)
}

/// Returns the 503 of a request on a connection beyond the limit.
pub(crate) fn overloaded<B>(request: &Request<B>) -> Response {
    let message = "this gateway serves as many connections as MAX_CONNECTIONS allows; try again shortly";
    let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
        .code("overloaded")
        .retry_after(Duration::from_secs(1))
        .header(CONNECTION, HeaderValue::from_static("close"));
    let id = request_id(request.headers());
    let summary = RequestSummary::from(request).with_request_id(Some(id.clone()));
    let mut response = ApiErrors.render(refusal, &summary).map(Body::from);
    response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    response
}

/// Returns the error response in the shape of the caller's API.
pub(super) fn refuse_caller(refusal: Refusal, head: &Parts) -> Response {
    ApiErrors.render(refusal, &RequestSummary::from(head)).map(Body::from)
}

/// Returns the 426 that makes a client fall back from a WebSocket to plain HTTP.
pub(super) fn no_websocket() -> Response {
    let message = "WebSocket is not supported here; send the request as a POST over HTTP";
    let refusal = Refusal::new(StatusCode::UPGRADE_REQUIRED, "invalid_request_error", message);
    let mut response = refuse(&refusal.code("websocket_not_supported"));
    // RFC 9110, section 15.5.22: a 426 names the protocol to use.
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("HTTP/1.1"));
    response
}

/// Whether a request asks for a WebSocket.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    protocols.any(|value| value.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket")))
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

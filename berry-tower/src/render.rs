//! Refusals, and the shape in which a client is told of them.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::{Value, json};

type Text = Cow<'static, str>;

/// A "no" that a layer tells the client, before it has a shape.
///
/// ```
/// use berry_tower::render::{OpenAiErrors, Refusal, Render};
/// use http::StatusCode;
///
/// let refusal = Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", "no such model")
///     .code("model_not_found")
///     .param("model");
/// let response = OpenAiErrors.render(refusal, None);
/// assert_eq!(response.status(), 404);
/// assert_eq!(
///     &response.body()[..],
///     br#"{"error":{"message":"no such model","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#,
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// OpenAI's `type`.
    pub kind: Text,
    /// OpenAI's `code`.
    pub code: Option<Text>,
    /// The field of the request that is at fault.
    pub param: Option<Text>,
    /// What is wrong and what would be right, in words.
    pub message: Text,
    /// Headers to send along.
    pub headers: HeaderMap,
}

impl Refusal {
    /// A refusal without code, field or headers.
    pub fn new(status: StatusCode, kind: impl Into<Text>, message: impl Into<Text>) -> Self {
        Self { status, kind: kind.into(), code: None, param: None, message: message.into(), headers: HeaderMap::new() }
    }

    /// Sets the code.
    #[must_use]
    pub fn code(mut self, code: impl Into<Text>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Names the field at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<Text>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds `Retry-After` in whole seconds, at least 1, and `retry-after-ms`.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(millis.max(1)));
        self
    }

    /// Tells the official SDKs not to repeat a request that has been repeated enough.
    #[must_use]
    pub fn final_answer(self) -> Self {
        self.header(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"))
    }

    /// The `error` object in OpenAI's shape: all four keys, always.
    #[must_use]
    pub fn openai_error(&self) -> Value {
        json!({ "message": self.message, "type": self.kind, "param": self.param, "code": self.code })
    }
}

/// Gives a [`Refusal`] the shape that the client's API knows.
pub trait Render {
    /// The response to send; `request_id` is the request's own `x-request-id`.
    fn render(&self, refusal: Refusal, request_id: Option<&HeaderValue>) -> Response<Bytes>;
}

/// OpenAI's shape: `{"error":{"message","type","param","code"}}`.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenAiErrors;

impl Render for OpenAiErrors {
    fn render(&self, refusal: Refusal, _request_id: Option<&HeaderValue>) -> Response<Bytes> {
        // Written out, not serialized from a map, so that the keys keep OpenAI's order.
        let quote = |text: &Option<Text>| text.as_ref().map_or_else(|| "null".to_owned(), |t| json!(t).to_string());
        let body = format!(
            r#"{{"error":{{"message":{},"type":{},"param":{},"code":{}}}}}"#,
            json!(refusal.message),
            json!(refusal.kind),
            quote(&refusal.param),
            quote(&refusal.code),
        );
        respond(refusal, body)
    }
}

/// Anthropic's shape: `{"type":"error","error":{"type","message"},"request_id"}`.
///
/// ```
/// use berry_tower::render::{AnthropicErrors, Refusal, Render};
/// use http::StatusCode;
///
/// let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "invalid_request_error", "no");
/// let response = AnthropicErrors.render(refusal, None);
/// assert_eq!(
///     &response.body()[..],
///     br#"{"type":"error","error":{"type":"authentication_error","message":"no"},"request_id":null}"#,
/// );
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AnthropicErrors;

impl AnthropicErrors {
    /// Anthropic's name for a refusal with this status.
    #[must_use]
    pub fn kind(status: StatusCode) -> &'static str {
        match status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 | 529 => "overloaded_error",
            504 => "timeout_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        }
    }
}

impl Render for AnthropicErrors {
    fn render(&self, refusal: Refusal, request_id: Option<&HeaderValue>) -> Response<Bytes> {
        let id = request_id.and_then(|id| id.to_str().ok());
        let body = format!(
            r#"{{"type":"error","error":{{"type":{},"message":{}}},"request_id":{}}}"#,
            json!(Self::kind(refusal.status)),
            json!(refusal.message),
            json!(id),
        );
        respond(refusal, body)
    }
}

fn respond(refusal: Refusal, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = refusal.status;
    *response.headers_mut() = refusal.headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

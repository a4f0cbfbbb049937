//! Refusals of requests, and the shapes in which a client receives them.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
    request::Parts,
};

type Text = Cow<'static, str>;

/// The answer to a request that a layer refuses, before it has the shape of an API.
///
/// ```
/// use berry_tower::render::{OpenAiErrors, Refusal, Render, RequestSummary};
/// use http::StatusCode;
///
/// let refusal = Refusal::new(StatusCode::NOT_FOUND, "invalid_request_error", "no such model")
///     .code("model_not_found")
///     .param("model");
/// let response = OpenAiErrors.render(refusal, &RequestSummary::default());
/// assert_eq!(response.status(), 404);
/// assert_eq!(
///     &response.body()[..],
///     br#"{"error":{"message":"no such model","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#,
/// );
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// The status of the response.
    pub status: StatusCode,
    /// The error's `type`, in OpenAI's terms.
    pub kind: Text,
    /// The error's `code`, in OpenAI's terms.
    pub code: Option<Text>,
    /// The name of the request's field at fault.
    pub param: Option<Text>,
    /// The message for the client: what is wrong, and the cure.
    pub message: Text,
    /// Additional headers of the response.
    pub headers: HeaderMap,
}

impl Refusal {
    /// Creates a refusal without code, field or headers.
    pub fn new(status: StatusCode, kind: impl Into<Text>, message: impl Into<Text>) -> Self {
        Self { status, kind: kind.into(), code: None, param: None, message: message.into(), headers: HeaderMap::new() }
    }

    /// Sets the code.
    #[must_use]
    pub fn code(mut self, code: impl Into<Text>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Sets the name of the request's field at fault.
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
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        self.headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(millis.max(1)));
        self
    }

    /// Adds `x-should-retry: false`, which keeps the official SDKs from sending the request again.
    #[must_use]
    pub fn final_answer(self) -> Self {
        self.header(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"))
    }

    /// Returns the `error` object in OpenAI's shape, as JSON, always with all four keys.
    #[must_use]
    pub fn openai_error(&self) -> String {
        let optional = |text: &Option<Text>| text.as_ref().map_or_else(|| "null".to_owned(), |text| quoted(text));
        let (message, kind) = (quoted(&self.message), quoted(&self.kind));
        let (param, code) = (optional(&self.param), optional(&self.code));
        format!(r#"{{"message":{message},"type":{kind},"param":{param},"code":{code}}}"#)
    }
}

/// The part of a request that decides the shape of its refusal.
///
/// It is cheap to make from a request's head and to keep until the request is answered: it copies
/// no text.
///
/// ```
/// use berry_tower::render::RequestSummary;
/// use http::Request;
///
/// let request = Request::get("/v1/models").header("accept", "text/html").body(()).unwrap();
/// let summary = RequestSummary::from(&request);
/// assert_eq!(summary.uri().path(), "/v1/models");
/// assert_eq!(summary.accept().unwrap(), "text/html");
/// ```
#[derive(Clone, Debug, Default)]
pub struct RequestSummary {
    method: Method,
    uri: Uri,
    accept: Option<HeaderValue>,
    anthropic_version: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
}

impl RequestSummary {
    fn new(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        Self {
            method: method.clone(),
            uri: uri.clone(),
            accept: headers.get(ACCEPT).cloned(),
            anthropic_version: headers.get(ANTHROPIC_VERSION).cloned(),
            request_id: headers.get(REQUEST_ID).cloned(),
        }
    }

    /// Returns the method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the URI.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the first `Accept` header.
    #[must_use]
    pub const fn accept(&self) -> Option<&HeaderValue> {
        self.accept.as_ref()
    }

    /// Returns the `anthropic-version` header, which every client of Anthropic's API sends.
    #[must_use]
    pub const fn anthropic_version(&self) -> Option<&HeaderValue> {
        self.anthropic_version.as_ref()
    }

    /// Returns the `x-request-id` header.
    #[must_use]
    pub const fn request_id(&self) -> Option<&HeaderValue> {
        self.request_id.as_ref()
    }

    /// Replaces the request id.
    #[must_use]
    pub fn with_request_id(mut self, id: Option<HeaderValue>) -> Self {
        self.request_id = id;
        self
    }
}

impl From<&Parts> for RequestSummary {
    fn from(head: &Parts) -> Self {
        Self::new(&head.method, &head.uri, &head.headers)
    }
}

impl<B> From<&Request<B>> for RequestSummary {
    fn from(request: &Request<B>) -> Self {
        Self::new(request.method(), request.uri(), request.headers())
    }
}

const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// The header with the id of a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives a [`Refusal`] the shape that the client expects.
///
/// [`ApiErrors`] is the default of the layers. A closure works as well:
///
/// ```
/// use berry_tower::render::{OpenAiErrors, Refusal, Render, RequestSummary};
/// use bytes::Bytes;
/// use http::{Request, Response, StatusCode};
///
/// let render = |refusal: Refusal, request: &RequestSummary| match request.accept() {
///     Some(accept) if accept == "text/plain" => {
///         let mut response = Response::new(Bytes::from(refusal.message.into_owned()));
///         *response.status_mut() = refusal.status;
///         response
///     }
///     _ => OpenAiErrors.render(refusal, request),
/// };
/// let request = Request::get("/").header("accept", "text/plain").body(()).unwrap();
/// let refusal = Refusal::new(StatusCode::FORBIDDEN, "permission_error", "not for you");
/// assert_eq!(render.render(refusal, &RequestSummary::from(&request)).body(), "not for you");
/// ```
pub trait Render {
    /// Returns the response that refuses `request`.
    fn render(&self, refusal: Refusal, request: &RequestSummary) -> Response<Bytes>;
}

impl<F> Render for F
where
    F: Fn(Refusal, &RequestSummary) -> Response<Bytes>,
{
    fn render(&self, refusal: Refusal, request: &RequestSummary) -> Response<Bytes> {
        self(refusal, request)
    }
}

/// The shape of the API that the client calls: Anthropic's for a request with `anthropic-version`
/// or a path of its Messages API, else OpenAI's.
///
/// ```
/// use berry_tower::render::{ApiErrors, Refusal, Render, RequestSummary};
/// use http::{Request, StatusCode};
///
/// let refusal = || Refusal::new(StatusCode::UNAUTHORIZED, "invalid_request_error", "no");
/// for (path, kind) in [("/v1/messages", "authentication_error"), ("/v1/models", "invalid_request_error")] {
///     let request = Request::get(path).body(()).unwrap();
///     let response = ApiErrors.render(refusal(), &RequestSummary::from(&request));
///     assert!(std::str::from_utf8(response.body()).unwrap().contains(kind));
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ApiErrors;

impl Render for ApiErrors {
    fn render(&self, refusal: Refusal, request: &RequestSummary) -> Response<Bytes> {
        let path = request.uri.path();
        let is_messages = path.ends_with("/messages") || path.contains("/messages/");
        if is_messages || request.anthropic_version.is_some() {
            AnthropicErrors.render(refusal, request)
        } else {
            OpenAiErrors.render(refusal, request)
        }
    }
}

/// OpenAI's shape: `{"error":{"message","type","param","code"}}`.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenAiErrors;

impl Render for OpenAiErrors {
    fn render(&self, refusal: Refusal, _: &RequestSummary) -> Response<Bytes> {
        let body = format!(r#"{{"error":{}}}"#, refusal.openai_error());
        respond(refusal, body)
    }
}

/// Anthropic's shape: `{"type":"error","error":{"type","message"},"request_id"}`.
///
/// ```
/// use berry_tower::render::{AnthropicErrors, Refusal, Render, RequestSummary};
/// use http::StatusCode;
///
/// let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "invalid_request_error", "no");
/// let response = AnthropicErrors.render(refusal, &RequestSummary::default());
/// assert_eq!(
///     &response.body()[..],
///     br#"{"type":"error","error":{"type":"authentication_error","message":"no"},"request_id":null}"#,
/// );
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AnthropicErrors;

impl AnthropicErrors {
    /// Returns the error type that Anthropic's API has for a status.
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
    fn render(&self, refusal: Refusal, request: &RequestSummary) -> Response<Bytes> {
        let id = request.request_id().and_then(|id| id.to_str().ok());
        let body = format!(
            r#"{{"type":"error","error":{{"type":{},"message":{}}},"request_id":{}}}"#,
            quoted(Self::kind(refusal.status)),
            quoted(&refusal.message),
            id.map_or_else(|| "null".to_owned(), quoted),
        );
        respond(refusal, body)
    }
}

/// Returns a text as a JSON string. The edge layers need no more of JSON than this.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn respond(refusal: Refusal, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = refusal.status;
    *response.headers_mut() = refusal.headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

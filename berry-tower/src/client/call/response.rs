//! The conversion of the backend's response.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::Call;
use crate::{
    body::ByteLease,
    classify::{self, Class, ErrorBody},
    client::{
        ClientBody,
        account_ids::IdReader,
        after,
        decoded::Decoded,
        head,
        public_name::PublicName,
        reader::Reader,
        translated::{self, Translated},
        upstream_error,
        watch::Watch,
    },
    dialect::{Dialect, Dropped, UnsupportedField},
    endpoint::Endpoint,
    error::{BoxError, Failure, Unroutable},
    inspect::Prefilled,
    progress::{CommitPoint, Progress},
    sse::{Grammar, StreamFilter},
    upstream_time::UpstreamTime,
};

/// The header that names the optional fields of a request which the backend answered without.
const DROPPED: HeaderName = HeaderName::from_static("x-berry-dropped");

/// OpenAI's header with its name for the model.
const OPENAI_MODEL: HeaderName = HeaderName::from_static("openai-model");

/// How long the body of an error response may take.
const ERROR_BODY: Duration = Duration::from_secs(5);

/// The error as the upstream has worded it, where the caller gets it in other words; in a response's extensions.
#[derive(Clone, Debug)]
struct AsReceived(ErrorBody);

/// Returns the error of a response in the upstream's words.
pub(super) fn upstream_words<B>(answer: &Response<B>) -> Option<&ErrorBody> {
    let received = answer.extensions().get::<AsReceived>().map(|AsReceived(error)| error);
    received.or_else(|| answer.extensions().get::<ErrorBody>())
}

impl Call {
    /// The response in place of the provider's, which would refuse a request without a key.
    pub(in crate::client) fn without_key<B>(&self) -> Response<ClientBody<B>> {
        let error = ErrorBody::default().with_message("the provider's key could not be got; see the log");
        self.refusal(StatusCode::UNAUTHORIZED, error, Class::Auth)
    }

    /// The response in place of a refusal of the request's format, which cannot be expressed in the format that the backend
    /// has. Another backend may have the first one.
    pub(in crate::client) fn inexpressible<B>(&self, field: &UnsupportedField) -> Response<ClientBody<B>> {
        let code = field.code.unwrap_or("unsupported_parameter");
        let mut error = ErrorBody::default().with_message(field.to_string()).with_code(code);
        error.param = Some(field.param.clone());
        error.endpoint = Some(self.endpoint);
        self.refusal(StatusCode::BAD_REQUEST, error, Class::EndpointNotServed)
    }

    /// Returns a response with an error of the gateway's in place of the provider's.
    fn refusal<B>(&self, status: StatusCode, mut error: ErrorBody, class: Class) -> Response<ClientBody<B>> {
        error.class = Some(class);
        let provider = self.backend().provider();
        let raw = upstream_error::body(Bytes::new(), status, &error, provider, self.request_id.as_ref());
        let mut response = Response::new(ClientBody::from(raw));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.extensions_mut().insert(error);
        response
    }

    /// Converts a response. An error's body is read whole and parsed.
    pub(in crate::client) async fn convert<B>(&self, response: Response<B>) -> Result<Response<ClientBody<B>>, BoxError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if self.is_misplaced(&response) {
            return Err(self.misplaced(response).await.into());
        }
        if response.status().is_success() {
            return self.convert_success(response);
        }
        let (mut parts, body) = response.into_parts();
        let body = Decoded::new(body, &parts.headers);
        head::sanitize_response_headers(&mut parts.headers, self.backend().provider());
        // The status suffices for a verdict, so a slow body is not waited for, and one that cannot be
        // decoded counts as empty.
        let waiting = self.time.as_ref().map(UpstreamTime::wait);
        let raw = match body {
            Ok(body) => timeout(ERROR_BODY, read_error(body)).await.unwrap_or_default(),
            Err(_) => Bytes::new(),
        };
        drop(waiting);
        let mut error = upstream_error::parse(&raw, self.endpoint, self.backend().provider());
        // Not every OpenAI-type backend has Responses.
        if parts.status == StatusCode::NOT_FOUND && self.dialect == Dialect::Responses {
            error.class.get_or_insert(Class::EndpointNotServed);
        }
        if let Some(renamed) = self.renamed(&error) {
            parts.extensions.insert(AsReceived(std::mem::replace(&mut error, renamed)));
        }
        if parts.status == StatusCode::TOO_MANY_REQUESTS
            && !parts.headers.contains_key(RETRY_AFTER)
            && let Some(wait) = upstream_error::retry_delay(&raw)
        {
            parts.headers.insert(RETRY_AFTER, wait.into());
        }
        if let Some(Class::RateLimited { retry_after }) = &mut error.class {
            *retry_after = classify::retry_after(&parts.headers);
        }
        let raw = upstream_error::body(raw, parts.status, &error, self.backend().provider(), self.request_id.as_ref());
        parts.headers.insert(CONTENT_LENGTH, raw.len().into());
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        parts.extensions.insert(error);
        Ok(Response::from_parts(parts, ClientBody::from(raw)))
    }

    /// Returns an error with the caller's name of the field that it is about, if that is another one than the upstream's.
    fn renamed(&self, error: &ErrorBody) -> Option<ErrorBody> {
        let theirs = error.param.as_deref()?;
        let param = self.conversation.as_ref()?.caller_param(self.dialect, theirs)?;
        if param == theirs {
            return None;
        }
        let mut renamed = error.clone();
        // Anthropic's errors have no member for the field.
        if let (Endpoint::Messages, Some(message)) = (self.endpoint, &error.message) {
            renamed.message = Some(format!("{param}: {message}"));
        }
        renamed.param = Some(param);
        Some(renamed)
    }

    /// Whether a successful response is JSON where a stream was requested: some providers report errors so.
    pub(in crate::client) fn is_misplaced<B>(&self, response: &Response<B>) -> bool {
        const JSON: &str = "application/json";
        let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.expected().0 == CommitPoint::Output
            && response.status().is_success()
            && media.get(..JSON.len()).is_some_and(|media| media.eq_ignore_ascii_case(JSON))
    }

    /// Reads the error in a JSON body in place of a stream.
    async fn misplaced<B>(&self, response: Response<B>) -> Failure
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = response.into_parts();
        let waiting = self.time.as_ref().map(UpstreamTime::wait);
        let raw = match Decoded::new(body, &parts.headers) {
            Ok(body) => timeout(ERROR_BODY, read_error(body)).await.unwrap_or_default(),
            Err(_) => Bytes::new(),
        };
        drop(waiting);
        let provider = self.backend().provider();
        let error = upstream_error::parse(&raw, self.endpoint, provider);
        if error.message.is_some() || error.class.is_some() {
            return upstream_error::masked(Failure::ErrorEvent(Box::new(error)), provider);
        }
        Failure::InvalidResponse("a plain response where a stream was requested")
    }

    /// Converts a successful response. Its body is checked while it passes.
    pub(in crate::client) fn convert_success<B>(
        &self,
        response: Response<B>,
    ) -> Result<Response<ClientBody<B>>, BoxError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = response.into_parts();
        let body = Decoded::new(body, &parts.headers)?;
        head::sanitize_response_headers(&mut parts.headers, self.backend().provider());
        if body.is_encoded() {
            parts.headers.remove(CONTENT_LENGTH);
        }
        if let Some(conversation) = &self.conversation {
            let dropped = Dropped(conversation.dropped(self.dialect));
            if let Some(value) = dropped.header_value() {
                parts.headers.insert(DROPPED, value);
                parts.extensions.insert(dropped);
            }
        }
        let media = parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let is = |kind: &str| media.get(..kind.len()).is_some_and(|m| m.eq_ignore_ascii_case(kind));
        let (commit, grammar) = self.expected();
        match commit {
            _ if body.is_end_stream() => return Err(Failure::InvalidResponse("an empty body").into()),
            _ if is("text/html") => return Err(Failure::InvalidResponse("a web page").into()),
            CommitPoint::Whole if is("text/event-stream") => {
                return Err(Failure::InvalidResponse("a stream where a plain response was requested").into());
            }
            CommitPoint::FirstByte if is("application/json") && self.endpoint.answers_audio() => {
                return Err(Failure::InvalidResponse("a JSON body where audio was requested").into());
            }
            _ => {}
        }
        if self.conversation.is_some() {
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if commit == CommitPoint::Output {
            // The filter may add or remove events.
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        }
        let reader = match commit {
            CommitPoint::Output => Reader::Stream(Box::new(
                StreamFilter::new(grammar, self.hides_usage())
                    .expected_choices(self.requested.choices as usize)
                    .done_event(self.settings.done_event),
            )),
            CommitPoint::Whole => Reader::plain(self.endpoint),
            CommitPoint::FirstByte => Reader::Opaque,
        };
        let timeouts = self.backend().provider().timeouts();
        let cuts_late = commit == CommitPoint::Output && !self.selected.is_last_resort();
        let first_token = timeouts.first_token().filter(|_| cuts_late);
        let first_output = first_token.map(|timeout| after(self.sent, timeout));
        let watch = Watch::new(timeouts.idle().unwrap_or_default(), first_output, self.time.clone());
        let budget = self.lease.as_ref().map(|lease| lease.budget().clone());
        let progress = Progress::new(commit, grammar).with_budget(budget);
        parts.extensions.insert(progress.clone());
        if self.prefill.is_some() {
            parts.extensions.insert(Prefilled);
        }
        let public_name = self.public_name.as_deref().filter(|_| !matches!(reader, Reader::Opaque));
        if public_name.is_some() {
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.remove(OPENAI_MODEL);
        }
        let public_name = public_name.map(|name| {
            let lease = self.lease.as_ref().map(ByteLease::sibling);
            PublicName::new(name, commit == CommitPoint::Output, lease)
        });
        let provider = self.backend().provider().clone();
        let body = self.translated(body)?;
        // A translated response has no ids of the account's.
        let ids = if self.conversation.is_none() { IdReader::new(self.backend(), self.endpoint) } else { None };
        let body = ClientBody::new(body, reader, progress, watch, provider);
        let body = body.with_public_name(public_name).with_ids(ids);
        Ok(Response::from_parts(parts, body))
    }

    /// The commit point and the grammar of the requested response.
    fn expected(&self) -> (CommitPoint, Grammar) {
        let grammar = match self.endpoint {
            Endpoint::ChatCompletions => Grammar::Chat,
            Endpoint::Completions => Grammar::Completions,
            Endpoint::Responses => Grammar::Responses,
            Endpoint::Messages => Grammar::Messages,
            _ => Grammar::Opaque,
        };
        match (self.is_stream(), grammar) {
            (true, Grammar::Opaque) => (CommitPoint::FirstByte, Grammar::Opaque),
            (true, grammar) => (CommitPoint::Output, grammar),
            (false, _) if self.endpoint.answers_json() => (CommitPoint::Whole, Grammar::Opaque),
            (false, _) => (CommitPoint::FirstByte, Grammar::Opaque),
        }
    }

    /// Returns the response body in the client's format.
    fn translated<B>(&self, body: Decoded<B>) -> Result<Translated<Decoded<B>>, Unroutable>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let Some(conversation) = &self.conversation else { return Ok(Translated::Untouched(body)) };
        let provider = self.backend().provider();
        let translator = conversation.translator(&self.target(), translated::now())?;
        let lease = self.lease.as_ref().map(ByteLease::sibling);
        Ok(if self.is_stream() {
            Translated::stream(body, translator, lease)
        } else {
            Translated::plain(body, translator, provider.clone(), lease)
        })
    }
}

/// Reads at most [`MAX_BODY`](upstream_error::MAX_BODY) bytes of an error's body.
async fn read_error<B>(body: B) -> Bytes
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = std::pin::pin!(body);
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // A truncated body still belongs to an error response.
        let Ok(Ok(bytes)) = frame.map(http_body::Frame::into_data) else { break };
        read.extend_from_slice(&bytes[..bytes.len().min(upstream_error::MAX_BODY - read.len())]);
        if read.len() == upstream_error::MAX_BODY {
            break;
        }
    }
    read.freeze()
}

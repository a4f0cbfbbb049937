//! One attempt of a request: what is sent to the backend, and what its answer comes to.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    ClientBody, Upstream,
    body::Reader,
    decoded::Decoded,
    head::{self, HeadSettings},
    refused_field::{self, Omitted},
    translated::Translated,
    upstream_error,
    watch::Watch,
};
use crate::{
    backend::{Backend, OptionalField},
    body::Buffered,
    classify::{self, Class, ErrorBody},
    dialect::{
        Conversation, Dropped, Target, may_contain_foreign_thinking, may_lack_thinking, without_foreign_thinking,
        without_signatures,
    },
    endpoint::Endpoint,
    error::{BoxError, Deadline, Failure, MissingLayer, Unroutable},
    inspect::{Prefill, Prefilled, Requested},
    progress::{CommitPoint, Progress},
    select::Selected,
    sse::{Grammar, StreamFilter},
    upstream_time::UpstreamTime,
};

/// The header that names the optional fields of a request which the backend answered without.
const DROPPED: HeaderName = HeaderName::from_static("x-berry-dropped");

/// How long an error's body is waited for.
const ERROR_BODY: Duration = Duration::from_secs(5);

/// One attempt: what was asked, of whom, by when.
pub(super) struct Call {
    pub(super) selected: Selected,
    requested: Requested,
    /// A body with the beginning of the answer, for a backend that goes on from there.
    prefill: Option<Buffered>,
    endpoint: Endpoint,
    sent: Instant,
    /// The head must have come by then, and what it is called when it has not.
    pub(super) head: (Instant, Deadline),
    /// Whether the upstream is asked for token counts that the client did not ask for.
    pub(super) usage: bool,
    /// What is asked, where the backend speaks another format.
    conversation: Option<Arc<Conversation>>,
    /// Whether the model has backends of another format than the client's.
    mixed: bool,
    /// The client's name for the request, where its API repeats it in errors.
    request_id: Option<HeaderValue>,
    /// Where the waits for the upstream are added up.
    pub(super) time: Option<UpstreamTime>,
    settings: HeadSettings,
    /// Fields that the backend has refused.
    omitted: Omitted,
}

impl Call {
    pub(super) fn new(request: &mut Request<Buffered>, settings: &HeadSettings) -> Result<Self, BoxError> {
        // The body may have been replaced since it was inspected.
        let known = Requested::of(request).map(drop);
        let request = &*request;
        let selected = request.extensions().get::<Selected>().ok_or(MissingLayer("SelectLayer"))?.clone();
        let goes_on = |prefill: &&Prefill| goes_on(&selected.backend, prefill);
        let prefill = request.extensions().get::<Prefill>().filter(goes_on);
        let requested = match prefill {
            Some(prefill) => &prefill.requested,
            None => {
                known?;
                request.extensions().get::<Requested>().ok_or(MissingLayer("InspectLayer"))?
            }
        };
        let (requested, prefill) = (requested.clone(), prefill.map(|prefill| prefill.body.clone()));
        let endpoint = requested.endpoint.ok_or(Unroutable::UnsupportedEndpoint)?;
        let mixed = request.extensions().get::<Arc<Conversation>>().is_some();
        let conversation = (endpoint.is_chat() && !selected.backend.provider.speaks(endpoint)).then(|| {
            let known = request.extensions().get::<Arc<Conversation>>().filter(|_| prefill.is_none());
            let body = || prefill.as_ref().unwrap_or(request.body()).bytes().clone();
            known.cloned().unwrap_or_else(|| Arc::new(Conversation::new(endpoint, body())))
        });
        let request_id = (endpoint == Endpoint::Messages).then(|| request.headers().get("x-request-id").cloned());
        let (sent, timeouts) = (Instant::now(), selected.backend.provider.timeouts);
        let streams = requested.stream && endpoint.streams();
        let mut head = (sent + if streams { timeouts.stream_head } else { timeouts.plain_head }, Deadline::Head);
        if streams && !timeouts.first_token.is_zero() && !selected.last && sent + timeouts.first_token < head.0 {
            // Before the head has come it is silence, whichever deadline passes.
            head.0 = sent + timeouts.first_token;
        }
        let (request_id, time) = (request_id.flatten(), request.extensions().get().cloned());
        let mut call = Self {
            selected,
            requested,
            prefill,
            endpoint,
            sent,
            head,
            usage: false,
            conversation,
            mixed,
            request_id,
            time,
            settings: settings.clone(),
            omitted: Omitted::default(),
        };
        if call.has_optional_fields() {
            call.omitted = Omitted::new(|field| !call.backend().accepts(field));
        }
        call.usage = call.asks_usage();
        Ok(call)
    }

    /// What the future gives, if it does so before the head is due. The upstream is waited for.
    pub(super) async fn within<F, R, E>(&self, future: F) -> Result<R, BoxError>
    where
        F: Future<Output = Result<R, E>>,
        E: Into<BoxError>,
    {
        let _waiting = self.time.as_ref().map(UpstreamTime::wait);
        match timeout_at(self.head.0, future).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::from_transport(error.into()).into()),
            Err(_) => Err(Failure::Timeout(self.head.1).into()),
        }
    }

    fn backend(&self) -> &Arc<Backend> {
        &self.selected.backend
    }

    /// Whether the answer is to be a stream.
    const fn streams(&self) -> bool {
        self.requested.stream && self.endpoint.streams()
    }

    /// Whether to ask for token counts that the client did not ask for.
    fn asks_usage(&self) -> bool {
        let backend = self.backend();
        self.has_optional_fields()
            && self.streams()
            && !self.requested.stream_options.include_usage
            && backend.accepts(OptionalField::StreamOptions)
    }

    /// Whether a stream of chunks tells token counts that the client did not ask for: where we
    /// asked for them, and where a translation brings them.
    fn hides_usage(&self) -> bool {
        self.usage || self.conversation.is_some() && !self.requested.stream_options.include_usage
    }

    /// The backend, as a translation sees it.
    fn target(&self) -> Target<'_> {
        let Backend { id, provider, sampling, think_tags, thinking, .. } = &**self.backend();
        Target::new(provider.dialect, &id.model)
            .with_sampling(*sampling)
            .with_think_tags(*think_tags)
            .with_thinking(*thinking)
            .with_stream(self.streams())
            .with_usage(self.usage)
    }

    /// The body for the upstream.
    fn upstream_body(&self, client: &Bytes) -> Result<Bytes, Unroutable> {
        let id = &self.backend().id;
        if let Some(conversation) = &self.conversation {
            return Ok(self.omitted.apply(conversation.encode(&self.target())?));
        }
        let body = self.prefill.as_ref().map_or(client, Buffered::bytes);
        let body = if self.usage {
            self.requested.with_usage(body, &id.model)
        } else {
            self.requested.with_model(body, &id.model)
        };
        let body = match self.endpoint {
            // Thoughts that other backends of the pool have told are none that Anthropic has signed.
            Endpoint::Messages if may_contain_foreign_thinking(&body) || self.mixed && may_lack_thinking(&body) => {
                without_foreign_thinking(&body)
            }
            // Where all are of OpenAI's format one may be Google's, which wants its signatures back.
            Endpoint::ChatCompletions if self.mixed => without_signatures(&body),
            _ => body,
        };
        Ok(self.omitted.apply(body))
    }

    /// The upstream's body in the client's format.
    fn translated<B>(&self, body: Decoded<B>) -> Result<Translated<Decoded<B>>, Unroutable>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let Some(conversation) = &self.conversation else { return Ok(Translated::Untouched(body)) };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let provider = &self.backend().provider;
        let translator = conversation.translator(&self.target(), now)?;
        Ok(if self.streams() {
            Translated::stream(body, translator)
        } else {
            Translated::plain(body, translator, provider.clone())
        })
    }

    /// The media type that is asked for.
    const fn accept(&self) -> HeaderValue {
        if self.streams() {
            HeaderValue::from_static("text/event-stream")
        } else if self.endpoint.answers_json() {
            HeaderValue::from_static("application/json")
        } else {
            HeaderValue::from_static("*/*")
        }
    }

    /// The request for the transport; a `fresh` one wants a connection of its own.
    pub(super) fn upstream_request(
        &self,
        client: &Request<Buffered>,
        fresh: bool,
    ) -> Result<Request<Buffered>, BoxError> {
        let backend = self.backend();
        let mut request = Request::new(client.body().replaced_by(self.upstream_body(client.body().bytes())?));
        *request.method_mut() = client.method().clone();
        *request.uri_mut() = backend.uri(self.endpoint, self.streams()).ok_or(Unroutable::UnsupportedEndpoint)?;
        *request.headers_mut() = self.settings.request_headers(client.headers(), self.accept(), &backend.provider);
        let upstream = Upstream::new(backend.provider.timeouts.connect).with_head_due(self.head.0);
        request.extensions_mut().insert(if fresh { upstream.with_fresh_connection() } else { upstream });
        Ok(request)
    }

    pub(super) async fn answer<B>(&self, response: Response<B>) -> Result<Response<ClientBody<B>>, BoxError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if response.status().is_success() {
            return self.success(response);
        }
        let (mut parts, body) = response.into_parts();
        let body = Decoded::new(body, &parts.headers);
        head::sanitize_response_headers(&mut parts.headers, &self.backend().provider);
        // The status says most of it: a body that does not come is not waited for long, and one that
        // cannot be decoded counts as none.
        let waiting = self.time.as_ref().map(UpstreamTime::wait);
        let raw = match body {
            Ok(body) => timeout(ERROR_BODY, read(body)).await.unwrap_or_default(),
            Err(_) => Bytes::new(),
        };
        drop(waiting);
        let mut error = upstream_error::parse(&raw, self.endpoint, &self.backend().provider);
        if parts.status == StatusCode::TOO_MANY_REQUESTS
            && !parts.headers.contains_key(RETRY_AFTER)
            && let Some(wait) = upstream_error::retry_delay(&raw)
        {
            parts.headers.insert(RETRY_AFTER, wait.into());
        }
        if let Some(Class::RateLimited { retry_after }) = &mut error.class {
            *retry_after = classify::retry_after(&parts.headers);
        }
        let raw = upstream_error::body(raw, parts.status, &error, &self.backend().provider, self.request_id.as_ref());
        parts.headers.insert(CONTENT_LENGTH, raw.len().into());
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        parts.extensions.insert(error);
        Ok(Response::from_parts(parts, ClientBody::from(raw)))
    }

    pub(super) fn success<B>(&self, response: Response<B>) -> Result<Response<ClientBody<B>>, BoxError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = response.into_parts();
        let body = Decoded::new(body, &parts.headers)?;
        head::sanitize_response_headers(&mut parts.headers, &self.backend().provider);
        if body.is_encoded() {
            parts.headers.remove(CONTENT_LENGTH);
        }
        if let Some(conversation) = &self.conversation {
            let dropped = Dropped(conversation.dropped(self.backend().provider.dialect));
            if let Some(value) = dropped.header_value() {
                parts.headers.insert(DROPPED, value);
                parts.extensions.insert(dropped);
            }
        }
        let media = parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let is = |kind: &str| media.get(..kind.len()).is_some_and(|m| m.eq_ignore_ascii_case(kind));
        let (hold, grammar) = self.expected();
        match hold {
            _ if body.is_end_stream() => return Err(Failure::InvalidResponse("an empty body").into()),
            _ if is("text/html") => return Err(Failure::InvalidResponse("a web page").into()),
            CommitPoint::Whole if is("text/event-stream") => {
                return Err(Failure::InvalidResponse("a stream where a plain answer was asked for").into());
            }
            CommitPoint::Output if is("application/json") => {
                return Err(Failure::InvalidResponse("a plain answer where a stream was asked for").into());
            }
            CommitPoint::FirstByte if is("application/json") && self.endpoint.answers_audio() => {
                return Err(Failure::InvalidResponse("a JSON body where audio was asked for").into());
            }
            _ => {}
        }
        if self.conversation.is_some() {
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if hold == CommitPoint::Output {
            // The filter may add to the stream or leave something out.
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        }
        let reader = match hold {
            CommitPoint::Output => Reader::Stream(Box::new(
                StreamFilter::new(grammar, self.hides_usage()).expected_choices(self.requested.choices as usize),
            )),
            CommitPoint::Whole => Reader::plain(self.endpoint),
            CommitPoint::FirstByte => Reader::Opaque,
        };
        let timeouts = self.backend().provider.timeouts;
        let cuts_late = hold == CommitPoint::Output && !timeouts.first_token.is_zero() && !self.selected.last;
        let first_output = cuts_late.then(|| self.sent + timeouts.first_token);
        let watch = Watch::new(timeouts.idle, first_output, self.time.clone());
        let progress = Progress::new(hold, grammar);
        parts.extensions.insert(progress.clone());
        if self.prefill.is_some() {
            parts.extensions.insert(Prefilled);
        }
        let provider = self.backend().provider.clone();
        let body = self.translated(body)?;
        Ok(Response::from_parts(parts, ClientBody::new(body, reader, progress, watch, provider)))
    }

    /// What kind of answer the request calls for.
    fn expected(&self) -> (CommitPoint, Grammar) {
        let grammar = match self.endpoint {
            Endpoint::ChatCompletions => Grammar::Chat,
            Endpoint::Completions => Grammar::Completions,
            Endpoint::Responses => Grammar::Responses,
            Endpoint::Messages => Grammar::Messages,
            _ => Grammar::Opaque,
        };
        match (self.streams(), grammar) {
            (true, Grammar::Opaque) => (CommitPoint::FirstByte, Grammar::Opaque),
            (true, grammar) => (CommitPoint::Output, grammar),
            (false, _) if self.endpoint.answers_json() => (CommitPoint::Whole, Grammar::Opaque),
            (false, _) => (CommitPoint::FirstByte, Grammar::Opaque),
        }
    }

    /// Whether the upstream gets a chat completion of OpenAI's, whose fields not all providers accept.
    fn has_optional_fields(&self) -> bool {
        self.backend().provider.dialect.format().has_usage_option()
            && (self.conversation.is_some()
                || matches!(self.endpoint, Endpoint::ChatCompletions | Endpoint::Completions))
    }

    /// The field that an answer refuses, if the request can be sent again without it: it has it, or
    /// the gateway put it in, and the client's own wish for usage is not taken from it.
    pub(super) fn refused_field<B>(&self, answer: &Response<B>, client: &Request<Buffered>) -> Option<OptionalField> {
        if !self.has_optional_fields() {
            return None;
        }
        let field = refused_field::refused(answer.status(), answer.extensions().get::<ErrorBody>()?)?;
        let can_go = match field {
            OptionalField::StreamOptions => self.usage && self.requested.stream_options.at.is_none(),
            field if self.omitted.contains(field) => false,
            field => Omitted::is_in(field, &self.upstream_body(client.body().bytes()).ok()?),
        };
        can_go.then_some(field)
    }

    /// Sends no such field any more.
    pub(super) fn omit(&mut self, field: OptionalField) {
        if field == OptionalField::StreamOptions {
            self.usage = false;
        } else {
            self.omitted.insert(field);
        }
    }
}

/// Whether the backend goes on from what the client has of an answer. Anthropic takes no beginning
/// that ends in white space.
fn goes_on(backend: &Backend, prefill: &Prefill) -> bool {
    backend.supports_prefill
        && (!prefill.ends_in_space || backend.provider.dialect.format().accepts_trailing_space_in_prefill())
}

/// An error's body, as far as it is read.
async fn read<B>(body: B) -> Bytes
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = std::pin::pin!(body);
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // What broke off is still an error answer, by its status.
        let Ok(Ok(bytes)) = frame.map(http_body::Frame::into_data) else { break };
        read.extend_from_slice(&bytes[..bytes.len().min(upstream_error::MAX_BODY - read.len())]);
        if read.len() == upstream_error::MAX_BODY {
            break;
        }
    }
    read.freeze()
}

//! One attempt: the request for the backend, and the conversion of its response.

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
    ClientBody, Upstream, after,
    body::Reader,
    decoded::Decoded,
    head::{self, HeadSettings},
    openai_api,
    public_name::PublicName,
    refused_field,
    request_rules::{Rules, with_body_version},
    translated::Translated,
    upstream_error,
    watch::Watch,
};
use crate::{
    attempt::Attempt,
    backend::{
        AnswerModel, Backend, ClaudeThinking, Efforts, Lesson, OpenAiApi, OptionalField, ReasoningHistory, RotatingKey,
    },
    body::{Buffered, ByteLease},
    classify::{self, Class, ErrorBody},
    dialect::{
        Conversation, Dialect, Dropped, Target, may_contain_foreign_thinking, may_lack_thinking,
        without_foreign_thinking, without_own_reasoning, without_signatures,
    },
    endpoint::Endpoint,
    error::{BoxError, Deadline, Failure, MissingLayer, Unroutable},
    inspect::{Prefill, Prefilled, Requested},
    progress::{CommitPoint, Progress},
    select::{RoutedModel, Selected},
    sse::{Grammar, StreamFilter},
    trace_context::TraceContext,
    upstream_time::UpstreamTime,
};

/// The header that names the optional fields of a request which the backend answered without.
const DROPPED: HeaderName = HeaderName::from_static("x-berry-dropped");

/// OpenAI's header with its name for the model.
const OPENAI_MODEL: HeaderName = HeaderName::from_static("openai-model");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// How long the body of an error response may take.
const ERROR_BODY: Duration = Duration::from_secs(5);

/// One attempt on the selected backend.
pub(super) struct Call {
    pub(super) selected: Selected,
    requested: Requested,
    /// The request body with an assistant prefix, for a backend that continues from it.
    prefill: Option<Buffered>,
    endpoint: Endpoint,
    sent: Instant,
    /// When the response head is due, and the deadline that passes then.
    pub(super) head: (Instant, Deadline),
    /// Whether the gateway asks for token counts that the client did not ask for.
    pub(super) usage: bool,
    /// The format in which the backend is asked.
    dialect: Dialect,
    /// The parsed conversation, where the backend has another format.
    conversation: Option<Arc<Conversation>>,
    /// Whether the model has backends of several formats.
    is_multi_format: bool,
    /// The client's request id, where its API repeats it in errors.
    request_id: Option<HeaderValue>,
    /// An empty lease on the budget that the request counts against, for what is held of the response.
    lease: Option<ByteLease>,
    /// Counts the time spent waiting for the upstream.
    pub(super) time: Option<UpstreamTime>,
    settings: HeadSettings,
    /// How the request is written for the backend.
    rules: Rules,
    thinking: ClaudeThinking,
    efforts: Efforts,
    /// The name of the model in responses, where it is not the provider's.
    public_name: Option<Arc<str>>,
    /// A random number, from which the ids of a translated response are made.
    seed: u128,
}

impl Call {
    pub(super) fn new(request: &mut Request<Buffered>, settings: &HeadSettings) -> Result<Self, BoxError> {
        // The body may have been replaced since it was inspected.
        let known = Requested::of(request).map(drop);
        let request = &*request;
        let selected = request.extensions().get::<Selected>().ok_or(MissingLayer("SelectLayer"))?.clone();
        let accepts = |prefill: &&Prefill| accepts_prefill(selected.backend(), prefill);
        let prefill = request.extensions().get::<Prefill>().filter(accepts);
        let requested = match prefill {
            Some(prefill) => &prefill.requested,
            None => {
                known?;
                request.extensions().get::<Requested>().ok_or(MissingLayer("InspectLayer"))?
            }
        };
        let (requested, prefill) = (requested.clone(), prefill.map(|prefill| prefill.body.clone()));
        let endpoint = requested.endpoint.ok_or(Unroutable::UnsupportedEndpoint)?;
        let is_multi_format = request.extensions().get::<Arc<Conversation>>().is_some();
        let dialect = selected.backend().dialect(endpoint);
        let conversation = (endpoint.is_chat() && !dialect.format().has_endpoint(endpoint)).then(|| {
            let known = request.extensions().get::<Arc<Conversation>>().filter(|_| prefill.is_none());
            let body = || prefill.as_ref().unwrap_or(request.body()).bytes().clone();
            known.cloned().unwrap_or_else(|| Arc::new(new_conversation(endpoint, body(), request, &requested)))
        });
        let request_id = (endpoint == Endpoint::Messages).then(|| request.headers().get("x-request-id").cloned());
        let (sent, timeouts) = (Instant::now(), *selected.backend().provider().timeouts());
        let streams = requested.stream && endpoint.streams();
        let mut head =
            (after(sent, if streams { timeouts.stream_head() } else { timeouts.plain_head() }), Deadline::Head);
        if let Some(first_token) = timeouts.first_token().filter(|_| streams && !selected.is_last_resort()) {
            // Before the head has come it is silence, whichever deadline passes.
            head.0 = head.0.min(after(sent, first_token));
        }
        let (request_id, time) = (request_id.flatten(), request.extensions().get().cloned());
        let (thinking, efforts) = (selected.backend().thinking(), selected.backend().efforts());
        let routed = request.extensions().get::<RoutedModel>().map(RoutedModel::model);
        let public = routed.filter(|model| model.answer_model() == AnswerModel::Public);
        let public_name = public.map(|model| model.name().clone());
        let mut call = Self {
            selected,
            requested,
            prefill,
            endpoint,
            sent,
            head,
            usage: false,
            dialect,
            conversation,
            is_multi_format,
            request_id,
            lease: request.body().new_lease(),
            time,
            settings: settings.clone(),
            rules: Rules::default(),
            thinking,
            efforts,
            public_name,
            seed: rand::random(),
        };
        call.rules = call.rules_of_backend();
        call.usage = call.asks_usage();
        Ok(call)
    }

    /// Returns the future's output, or a timeout if the head is due before that.
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

    /// The provider's key, if it is not known yet.
    pub(super) fn pending_key(&self) -> Option<RotatingKey> {
        self.backend().provider().rotating_key().filter(|key| !key.is_known()).cloned()
    }

    /// The response in place of the provider's, which would refuse a request without a key.
    pub(super) fn without_key<B>(&self) -> Response<ClientBody<B>> {
        let mut error = ErrorBody::default().with_message("the provider's key could not be got; see the log");
        error.class = Some(Class::Auth);
        let provider = self.backend().provider();
        let status = StatusCode::UNAUTHORIZED;
        let raw = upstream_error::body(Bytes::new(), status, &error, provider, self.request_id.as_ref());
        let mut response = Response::new(ClientBody::from(raw));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.extensions_mut().insert(error);
        response
    }

    fn backend(&self) -> &Arc<Backend> {
        self.selected.backend()
    }

    /// Whether the response is to be a stream.
    const fn is_stream(&self) -> bool {
        self.requested.stream && self.endpoint.streams()
    }

    /// Whether to ask for token counts on the client's behalf.
    fn asks_usage(&self) -> bool {
        let backend = self.backend();
        self.has_optional_fields()
            && self.dialect.format().has_usage_option()
            && self.is_stream()
            && !self.requested.stream_options.include_usage
            && backend.accepts(OptionalField::StreamOptions)
    }

    /// Whether to remove the chunk with token counts: the client did not ask for it, but the gateway
    /// did, or a translation adds it.
    fn hides_usage(&self) -> bool {
        self.usage || self.conversation.is_some() && !self.requested.stream_options.include_usage
    }

    /// Returns the target of a translation.
    fn target(&self) -> Target<'_> {
        let backend = self.backend();
        Target::new(self.dialect, &backend.id().model)
            .with_provider(&backend.id().provider)
            .with_seed(self.seed)
            .with_reasoning_summary(!self.backend().refuses_reasoning_summary())
            .with_sampling(backend.sampling())
            .with_think_tags(backend.think_tags())
            .with_thinking(self.thinking)
            .with_efforts(self.efforts)
            .with_reasoning(matches!(self.rules.history(), ReasoningHistory::ToolCalls | ReasoningHistory::Keep))
            .with_stream(self.is_stream())
            .with_usage(self.usage)
    }

    /// Returns the body for the upstream.
    fn upstream_body(&self, client: &Bytes) -> Result<Bytes, Unroutable> {
        let body = self.rules.apply(self.formatted_body(client)?);
        Ok(match self.backend().provider().body_version() {
            Some(version) if self.backend().provider().dialect() == Dialect::Claude => {
                with_body_version(&body, version)
            }
            _ => body,
        })
    }

    /// Returns the body in the backend's format.
    fn formatted_body(&self, client: &Bytes) -> Result<Bytes, Unroutable> {
        let id = self.backend().id();
        if let Some(conversation) = &self.conversation {
            return Ok(conversation.encode(&self.target())?);
        }
        let body = self.prefill.as_ref().map_or(client, Buffered::bytes);
        let body = if self.usage {
            self.requested.with_usage(body, &id.model)
        } else {
            self.requested.with_model(body, &id.model)
        };
        let body = match self.endpoint {
            // Anthropic verifies the signature of thinking blocks, which other backends do not have.
            Endpoint::Messages
                if may_contain_foreign_thinking(&body) || self.is_multi_format && may_lack_thinking(&body) =>
            {
                without_foreign_thinking(&body)
            }
            // Signatures of other providers, which OpenAI could not decrypt.
            Endpoint::Responses => without_own_reasoning(&body),
            // Kept where all backends have OpenAI's format: one may be Google's, which requires them.
            Endpoint::ChatCompletions if self.is_multi_format => without_signatures(&body),
            _ => body,
        };
        Ok(body)
    }

    /// Returns the response body in the client's format.
    fn translated<B>(&self, body: Decoded<B>) -> Result<Translated<Decoded<B>>, Unroutable>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let Some(conversation) = &self.conversation else { return Ok(Translated::Untouched(body)) };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let provider = self.backend().provider();
        let translator = conversation.translator(&self.target(), now)?;
        let lease = self.lease.as_ref().map(ByteLease::sibling);
        Ok(if self.is_stream() {
            Translated::stream(body, translator, lease)
        } else {
            Translated::plain(body, translator, provider.clone(), lease)
        })
    }

    /// The value of `accept`.
    const fn accept(&self) -> HeaderValue {
        if self.is_stream() {
            HeaderValue::from_static("text/event-stream")
        } else if self.endpoint.answers_json() {
            HeaderValue::from_static("application/json")
        } else {
            HeaderValue::from_static("*/*")
        }
    }

    /// Returns the request for the transport; a `fresh` one goes on a new connection.
    pub(super) fn upstream_request(
        &self,
        client: &Request<Buffered>,
        fresh: bool,
    ) -> Result<Request<Buffered>, BoxError> {
        let backend = self.backend();
        let mut request = Request::new(client.body().replaced_by(self.upstream_body(client.body().bytes())?));
        *request.method_mut() = client.method().clone();
        *request.uri_mut() =
            backend.uri_in(self.dialect, self.endpoint, self.is_stream()).ok_or(Unroutable::UnsupportedEndpoint)?;
        *request.headers_mut() = self.settings.request_headers(client.headers(), self.accept(), backend.provider());
        if backend.provider().propagates_trace()
            && let Some(context) = client.extensions().get::<TraceContext>()
        {
            let number = client.extensions().get::<Attempt>().map_or(1, Attempt::number);
            request.headers_mut().insert(TRACEPARENT, context.of_attempt(number).header_value());
        }
        let upstream = Upstream::new(backend.provider().timeouts().connect())
            .with_head_due(self.head.0)
            .with_max_connections(backend.provider().max_connections());
        request.extensions_mut().insert(if fresh { upstream.with_fresh_connection() } else { upstream });
        Ok(request)
    }

    /// Converts a response. An error's body is read whole and parsed.
    pub(super) async fn convert<B>(&self, response: Response<B>) -> Result<Response<ClientBody<B>>, BoxError>
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

    /// Whether a successful response is JSON where a stream was requested: some providers tell errors so.
    pub(super) fn is_misplaced<B>(&self, response: &Response<B>) -> bool {
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
    pub(super) fn convert_success<B>(&self, response: Response<B>) -> Result<Response<ClientBody<B>>, BoxError>
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
        let body = ClientBody::new(body, reader, progress, watch, provider).with_public_name(public_name);
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

    /// Whether the upstream receives OpenAI's chat completions, whose fields not all providers accept.
    fn has_optional_fields(&self) -> bool {
        self.dialect.format().has_usage_option()
            && (self.conversation.is_some()
                || matches!(self.endpoint, Endpoint::ChatCompletions | Endpoint::Completions))
    }

    /// Whether a response refuses the summary of reasoning that a translation asked for.
    pub(super) fn refuses_summary<B>(&self, answer: &Response<B>) -> bool {
        let error = answer.extensions().get::<ErrorBody>();
        self.dialect == Dialect::Responses
            && self.conversation.is_some()
            && !self.backend().refuses_reasoning_summary()
            && error.and_then(|error| error.param.as_deref()) == Some("reasoning.summary")
    }

    /// Returns the other one of OpenAI's formats, if a refusal says that the upstream needs it, and it can be asked in it.
    /// The call is changed accordingly.
    pub(super) fn switch_api<B>(&mut self, answer: &Response<B>, client: &Request<Buffered>) -> Option<OpenAiApi> {
        if !self.endpoint.is_chat() || !self.backend().may_learn_openai_api() {
            return None;
        }
        let error = answer.extensions().get::<ErrorBody>()?;
        let api = openai_api::needed(self.dialect, answer.status(), error)?;
        let dialect = if api == OpenAiApi::Chat { Dialect::OpenAi } else { Dialect::Responses };
        let conversation = if dialect.format().has_endpoint(self.endpoint) {
            None
        } else {
            let known = self.conversation.clone();
            let known = known.or_else(|| client.extensions().get::<Arc<Conversation>>().cloned());
            let known = known.filter(|_| self.prefill.is_none()).unwrap_or_else(|| {
                let body = self.prefill.as_ref().unwrap_or(client.body()).bytes().clone();
                Arc::new(new_conversation(self.endpoint, body, client, &self.requested))
            });
            known.supports(dialect).ok()?;
            Some(known)
        };
        (self.dialect, self.conversation) = (dialect, conversation);
        self.rules = self.rules_of_backend();
        self.usage = self.asks_usage();
        Some(api)
    }

    /// How the request is written for the backend.
    fn rules_of_backend(&self) -> Rules {
        if self.has_optional_fields() || self.is_responses_request() {
            Rules::new(self.backend(), self.is_chat_request())
        } else {
            Rules::default()
        }
    }

    /// Whether the upstream receives a request of the Responses API.
    fn is_responses_request(&self) -> bool {
        self.dialect == Dialect::Responses && self.endpoint.is_chat()
    }

    /// Whether the upstream receives chat completions.
    fn is_chat_request(&self) -> bool {
        self.dialect != Dialect::Responses
            && (self.conversation.is_some() || self.endpoint == Endpoint::ChatCompletions)
    }

    /// Returns what a response teaches about the backend.
    pub(super) fn lesson<B>(&self, answer: &Response<B>) -> Option<Lesson> {
        let dialect = self.backend().provider().dialect();
        let is_thinking = dialect == Dialect::Claude && self.conversation.is_some();
        if !is_thinking && !self.has_optional_fields() && !self.is_responses_request() {
            return None;
        }
        refused_field::lesson(answer.status(), answer.extensions().get::<ErrorBody>()?, dialect)
    }

    /// Writes the request by a lesson from now on. Returns whether that makes it another request.
    pub(super) fn obey(&mut self, lesson: Lesson, client: &Request<Buffered>) -> bool {
        let before = self.upstream_body(client.body().bytes());
        match lesson {
            Lesson::Refuses(OptionalField::StreamOptions) => {
                self.usage = false;
                self.rules.omit(OptionalField::StreamOptions);
            }
            Lesson::Refuses(field) => self.rules.omit(field),
            Lesson::Efforts(efforts) => {
                self.efforts = efforts;
                self.rules.limit_efforts(efforts);
            }
            Lesson::Thinking(thinking) if self.backend().thinking() == ClaudeThinking::Auto => self.thinking = thinking,
            _ => {}
        }
        before != self.upstream_body(client.body().bytes())
    }
}

/// Returns a conversation that no layer has parsed yet.
fn new_conversation(
    endpoint: Endpoint,
    body: Bytes,
    request: &Request<Buffered>,
    requested: &Requested,
) -> Conversation {
    let conversation = Conversation::new(endpoint, body).with_shape(requested.nodes(), requested.depth());
    match request.extensions().get::<RoutedModel>() {
        Some(model) => conversation.with_seals(model.model().seals().clone()),
        None => conversation,
    }
}

/// Whether the backend continues from an assistant prefix. Anthropic refuses one that ends in white
/// space.
fn accepts_prefill(backend: &Backend, prefill: &Prefill) -> bool {
    backend.supports_prefill()
        && (!prefill.ends_in_space || backend.provider().dialect().format().accepts_trailing_space_in_prefill())
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

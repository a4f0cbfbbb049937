//! One attempt: the request for the backend, and the conversion of its response.

mod lessons;
mod request;
mod response;

use std::{error::Error, future::Future, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request};
use tokio::time::{Instant, timeout_at};

use super::{after, head::HeadSettings, request_rules::Rules};
use crate::{
    backend::{AnswerModel, Backend, ClaudeThinking, Efforts, OptionalField, RotatingKey},
    body::{Buffered, ByteLease},
    dialect::{Conversation, Dialect},
    endpoint::Endpoint,
    error::{BoxError, Deadline, Failure, LostTogether, MissingLayer, Unroutable},
    inspect::{Prefill, Requested},
    render::REQUEST_ID,
    select::{RoutedModel, Selected},
    upstream_time::UpstreamTime,
};

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
    /// Whether to leave out all reasoning that has been signed, since the upstream has refused a signature.
    omits_signatures: bool,
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
        let request_id = (endpoint == Endpoint::Messages).then(|| request.headers().get(REQUEST_ID).cloned());
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
            omits_signatures: false,
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
            Ok(Err(error)) => Err(into_error(Failure::from_transport(error.into()))),
            Err(_) => Err(Failure::Timeout(self.head.1).into()),
        }
    }

    /// The provider's key, if it is not known yet.
    pub(super) fn pending_key(&self) -> Option<RotatingKey> {
        self.backend().provider().rotating_key().filter(|key| !key.is_known()).cloned()
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

    /// Whether the upstream receives OpenAI's chat completions, whose fields not all providers accept.
    fn has_optional_fields(&self) -> bool {
        self.dialect.format().has_usage_option()
            && (self.conversation.is_some()
                || matches!(self.endpoint, Endpoint::ChatCompletions | Endpoint::Completions))
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
}

/// The failure as an error. A transport reports the silence of a connection that has gone deaf as its loss.
pub(super) fn into_error(failure: Failure) -> BoxError {
    match failure {
        Failure::ConnectionLost(error) if error.is::<LostTogether>() && is_timeout(&*error) => error,
        failure => failure.into(),
    }
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    matches!(Failure::find(error), Some(Failure::Timeout(_)))
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

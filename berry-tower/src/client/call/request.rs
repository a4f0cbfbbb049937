//! The request for the backend.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};

use super::Call;
use crate::{
    attempt::Attempt,
    backend::ReasoningHistory,
    body::Buffered,
    client::{Upstream, rewrite::with_body_version},
    dialect::{
        Dialect, Target, may_contain_foreign_thinking, may_lack_thinking, without_encrypted_reasoning,
        without_foreign_thinking, without_own_reasoning, without_signatures, without_thinking,
    },
    endpoint::Endpoint,
    error::{BoxError, Unroutable},
    trace_context::TraceContext,
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl Call {
    /// Returns the target of a translation.
    pub(super) fn target(&self) -> Target<'_> {
        let backend = self.backend();
        Target::new(self.dialect, &backend.id().model)
            .with_provider(&backend.id().provider)
            .with_seed(self.seed)
            .with_reasoning_summary(!self.backend().refuses_reasoning_summary())
            .with_sampling(backend.sampling())
            .with_think_tags(backend.think_tags())
            .with_thinking(self.thinking)
            .with_efforts(self.efforts)
            .with_signed_reasoning(!self.omits_signatures)
            .with_reasoning(matches!(self.rules.history(), ReasoningHistory::ToolCalls | ReasoningHistory::Keep))
            .with_stream(self.is_stream())
            .with_usage(self.usage)
    }

    /// Returns the body for the upstream.
    pub(super) fn upstream_body(&self, client: &Bytes) -> Result<Bytes, Unroutable> {
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
            Endpoint::Messages if self.omits_signatures => without_thinking(&body),
            // Anthropic verifies the signature of thinking blocks, which other backends do not have.
            Endpoint::Messages
                if may_contain_foreign_thinking(&body) || self.is_multi_format && may_lack_thinking(&body) =>
            {
                without_foreign_thinking(&body)
            }
            Endpoint::Responses if self.omits_signatures => without_encrypted_reasoning(&body),
            // Signatures of other providers, which OpenAI could not decrypt.
            Endpoint::Responses => without_own_reasoning(&body),
            // Kept where all backends have OpenAI's format: one may be Google's, which requires them.
            Endpoint::ChatCompletions if self.is_multi_format => without_signatures(&body),
            _ => body,
        };
        Ok(body)
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
    pub(in crate::client) fn upstream_request(
        &self,
        client: &Request<Buffered>,
        fresh: bool,
    ) -> Result<Request<Buffered>, BoxError> {
        let backend = self.backend();
        let mut request = Request::new(client.body().replaced_by(self.upstream_body(client.body().bytes())?));
        *request.method_mut() = client.method().clone();
        *request.uri_mut() =
            backend.uri_in(self.dialect, self.endpoint, self.is_stream()).ok_or(Unroutable::UnsupportedEndpoint)?;
        let caller = client.extensions().get().copied();
        *request.headers_mut() =
            self.settings.request_headers(client.headers(), caller, self.accept(), backend.provider());
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
}

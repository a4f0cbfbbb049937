//! What is read of a response body as it passes, and what makes it no complete response.

use std::{collections::VecDeque, fmt};

use bytes::Bytes;

use super::upstream_error;
use crate::{
    backend::Provider,
    classify::ErrorBody,
    endpoint::Endpoint,
    error::Failure,
    json::{ObjectCheck, PlainFacts, Presence, Shape},
    progress::Progress,
    sse::{ErrorEvent, StreamFault, StreamFilter},
};

/// What is read of the bytes as they pass.
#[derive(Debug)]
pub(super) enum Reader {
    /// Nothing: the body is complete already, or of a kind that cannot be checked.
    Opaque,
    /// A plain response, which must be one JSON object with an answer in it.
    Plain(Plain),
    /// A stream of events.
    Stream(Box<StreamFilter>),
}

/// The reader of a plain response.
pub(super) struct Plain {
    check: Option<ObjectCheck>,
    endpoint: Endpoint,
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain")
    }
}

impl Plain {
    /// Ends the body; `held` is what of it has not been passed on.
    fn finish(&mut self, held: &VecDeque<Bytes>, provider: Option<&Provider>) -> Result<PlainFacts, Failure> {
        const NO_OBJECT: Failure = Failure::InvalidResponse("a body that is no JSON object");
        let mut facts = self.check.take().ok_or(NO_OBJECT)?.finish().map_err(|_| NO_OBJECT)?;
        // A response of the Responses API has an `error` of its own, without a `type`; an error in
        // the place of a response has a type.
        let own_errors = self.endpoint == Endpoint::Responses;
        if let Some(error) = facts.error.take().filter(|error| !own_errors || error.kind.is_some()) {
            return Err(error_event(error));
        }
        match self.fault(&facts.shape) {
            Some(why) => Err(provider.and_then(|provider| self.error_in_body(held, provider)).unwrap_or(why)),
            None => Ok(facts),
        }
    }

    /// Returns why an object is no response of this endpoint.
    fn fault(&self, shape: &Shape) -> Option<Failure> {
        let missing = |part: Presence| part == Presence::Missing;
        let why = match self.endpoint {
            _ if shape.has_error_code => "an error in the place of a response",
            Endpoint::ChatCompletions | Endpoint::Completions if shape.choices != Presence::Filled => {
                "a body without choices"
            }
            Endpoint::ChatCompletions | Endpoint::Completions if shape.has_error_finish => {
                "a choice that ended in an error"
            }
            Endpoint::ChatCompletions | Endpoint::Completions if !shape.has_message => "a choice without a message",
            Endpoint::Messages if missing(shape.content) => "a body without content",
            Endpoint::Embeddings if shape.data != Presence::Filled => "a body without embeddings",
            Endpoint::Responses if missing(shape.output) => "a body without output",
            Endpoint::Responses if shape.is_failed && shape.output != Presence::Filled => "a failed response",
            _ => return None,
        };
        Some(Failure::InvalidResponse(why))
    }

    /// Returns the error in the place of the response, with the provider's message.
    fn error_in_body(&self, held: &VecDeque<Bytes>, provider: &Provider) -> Option<Failure> {
        let all = held.iter().fold(Vec::new(), |mut all, bytes| {
            all.extend_from_slice(bytes);
            all
        });
        let error = upstream_error::parse(&all, self.endpoint, provider);
        (error.message.is_some() || error.class.is_some()).then(|| Failure::ErrorEvent(Box::new(error)))
    }
}

impl Reader {
    /// Returns a reader for a plain response of this endpoint.
    pub(super) fn plain(endpoint: Endpoint) -> Self {
        Self::Plain(Plain { check: Some(ObjectCheck::new()), endpoint })
    }

    /// Whether everything for the client has been read.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Stream(filter) if filter.closed())
    }

    /// Logs the events that were left out of a stream.
    pub(super) fn warn(&self, provider: Option<&Provider>) {
        if let (Self::Stream(filter), Some(provider)) = (self, provider)
            && filter.malformed() > 0
        {
            let events = filter.malformed();
            tracing::warn!(provider = &**provider.id(), events, "left out malformed events of a stream");
        }
    }

    pub(super) fn read(
        &mut self,
        bytes: Bytes,
        ready: &mut VecDeque<Bytes>,
        progress: &Option<Progress>,
    ) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        match self {
            Self::Stream(filter) => {
                let result = filter.push(bytes, &mut |bytes| ready.push_back(bytes));
                update_progress(filter, progress);
                result.map_err(stream_failure)
            }
            Self::Plain(plain) => {
                if plain.check.as_mut().is_some_and(|check| check.push(&bytes).is_err()) {
                    plain.check = None;
                }
                ready.push_back(bytes);
                Ok(())
            }
            Self::Opaque => {
                ready.push_back(bytes);
                if let Some(progress) = progress {
                    progress.mark_output_started();
                }
                Ok(())
            }
        }
    }

    /// Handles the end of the body.
    pub(super) fn end(
        &mut self,
        ready: &mut VecDeque<Bytes>,
        progress: &Option<Progress>,
        seen: bool,
        provider: Option<&Provider>,
    ) -> Result<(), Failure> {
        match self {
            Self::Stream(filter) => {
                let result = filter.end(&mut |bytes| ready.push_back(bytes));
                update_progress(filter, progress);
                result.map_err(stream_failure)
            }
            Self::Plain(plain) => {
                let facts = plain.finish(ready, provider)?;
                if let Some(progress) = progress {
                    progress.set_usage(facts.usage);
                    progress.mark_output_started();
                }
                Ok(())
            }
            Self::Opaque if seen => Ok(()),
            Self::Opaque => Err(Failure::InvalidResponse("an empty body")),
        }
    }

    /// Handles a body that broke or fell silent: the response may be complete nevertheless.
    pub(super) fn on_failure(
        &mut self,
        failure: Failure,
        ready: &mut VecDeque<Bytes>,
        progress: &Option<Progress>,
    ) -> Result<(), Failure> {
        let Self::Stream(filter) = self else { return Err(failure) };
        let result = filter.broken(&mut |bytes| ready.push_back(bytes));
        update_progress(filter, progress);
        result.map_err(|_| failure)
    }
}

fn update_progress(filter: &StreamFilter, progress: &Option<Progress>) {
    let Some(progress) = progress else { return };
    progress.set_events(filter.events(), filter.malformed(), filter.between_events());
    if filter.output_seen() {
        progress.mark_output_started();
    }
    if filter.finished() {
        progress.set_finished();
    }
    progress.set_usage(filter.usage());
}

fn stream_failure(fault: StreamFault) -> Failure {
    match fault {
        StreamFault::Error(event) => error_event(event),
        StreamFault::Interrupted => Failure::Interrupted,
        StreamFault::NoOutput => Failure::InvalidResponse("a stream that ended before any output"),
        StreamFault::NotEvents(Some(event)) => error_event(event),
        StreamFault::NotEvents(None) => Failure::InvalidResponse("something that is no event stream"),
    }
}

fn error_event(event: ErrorEvent) -> Failure {
    let ErrorEvent { kind, code, message, .. } = event;
    Failure::ErrorEvent(Box::new(ErrorBody { kind, code, message, ..ErrorBody::default() }))
}

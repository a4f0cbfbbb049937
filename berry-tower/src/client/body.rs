//! A response body while it passes: scanned, under its deadlines, and failed where it is not complete.

use std::{
    collections::VecDeque,
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{
    account_ids::IdReader,
    burst::{self, Burst},
    decoded::Decoded,
    public_name::PublicName,
    translated::Translated,
    upstream_error,
    watch::Watch,
};
use crate::{
    backend::Provider,
    classify::ErrorBody,
    endpoint::Endpoint,
    error::{BoxError, Failure},
    json::{ObjectCheck, PlainFacts, Presence, Shape},
    progress::Progress,
    sse::{ErrorEvent, StreamFault, StreamFilter},
};

/// How long the end of the body may take once the stream itself has ended.
const LINGER: Duration = Duration::from_secs(1);

/// Response body of [`BackendClient`](super::BackendClient). It passes the upstream's bytes on, and
/// fails with a [`Failure`] where the response is not complete.
#[pin_project]
#[derive(Debug)]
pub struct ClientBody<B> {
    #[pin]
    upstream: Option<Translated<Decoded<B>>>,
    reader: Reader,
    progress: Option<Progress>,
    /// What has been read and not passed on yet.
    ready: VecDeque<Bytes>,
    burst: Burst,
    end: Option<Result<(), Failure>>,
    watch: Watch,
    /// The provider, whose secrets are masked.
    provider: Option<Arc<Provider>>,
    /// Puts the public name of the model into the response.
    public_name: Option<Box<PublicName>>,
    /// Reads the ids that only the backend's account knows.
    ids: Option<Box<IdReader>>,
}

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

impl<B> ClientBody<B> {
    pub(super) fn new(
        upstream: Translated<Decoded<B>>,
        reader: Reader,
        progress: Progress,
        watch: Watch,
        provider: Arc<Provider>,
    ) -> Self {
        let (ready, progress, provider) = (VecDeque::new(), Some(progress), Some(provider));
        let (burst, end, public_name, ids) = (Burst::None, None, None, None);
        Self { upstream: Some(upstream), reader, progress, ready, burst, end, watch, provider, public_name, ids }
    }

    /// Reads the ids that only the backend's account knows.
    pub(super) fn with_ids(mut self, ids: Option<IdReader>) -> Self {
        self.ids = ids.map(Box::new);
        self
    }

    /// Puts the public name of the model into the response.
    pub(super) fn with_public_name(mut self, name: Option<PublicName>) -> Self {
        self.public_name = name.map(Box::new);
        self
    }
}

impl<B> From<Bytes> for ClientBody<B> {
    fn from(bytes: Bytes) -> Self {
        let ready = if bytes.is_empty() { VecDeque::new() } else { [bytes].into() };
        let watch = Watch::new(Duration::ZERO, None, None);
        let (reader, burst, end) = (Reader::Opaque, Burst::None, Some(Ok(())));
        let (progress, provider, public_name, ids) = (None, None, None, None);
        Self { upstream: None, reader, progress, ready, burst, end, watch, provider, public_name, ids }
    }
}

/// An empty body, as tower-http's `Cors` and `Timeout` need for their own responses.
impl<B> Default for ClientBody<B> {
    fn default() -> Self {
        Self::from(Bytes::new())
    }
}

impl<B> Body for ClientBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        loop {
            if (this.end.is_some() || this.burst.is_over(this.ready))
                && let Some(bytes) = next(this.ready, this.public_name.as_deref_mut(), this.end.is_some())
            {
                *this.burst = Burst::None;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match this.end {
                Some(Ok(())) => return Poll::Ready(None),
                Some(end) => return Poll::Ready(mem::replace(end, Ok(())).err().map(|e| Err(e.into()))),
                None => {}
            }
            let Some(mut upstream) = this.upstream.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            let (ready, progress) = (&mut *this.ready, &*this.progress);
            let seen = || progress.as_ref().is_some_and(Progress::output_seen);
            let step = match upstream.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let waited = this.watch.on_frame();
                    // The layer that ends a stream needs to know whether it ends between events.
                    let is_between = progress.as_ref().is_none_or(Progress::between_events);
                    if is_between && matches!(this.reader, Reader::Stream(_)) {
                        this.burst.on_frame(waited);
                    }
                    // These APIs define no trailers.
                    let bytes = frame.into_data().unwrap_or_default();
                    this.watch.any_byte_received |= !bytes.is_empty() || upstream.any_byte_received();
                    if let Some(ids) = this.ids.as_mut() {
                        ids.read(&bytes);
                    }
                    let read = this.reader.read(bytes, ready, progress);
                    if seen() {
                        this.watch.output_seen();
                    }
                    if this.reader.is_over() {
                        // The end of the body frees the connection, but is not worth a long wait.
                        this.watch.idle = LINGER;
                    }
                    match read {
                        Err(failure) => Some(Err(failure)),
                        // A server that knows the length of a body does not poll it after its last byte.
                        Ok(()) if upstream.is_end_stream() || upstream.size_hint().exact() == Some(0) => {
                            Some(this.reader.end(ready, progress, seen(), this.provider.as_deref()))
                        }
                        Ok(()) => None,
                    }
                }
                Poll::Ready(None) => Some(this.reader.end(ready, progress, seen(), this.provider.as_deref())),
                Poll::Ready(Some(Err(e))) => Some(this.reader.on_failure(Failure::from_transport(e), ready, progress)),
                Poll::Pending if this.burst.should_repoll() => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending if !ready.is_empty() => continue,
                Poll::Pending => match this.watch.poll(seen(), cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(deadline) => {
                        let final_frames = upstream.as_mut().final_frames();
                        let read = this.reader.read(final_frames, ready, progress);
                        let failed = |()| this.reader.on_failure(Failure::Timeout(deadline), ready, progress);
                        Some(read.and_then(failed))
                    }
                },
            };
            if let (Some(progress), usage @ Some(_)) = (progress, upstream.usage()) {
                progress.set_usage(usage);
            }
            if let Some(end) = step {
                if let (Ok(()), Some(progress)) = (&end, progress) {
                    progress.set_finished();
                }
                this.reader.warn(this.provider.as_deref());
                *this.end = Some(end.map_err(|failure| match this.provider {
                    Some(provider) => upstream_error::masked(failure, provider),
                    None => failure,
                }));
                // Closes the connection where the upstream has not ended the body.
                this.upstream.set(None);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_empty = self.ready.is_empty() && self.public_name.as_ref().is_none_or(|name| name.is_empty());
        is_empty && matches!(self.end, Some(Ok(())))
    }

    fn size_hint(&self) -> SizeHint {
        if self.public_name.is_some() {
            return SizeHint::default();
        }
        if matches!(self.end, Some(Ok(()))) {
            return SizeHint::with_exact(self.ready.iter().map(|b| b.len() as u64).sum());
        }
        match (&self.reader, &self.upstream) {
            (Reader::Plain(_) | Reader::Opaque, Some(upstream)) if self.ready.is_empty() => upstream.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

/// Returns the next bytes for the client.
fn next(ready: &mut VecDeque<Bytes>, name: Option<&mut PublicName>, is_over: bool) -> Option<Bytes> {
    match name {
        None => burst::next(ready),
        Some(name) => name.next(ready, is_over),
    }
}

impl Reader {
    /// Returns a reader for a plain response of this endpoint.
    pub(super) fn plain(endpoint: Endpoint) -> Self {
        Self::Plain(Plain { check: Some(ObjectCheck::new()), endpoint })
    }

    /// Whether everything for the client has been read.
    fn is_over(&self) -> bool {
        matches!(self, Self::Stream(filter) if filter.closed())
    }

    /// Logs the events that were left out of a stream.
    fn warn(&self, provider: Option<&Provider>) {
        if let (Self::Stream(filter), Some(provider)) = (self, provider)
            && filter.malformed() > 0
        {
            let events = filter.malformed();
            tracing::warn!(provider = &**provider.id(), events, "left out malformed events of a stream");
        }
    }

    fn read(&mut self, bytes: Bytes, ready: &mut VecDeque<Bytes>, progress: &Option<Progress>) -> Result<(), Failure> {
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
    fn end(
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
    fn on_failure(
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

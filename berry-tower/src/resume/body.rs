//! The response body of Resume: ends an interrupted stream as what it is, or continues it.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{
    recorded::{Delivered, Later},
    replay::Step,
    replay_request::{self, ReplayRequest},
};
use crate::{
    attempt::Attempt,
    body::{Buffered, ByteLease},
    classify::Class,
    ending::Ending,
    error::{BoxError, Exhausted, Failure, find},
    failed_response::SentEvents,
    inspect::Prefilled,
    progress::{Grammar, Progress},
    render::Refusal,
    stream_events::Events,
};

const RESUMED: Bytes = Bytes::from_static(b": resumed\n\n");
/// Returns the longest event of the first response that is read; a stream with a longer one is not resumed.
const fn max_first_event(grammar: Grammar) -> usize {
    match grammar {
        // Its first events repeat the tools of the request.
        Grammar::Responses => 1 << 20,
        _ => 32 << 10,
    }
}

/// The longest event of a later response.
const MAX_LATER_EVENT: usize = 4 << 20;
/// The bytes of an incomplete event that are held without counting against the budget.
const UNCOUNTED: usize = 16 << 10;

type PendingResponse<B> = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

/// The response body of [`Resume`](super::Resume).
#[pin_project]
pub struct ResumeBody<S, B> {
    #[pin]
    inner: Option<B>,
    /// The progress of a stream; `None` for a body that passes unchanged.
    progress: Option<Progress>,
    ending: Option<Ending>,
    resumption: Option<Box<Resumption<S, B>>>,
    /// What the client has of a Responses stream, which its end repeats.
    sent: Option<Box<SentEvents>>,
}

impl<S, B: fmt::Debug> fmt::Debug for ResumeBody<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumeBody").field("inner", &self.inner).field("ending", &self.ending).finish_non_exhaustive()
    }
}

/// The state of a stream that can be resumed.
pub(super) struct Resumption<S, B> {
    service: S,
    request: Request<Buffered>,
    /// The attempt whose response is read.
    attempt: Attempt,
    /// The progress of the response that is read.
    reading: Progress,
    /// The progress of all responses together, as the outer layers see it.
    whole: Progress,
    events: Events,
    stage: Stage,
    /// Counts the bytes of an incomplete event of a later response.
    lease: Option<ByteLease>,
    pending: Option<PendingResponse<B>>,
    /// Why the last response ended.
    interruption: Option<BoxError>,
    /// The frames that the client gets next.
    ready: VecDeque<Frame<Bytes>>,
}

enum Stage {
    /// The first response passes and is recorded.
    First(Delivered),
    /// A later response is compared with the record.
    Later(Later),
}

impl<S, B> Resumption<S, B> {
    pub(super) fn new(replay: ReplayRequest<S>, attempt: Attempt, reading: Progress, keep_text: bool) -> Self {
        let ReplayRequest { service, request } = replay;
        let lease = request.body().new_lease();
        let grammar = reading.grammar();
        let whole = Progress::new(reading.commit_point(), grammar);
        let this = Self {
            service,
            request,
            attempt,
            reading,
            whole,
            events: Events::new(max_first_event(grammar)),
            stage: Stage::First(Delivered::new(grammar, keep_text, lease.as_ref().map(ByteLease::sibling))),
            lease,
            pending: None,
            interruption: None,
            ready: VecDeque::new(),
        };
        this.sync_progress();
        this
    }

    /// The progress for the outer layers.
    pub(super) const fn progress(&self) -> &Progress {
        &self.whole
    }

    /// Copies the progress of the response that is read to the progress that the outer layers see.
    fn sync_progress(&self) {
        if self.reading.output_seen() {
            self.whole.mark_output_started();
        }
        let between_events = match &self.stage {
            Stage::First(_) => self.interruption.is_some() || self.reading.between_events(),
            // Only whole events of a later response are passed on.
            Stage::Later(replay) => !replay.is_over(),
        };
        self.whole.set_events(self.reading.events(), self.reading.malformed(), between_events);
        self.whole.set_usage(self.reading.usage());
    }

    /// Reads data of the upstream, after which the frames for the client are ready. An error says
    /// that the response differs from what the client has.
    fn read(&mut self, bytes: Bytes) -> Result<(), ()> {
        match &mut self.stage {
            Stage::First(delivered) => {
                if delivered.is_resumable() {
                    self.events.push(&bytes);
                    loop {
                        match self.events.next() {
                            Ok(Some(event)) => delivered.record(&event),
                            Ok(None) => break,
                            Err(_) => {
                                delivered.give_up();
                                self.events = Events::new(0);
                                break;
                            }
                        }
                    }
                }
                self.ready.push_back(Frame::data(bytes));
            }
            Stage::Later(replay) => {
                self.events.push(&bytes);
                while let Some(event) = self.events.next().map_err(|_| ())? {
                    let is_first_output = !replay.has_output();
                    match replay.event(&event) {
                        Step::Skip => {}
                        Step::Pass(events) => {
                            self.ready.extend(is_first_output.then(|| Frame::data(RESUMED)));
                            self.ready.extend(events.into_iter().map(Frame::data));
                        }
                        Step::Differs => return Err(()),
                    }
                }
            }
        }
        let held = Some(self.events.buffered()).filter(|held| *held > UNCOUNTED).unwrap_or_default();
        if self.lease.as_mut().is_none_or(|lease| lease.try_resize(held)) {
            return Ok(());
        }
        match &mut self.stage {
            Stage::First(delivered) => {
                delivered.give_up();
                self.events = Events::new(0);
                Ok(())
            }
            Stage::Later(_) => Err(()),
        }
    }

    /// Takes the record of what the client has.
    fn take_delivered(&mut self) -> Delivered {
        match mem::replace(&mut self.stage, Stage::First(Delivered::default())) {
            Stage::First(delivered) => delivered,
            Stage::Later(replay) => replay.into_delivered(),
        }
    }

    /// Takes the reason why the stream broke off that could not be resumed.
    fn take_interruption(&mut self) -> BoxError {
        self.interruption.take().unwrap_or_else(|| Failure::Interrupted.into())
    }
}

impl<S, B: 'static> Resumption<S, B>
where
    S: tower_service::Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    /// Sends the request again after the response broke off, unless it cannot be resumed.
    fn resume(&mut self, error: BoxError) -> Result<(), BoxError> {
        let mid_event = matches!(self.stage, Stage::First(_)) && !self.events.is_between();
        let mut delivered = self.take_delivered();
        if mid_event {
            delivered.give_up();
        }
        if !delivered.is_resumable() {
            self.stage = Stage::First(delivered);
            return Err(error);
        }
        let stalled = matches!(find::<Failure>(&*error), Some(Failure::Timeout(_)));
        self.attempt = self.attempt.resume(if stalled { Class::Timeout } else { Class::Network });
        let send = replay_request::send(self.service.clone(), &self.request, &self.attempt, delivered.prefix());
        self.pending = Some(Box::pin(send));
        self.events = Events::new(MAX_LATER_EVENT);
        self.stage = Stage::First(delivered);
        self.interruption = Some(error);
        Ok(())
    }

    /// Takes the result of the repeated request; returns the body to read on from.
    fn resumed(&mut self, result: Result<Response<B>, BoxError>) -> Option<B> {
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                if let Some(exhausted) = find::<Exhausted>(&*error) {
                    self.whole.set_attempts(exhausted.attempts);
                }
                return None;
            }
        };
        let extensions = response.extensions();
        if let Some(attempt) = extensions.get::<Attempt>() {
            self.attempt = attempt.clone();
        }
        let is_success = response.status().is_success();
        let Some(progress) = extensions.get::<Progress>().filter(|p| p.is_stream() && is_success) else {
            self.whole.set_attempts(self.attempt.number());
            return None;
        };
        self.reading = progress.clone();
        self.whole.set_continued_by(&self.attempt);
        let continues = extensions.get::<Prefilled>().is_some();
        let delivered = self.take_delivered();
        self.stage = Stage::Later(if continues { delivered.continued() } else { delivered.repeated() });
        Some(response.into_body())
    }
}

impl<S, B> ResumeBody<S, B> {
    pub(super) fn new(inner: B, progress: Option<Progress>, resumption: Option<Resumption<S, B>>) -> Self {
        let is_responses = progress.as_ref().is_some_and(|progress| progress.grammar() == Grammar::Responses);
        let sent = is_responses.then(Box::default);
        Self { inner: Some(inner), progress, ending: None, resumption: resumption.map(Box::new), sent }
    }
}

/// An empty body, as tower-http's `Cors` and `Timeout` need for their own responses.
impl<S, B: Default> Default for ResumeBody<S, B> {
    fn default() -> Self {
        Self::new(B::default(), None, None)
    }
}

impl<S, B> Body for ResumeBody<S, B>
where
    S: tower_service::Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let error = loop {
            if let Some(ending) = this.ending {
                return ending.poll(cx);
            }
            let Some(resumption) = this.resumption else {
                let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
                match ready!(inner.poll_frame(cx)) {
                    Some(Err(error)) => break error.into(),
                    Some(Ok(frame)) => {
                        let frame = frame.map_data(into_bytes);
                        if let (Some(sent), Some(data)) = (&mut this.sent, frame.data_ref()) {
                            sent.record(data);
                        }
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    None => return Poll::Ready(None),
                }
            };
            if let Some(frame) = resumption.ready.pop_front() {
                if let (Some(sent), Some(data)) = (&mut this.sent, frame.data_ref()) {
                    sent.record(data);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            if let Some(pending) = &mut resumption.pending {
                let result = ready!(pending.as_mut().poll(cx));
                resumption.pending = None;
                match resumption.resumed(result) {
                    Some(body) => this.inner.set(Some(body)),
                    None => break resumption.take_interruption(),
                }
            }
            let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            match ready!(inner.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.map_data(into_bytes).into_data() {
                    Ok(bytes) => {
                        let result = resumption.read(bytes);
                        resumption.sync_progress();
                        if result.is_err() {
                            break resumption.take_interruption();
                        }
                    }
                    Err(trailers) => resumption.ready.push_back(trailers),
                },
                Some(Err(error)) => {
                    this.inner.set(None);
                    let result = resumption.resume(error.into());
                    resumption.sync_progress();
                    if let Err(error) = result {
                        break error;
                    }
                }
                None => {
                    if matches!(&resumption.stage, Stage::Later(replay) if !replay.is_over()) {
                        break resumption.take_interruption();
                    }
                    resumption.whole.set_finished();
                    this.inner.set(None);
                }
            }
        };
        this.inner.set(None);
        let Some(progress) = this.progress else { return Poll::Ready(Some(Err(error))) };
        let sent = this.sent.as_deref();
        this.ending.insert(Ending::with_error_event(progress, &refusal_for(&error), error, sent)).poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        let is_over = match &self.resumption {
            // A body that is at its end may still turn out to differ.
            Some(resumption) => self.inner.is_none() && resumption.pending.is_none() && resumption.ready.is_empty(),
            None => self.inner.as_ref().is_none_or(Body::is_end_stream),
        };
        self.ending.is_none() && is_over
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) if self.progress.is_none() => inner.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

/// Copies nothing when the data is a single chunk of `Bytes`.
fn into_bytes<D: Buf>(mut data: D) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

/// Returns the error for the client of an interrupted stream.
fn refusal_for(error: &BoxError) -> Refusal {
    match find::<Failure>(&**error) {
        Some(failure @ Failure::Timeout(_)) => {
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "server_error", failure.to_string()).code("upstream_timeout")
        }
        Some(failure) => Refusal::new(StatusCode::BAD_GATEWAY, "server_error", failure.to_string())
            .code("upstream_stream_interrupted"),
        None => Refusal::new(StatusCode::BAD_GATEWAY, "server_error", "the gateway lost the provider's stream")
            .code("upstream_stream_interrupted"),
    }
}

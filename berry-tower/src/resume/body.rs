//! A body that does not let a part look whole, and has the part completed where that is possible.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{
    again::{self, Again},
    events::Events,
    replay::{Replay, Sent, Step},
};
use crate::{
    attempt::Attempt,
    body::Buffered,
    classify::Class,
    ending::Ending,
    error::{BoxError, Failure, find},
    inspect::Prefilled,
    progress::Progress,
    render::Refusal,
};

const RESUMED: Bytes = Bytes::from_static(b": resumed\n\n");
/// The longest event of the first answer that is looked into; one that is longer is not resumed.
const MOST_SENT: usize = 32 << 10;
/// The longest event of a later answer.
const MOST_LATER: usize = 4 << 20;

type Asking<B> = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

/// See the [module](super).
#[pin_project]
pub struct ResumeBody<S, B> {
    #[pin]
    inner: Option<B>,
    /// What the client may be told of a stream; `None`: it is no stream, and passes as it is.
    progress: Option<Progress>,
    ending: Option<Ending>,
    resuming: Option<Box<Resuming<S, B>>>,
}

impl<S, B: fmt::Debug> fmt::Debug for ResumeBody<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumeBody").field("inner", &self.inner).field("ending", &self.ending).finish_non_exhaustive()
    }
}

/// What it takes to resume a stream.
pub(super) struct Resuming<S, B> {
    service: S,
    request: Request<Buffered>,
    attempt: Attempt,
    /// Of the answer that is being read.
    reading: Progress,
    /// Of all of them together, as the layers outside see it.
    whole: Progress,
    events: Events,
    stage: Stage,
    asking: Option<Asking<B>>,
    /// Why the last answer ended.
    broke: Option<BoxError>,
    ready: VecDeque<Bytes>,
}

enum Stage {
    /// The first answer passes, and is taken down.
    First(Sent),
    /// A later one is held against it.
    Later(Replay),
}

impl<S, B> Resuming<S, B> {
    pub(super) fn new(again: Again<S>, attempt: Attempt, reading: Progress, keep_text: bool) -> Self {
        let Again { service, request } = again;
        let whole = Progress::new(reading.hold(), reading.grammar());
        let this = Self {
            service,
            request,
            attempt,
            reading,
            whole,
            events: Events::new(MOST_SENT),
            stage: Stage::First(Sent::new(keep_text)),
            asking: None,
            broke: None,
            ready: VecDeque::new(),
        };
        this.tell();
        this
    }

    /// The progress for the layers outside.
    pub(super) const fn progress(&self) -> &Progress {
        &self.whole
    }

    /// Passes on what is known of the answer that is being read.
    fn tell(&self) {
        if self.reading.output_seen() {
            self.whole.mark_output_started();
        }
        let between = match &self.stage {
            Stage::First(_) => self.broke.is_some() || self.reading.between_events(),
            // Of a later answer only whole events go out.
            Stage::Later(replay) => !replay.is_over(),
        };
        self.whole.set_events(self.reading.events(), self.reading.malformed(), between);
        self.whole.set_usage(self.reading.usage());
    }

    /// Takes in what the upstream gave. What is for the client is ready then; an error says that
    /// it is another answer.
    fn take(&mut self, bytes: Bytes) -> Result<(), ()> {
        match &mut self.stage {
            Stage::First(sent) => {
                if sent.is_resumable() {
                    self.events.push(&bytes);
                    loop {
                        match self.events.next() {
                            Ok(Some(event)) => sent.note(&event),
                            Ok(None) => break,
                            Err(_) => {
                                sent.give_up();
                                self.events = Events::new(0);
                                break;
                            }
                        }
                    }
                }
                self.ready.push_back(bytes);
            }
            Stage::Later(replay) => {
                self.events.push(&bytes);
                while let Some(event) = self.events.next().map_err(|_| ())? {
                    let first = !replay.has_spoken();
                    match replay.event(&event) {
                        Step::Skip => {}
                        Step::Pass(events) => {
                            self.ready.extend(first.then_some(RESUMED));
                            self.ready.extend(events);
                        }
                        Step::Differs => return Err(()),
                    }
                }
            }
        }
        Ok(())
    }

    /// What the client has.
    fn sent(&mut self) -> Sent {
        match mem::replace(&mut self.stage, Stage::First(Sent::default())) {
            Stage::First(sent) => sent,
            Stage::Later(replay) => replay.into_sent(),
        }
    }
}

impl<S, B: 'static> Resuming<S, B>
where
    S: tower_service::Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    /// The answer broke off: asks somebody else, unless the answer is none that can be resumed.
    fn ask(&mut self, error: BoxError) -> Result<(), BoxError> {
        let torn = matches!(self.stage, Stage::First(_)) && !self.events.is_between();
        let mut sent = self.sent();
        if torn {
            sent.give_up();
        }
        if !sent.is_resumable() {
            self.stage = Stage::First(sent);
            return Err(error);
        }
        self.attempt = self.attempt.next(Class::Network, false);
        self.asking = Some(Box::pin(again::ask(self.service.clone(), &self.request, &self.attempt, sent.prefix())));
        self.events = Events::new(MOST_LATER);
        self.stage = Stage::First(sent);
        self.broke = Some(error);
        Ok(())
    }

    /// Somebody has answered; gives the body to read on from.
    fn answered(&mut self, response: Response<B>) -> Option<B> {
        let extensions = response.extensions();
        let progress =
            extensions.get::<Progress>().filter(|p| p.is_stream()).filter(|_| response.status().is_success());
        self.reading = progress?.clone();
        if let Some(attempt) = extensions.get::<Attempt>() {
            self.attempt = attempt.clone();
        }
        let goes_on = extensions.get::<Prefilled>().is_some();
        let sent = self.sent();
        self.stage = Stage::Later(if goes_on { Replay::from_here(sent) } else { Replay::from_start(sent) });
        Some(response.into_body())
    }
}

impl<S, B> ResumeBody<S, B> {
    pub(super) fn new(inner: B, progress: Option<Progress>, resuming: Option<Resuming<S, B>>) -> Self {
        Self { inner: Some(inner), progress, ending: None, resuming: resuming.map(Box::new) }
    }
}

impl<S, B: From<Bytes>> From<Bytes> for ResumeBody<S, B> {
    fn from(bytes: Bytes) -> Self {
        Self { inner: Some(B::from(bytes)), progress: None, ending: None, resuming: None }
    }
}

impl<S, B> Body for ResumeBody<S, B>
where
    S: tower_service::Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + 'static,
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
            let Some(resuming) = this.resuming else {
                let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
                match ready!(inner.poll_frame(cx)) {
                    Some(Err(error)) => break error.into(),
                    other => return Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
                }
            };
            if let Some(bytes) = resuming.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if let Some(asking) = &mut resuming.asking {
                let answer = ready!(asking.as_mut().poll(cx));
                resuming.asking = None;
                match answer.ok().and_then(|response| resuming.answered(response)) {
                    Some(body) => this.inner.set(Some(body)),
                    None => break lost(&mut resuming.broke),
                }
            }
            let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            match ready!(inner.poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let taken = resuming.take(frame.into_data().unwrap_or_default());
                    resuming.tell();
                    if taken.is_err() {
                        break lost(&mut resuming.broke);
                    }
                }
                Some(Err(error)) => {
                    this.inner.set(None);
                    let asked = resuming.ask(error.into());
                    resuming.tell();
                    if let Err(error) = asked {
                        break error;
                    }
                }
                None => {
                    if matches!(&resuming.stage, Stage::Later(replay) if !replay.is_over()) {
                        break lost(&mut resuming.broke);
                    }
                    resuming.whole.set_finished();
                    this.inner.set(None);
                }
            }
        };
        this.inner.set(None);
        let Some(progress) = this.progress else { return Poll::Ready(Some(Err(error))) };
        let told = Ending::told(progress.grammar(), &interrupted(&error), progress.between_events(), error);
        this.ending.insert(told).poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        let over = match &self.resuming {
            // What is there may still turn out to be another answer.
            Some(resuming) => self.inner.is_none() && resuming.asking.is_none() && resuming.ready.is_empty(),
            None => self.inner.as_ref().is_none_or(Body::is_end_stream),
        };
        self.ending.is_none() && over
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) if self.progress.is_none() => inner.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

/// Why the stream broke off that could not be resumed.
fn lost(broke: &mut Option<BoxError>) -> BoxError {
    broke.take().unwrap_or_else(|| Failure::Interrupted.into())
}

/// What a client is told when its stream broke off.
fn interrupted(error: &BoxError) -> Refusal {
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

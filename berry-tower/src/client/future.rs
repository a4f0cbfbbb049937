//! The future of an attempt. It has one size and no box, since every request has one; what is rare
//! is boxed when it happens.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::{Sleep, sleep_until};
use tower_service::Service;

use super::{
    ClientBody, Unprocessed,
    call::{Call, into_error},
    head::HeadSettings,
};
use crate::{
    backend::RotatingKey,
    body::Buffered,
    error::{BoxError, Failure, find},
    upstream_time::{UpstreamTime, Waiting},
};

/// The future of [`BackendClient`](super::BackendClient).
#[pin_project]
pub struct ResponseFuture<T: Service<Request<Buffered>>, B> {
    #[pin]
    stage: Stage<T, B>,
}

#[pin_project(project = StageProj)]
#[expect(clippy::large_enum_variant, reason = "nearly every request has the large variant only")]
enum Stage<T: Service<Request<Buffered>>, B> {
    Sent {
        call: Option<Call>,
        #[pin]
        sent: T::Future,
        /// Set when the response is first polled for and not ready.
        #[pin]
        head: Option<Sleep>,
        waiting: Option<Waiting>,
        replay: Option<Replay<T>>,
    },
    /// The request was refused or not processed: the refusal is read, or the request sent again.
    Recovering(Recovery<B>),
    Failed(Option<BoxError>),
}

type Recovery<B> = Pin<Box<dyn Future<Output = Result<Response<ClientBody<B>>, BoxError>> + Send>>;

/// The parts from which the request can be sent again.
struct Replay<T> {
    transport: T,
    request: Request<Buffered>,
}

impl<T, B> ResponseFuture<T, B>
where
    T: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(transport: &mut T, settings: &HeadSettings, request: Request<Buffered>) -> Self {
        let stage = Stage::new(transport, settings, request).unwrap_or_else(|error| Stage::Failed(Some(error)));
        Self { stage }
    }
}

impl<T, B> Stage<T, B>
where
    T: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn new(transport: &mut T, settings: &HeadSettings, mut request: Request<Buffered>) -> Result<Self, BoxError> {
        let call = Call::new(&mut request, settings)?;
        if let Some(key) = call.pending_key() {
            return Ok(Self::Recovering(Box::pin(with_key(
                key,
                call,
                Replay { transport: transport.clone(), request },
            ))));
        }
        let upstream = call.upstream_request(&request, false)?;
        let sent = transport.call(upstream);
        let waiting = call.time.as_ref().map(UpstreamTime::wait);
        let replay = Some(Replay { transport: transport.clone(), request });
        Ok(Self::Sent { call: Some(call), sent, head: None, waiting, replay })
    }
}

impl<T, B> Future for ResponseFuture<T, B>
where
    T: Service<Request<Buffered>, Response = Response<B>> + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ClientBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        loop {
            let recovery: Recovery<B> = match stage.as_mut().project() {
                StageProj::Sent { call, sent, mut head, waiting, replay } => {
                    let Some(due) = call.as_ref().map(|call| call.head) else { return Poll::Pending };
                    let result = match sent.poll(cx) {
                        Poll::Ready(result) => result.map_err(|e| Failure::from_transport(e.into())),
                        Poll::Pending => {
                            if head.is_none() {
                                head.set(Some(sleep_until(due.0)));
                            }
                            if let Some(head) = head.as_pin_mut() {
                                ready!(head.poll(cx));
                            }
                            Err(Failure::Timeout(due.1))
                        }
                    };
                    *waiting = None;
                    let (Some(call), Some(replay)) = (call.take(), replay.take()) else { return Poll::Pending };
                    match result {
                        Err(failure) if is_unprocessed(&failure) => Box::pin(resend(call, replay)),
                        Err(failure) => return Poll::Ready(Err(into_error(failure))),
                        Ok(response) if call.is_misplaced(&response) => {
                            Box::pin(async move { call.convert(response).await })
                        }
                        Ok(response) if response.status().is_success() => {
                            return Poll::Ready(call.convert_success(response));
                        }
                        Ok(response) => Box::pin(refused(call, response, replay)),
                    }
                }
                StageProj::Recovering(recovery) => return recovery.as_mut().poll(cx),
                StageProj::Failed(error) => return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
            };
            stage.set(Stage::Recovering(recovery));
        }
    }
}

/// Whether the upstream has not processed the request, so that it may be sent again.
pub(crate) fn is_unprocessed(failure: &Failure) -> bool {
    matches!(failure, Failure::ConnectionLost(_)) && find::<Unprocessed>(failure).is_some()
}

/// Sends a request when its provider's first key is there. Without one, the provider counts as having refused it.
async fn with_key<T, B>(
    key: RotatingKey,
    call: Call,
    mut replay: Replay<T>,
) -> Result<Response<ClientBody<B>>, BoxError>
where
    T: Service<Request<Buffered>, Response = Response<B>>,
    T::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    call.within(async {
        key.settled().await;
        Ok::<_, BoxError>(())
    })
    .await?;
    if !key.is_known() {
        return Ok(call.without_key());
    }
    let response = match replay.send(&call, false).await {
        Err(error) if find::<Failure>(&*error).is_some_and(is_unprocessed) => return resend(call, replay).await,
        response => response?,
    };
    if response.status().is_success() { call.convert(response).await } else { refused(call, response, replay).await }
}

/// Sends a request that was not processed once more, on a connection of its own. That is no
/// attempt; a second failure counts.
async fn resend<T, B>(call: Call, mut replay: Replay<T>) -> Result<Response<ClientBody<B>>, BoxError>
where
    T: Service<Request<Buffered>, Response = Response<B>>,
    T::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let response = replay.send(&call, true).await?;
    if response.status().is_success() { call.convert(response).await } else { refused(call, response, replay).await }
}

impl<T, B> Replay<T>
where
    T: Service<Request<Buffered>, Response = Response<B>>,
    T::Error: Into<BoxError>,
{
    async fn send(&mut self, call: &Call, fresh: bool) -> Result<Response<B>, BoxError> {
        poll_fn(|cx| self.transport.poll_ready(cx)).await.map_err(Into::into)?;
        let sent = self.transport.call(call.upstream_request(&self.request, fresh)?);
        call.within(sent).await
    }
}

/// The most lessons that one request teaches.
const MAX_LESSONS: usize = 4;

/// Reads a refusal. The request is sent again where the upstream refuses a part that can be left out or written otherwise,
/// such as reasoning that another account has signed, or where it lacks the one of OpenAI's formats and may have the other.
/// That does not count as an attempt.
async fn refused<T, B>(
    mut call: Call,
    response: Response<B>,
    mut replay: Replay<T>,
) -> Result<Response<ClientBody<B>>, BoxError>
where
    T: Service<Request<Buffered>, Response = Response<B>>,
    T::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut answer = call.convert(response).await?;
    if call.refuses_summary(&answer) {
        drop(answer);
        call.selected.backend().record_reasoning_summary_refusal();
        answer = call.convert(replay.send(&call, false).await?).await?;
    }
    if call.omit_signatures(&answer, &replay.request) {
        drop(answer);
        answer = call.convert(replay.send(&call, false).await?).await?;
    }
    let switched = match call.switch_api(&answer, &replay.request) {
        Ok(switched) => switched,
        Err(field) => return Ok(call.inexpressible(&field)),
    };
    if let Some(api) = switched {
        let status = answer.status();
        drop(answer);
        answer = call.convert(replay.send(&call, false).await?).await?;
        // Remembered only where it helped: what a client sends may bring about such a refusal too.
        if answer.status() != status {
            call.selected.backend().record_openai_api(api);
        }
        if answer.status().is_success() {
            return Ok(answer);
        }
    }
    let mut lessons = Vec::new();
    while lessons.len() < MAX_LESSONS {
        let Some(lesson) = call.lesson(&answer).filter(|lesson| !lessons.contains(lesson)) else { break };
        if !call.obey(lesson, &replay.request) {
            break;
        }
        let status = answer.status();
        drop(answer);
        lessons.push(lesson);
        answer = call.convert(replay.send(&call, false).await?).await?;
        // Remembered only where it helped: a text that a client can shape may name a field too.
        if answer.status() != status {
            lessons.drain(..).for_each(|lesson| call.selected.backend().learn(lesson));
            break;
        }
    }
    Ok(answer)
}

impl<T: Service<Request<Buffered>>, B> fmt::Debug for ResponseFuture<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

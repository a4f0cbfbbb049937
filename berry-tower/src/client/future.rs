//! The way of an attempt: sent, waited for, answered. Of one size, and without a box, since there is
//! one for every request; what is rare is boxed when it comes to it.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::{Sleep, sleep_until};
use tower_service::Service;

use super::{ClientBody, call::Call};
use crate::{
    body::Buffered,
    error::{BoxError, Failure},
    upstream_time::{UpstreamTime, Waiting},
};

/// The future of [`BackendClient`](super::BackendClient).
#[pin_project]
pub struct ResponseFuture<T: Service<Request<Buffered>>, B> {
    #[pin]
    stage: Stage<T, B>,
}

#[pin_project(project = StageProj)]
#[expect(clippy::large_enum_variant, reason = "nearly every request is at the large one only")]
enum Stage<T: Service<Request<Buffered>>, B> {
    Sent {
        call: Option<Call>,
        #[pin]
        sent: T::Future,
        /// Set when it is first waited for.
        #[pin]
        head: Option<Sleep>,
        waiting: Option<Waiting>,
        again: Option<Box<Again<T>>>,
    },
    /// It was refused, and the refusal is to be read, or cured.
    Refused(Answering<B>),
    Failed(Option<BoxError>),
}

type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<ClientBody<B>>, BoxError>> + Send>>;

/// What it takes to ask once more.
struct Again<T> {
    transport: T,
    request: Request<Buffered>,
}

impl<T, B> ResponseFuture<T, B>
where
    T: Service<Request<Buffered>, Response = Response<B>> + Clone,
{
    pub(super) fn new(transport: &mut T, request: Request<Buffered>) -> Self {
        let stage = Stage::new(transport, request).unwrap_or_else(|error| Stage::Failed(Some(error)));
        Self { stage }
    }
}

impl<T, B> Stage<T, B>
where
    T: Service<Request<Buffered>, Response = Response<B>> + Clone,
{
    fn new(transport: &mut T, mut request: Request<Buffered>) -> Result<Self, BoxError> {
        let call = Call::new(&mut request)?;
        let upstream = call.upstream_request(&request)?;
        let sent = transport.call(upstream);
        let waiting = call.time.as_ref().map(UpstreamTime::wait);
        let again = call.usage.then(|| Box::new(Again { transport: transport.clone(), request }));
        Ok(Self::Sent { call: Some(call), sent, head: None, waiting, again })
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
            let (call, response, again) = match stage.as_mut().project() {
                StageProj::Sent { call, sent, mut head, waiting, again } => {
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
                    let Some(call) = call.take() else { return Poll::Pending };
                    match result {
                        Err(failure) => return Poll::Ready(Err(failure.into())),
                        Ok(response) if response.status().is_success() => return Poll::Ready(call.success(response)),
                        Ok(response) => (call, response, again.take()),
                    }
                }
                StageProj::Refused(answering) => return answering.as_mut().poll(cx),
                StageProj::Failed(error) => return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
            };
            stage.set(Stage::Refused(Box::pin(refused(call, response, again))));
        }
    }
}

/// A refusal, read; or what the upstream says without what it has refused.
async fn refused<T, B>(
    mut call: Call,
    response: Response<B>,
    again: Option<Box<Again<T>>>,
) -> Result<Response<ClientBody<B>>, BoxError>
where
    T: Service<Request<Buffered>, Response = Response<B>>,
    T::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let answer = call.answer(response).await?;
    let Some(mut again) = again.filter(|_| call.refuses_usage(&answer)) else { return Ok(answer) };
    // It is no attempt: the client did not ask for what was refused.
    let status = answer.status();
    drop(answer);
    call.usage = false;
    poll_fn(|cx| again.transport.poll_ready(cx)).await.map_err(Into::into)?;
    let sent = again.transport.call(call.upstream_request(&again.request)?);
    let answer = call.answer(call.within(sent).await?).await?;
    // Remembered only where it helped: a text that a client can shape may name the field too.
    if answer.status() != status {
        call.selected.backend.usage_refused.store(true, Relaxed);
    }
    Ok(answer)
}

impl<T: Service<Request<Buffered>>, B> fmt::Debug for ResponseFuture<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

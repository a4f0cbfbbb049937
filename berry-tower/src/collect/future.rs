//! The future of [`Collect`](super::Collect).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response, request::Parts};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::{
    Budget, Limits,
    coding::{Coding, Unsupported},
    error::CollectError,
    lease::Lease,
    read_body::ReadBody,
};
use crate::{
    body::{Buffered, ResponseBody},
    error::BoxError,
    render::{Render, RequestSummary},
    upstream_time::UpstreamTime,
};

/// The future of [`Collect`](super::Collect).
#[pin_project]
pub struct ResponseFuture<S: Service<Request<Buffered>>, B, R> {
    #[pin]
    stage: Stage<S, B>,
    render: R,
}

#[expect(clippy::large_enum_variant, reason = "every request takes the large variant; a box would cost an allocation")]
#[pin_project(project = StageProj)]
enum Stage<S: Service<Request<Buffered>>, B> {
    Reading {
        head: Option<Parts>,
        #[pin]
        body: ReadBody<B>,
        coding: Option<Coding>,
        max_body: usize,
        inner: Option<S>,
    },
    /// A compressed body is being decoded on another thread.
    #[cfg(feature = "decompress")]
    Decoding(Option<Box<(Decoding, S, Parts)>>),
    Waiting(Option<Box<(S, Request<Buffered>)>>),
    Called(#[pin] S::Future),
    Rejected(Option<Box<(CollectError, RequestSummary)>>),
}

#[cfg(feature = "decompress")]
type Decoding = crate::offload::Offloaded<Result<Buffered, CollectError>>;

impl<S: Service<Request<Buffered>>, B> Stage<S, B> {
    fn rejected(error: CollectError, head: &Parts) -> Self {
        Self::Rejected(Some(Box::new((error, RequestSummary::from(head)))))
    }

    fn waiting(inner: S, request: Request<Buffered>) -> Self {
        Self::Waiting(Some(Box::new((inner, request))))
    }

    /// Calls the service if it is ready.
    fn call(mut inner: S, request: Request<Buffered>, cx: &mut Context<'_>) -> Result<Self, S::Error> {
        Ok(match inner.poll_ready(cx)? {
            Poll::Ready(()) => Self::Called(inner.call(request)),
            Poll::Pending => Self::waiting(inner, request),
        })
    }
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<Buffered>>,
    B: Body,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(inner: S, request: Request<B>, limits: Limits, budget: &Budget, render: R) -> Self {
        let (head, body) = request.into_parts();
        let coding = Coding::of(&head.headers).map_err(|Unsupported| CollectError::UnsupportedCoding);
        let body = coding.and_then(|coding| Ok((coding, ReadBody::new(&head, body, limits, budget)?)));
        let stage = match body {
            Ok((coding, body)) => {
                let max_body = limits.max_body;
                Stage::Reading { head: Some(head), body, coding, max_body, inner: Some(inner) }
            }
            Err(error) => Stage::rejected(error, &head),
        };
        Self { stage, render }
    }
}

#[cfg(feature = "decompress")]
fn decoding<S: Service<Request<Buffered>>, B>(
    coding: Coding,
    (body, mut lease): (bytes::Bytes, Lease),
    max_body: usize,
    inner: S,
    head: Parts,
) -> Stage<S, B> {
    let decoding = crate::offload::offload(move || {
        let decoded = super::decode::decode(coding, &body, max_body, &mut lease)?;
        Ok(lease.attach(Buffered::from(decoded)))
    });
    Stage::Decoding(Some(Box::new((decoding, inner, head))))
}

/// No coding is supported, so that no body has one here.
#[cfg(not(feature = "decompress"))]
fn decoding<S: Service<Request<Buffered>>, B>(
    _coding: Coding,
    (body, lease): (bytes::Bytes, Lease),
    _max_body: usize,
    inner: S,
    head: Parts,
) -> Stage<S, B> {
    Stage::waiting(inner, Request::from_parts(head, lease.attach(Buffered::from(body))))
}

impl<S, B, R, ResBody> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<Buffered>, Response = Response<ResBody>>,
    B: Body,
    B::Error: Into<BoxError>,
    R: Render,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.stage.as_mut().project() {
                StageProj::Reading { head, body, coding, max_body, inner } => {
                    let time = head.as_ref().and_then(|head| head.extensions.get::<UpstreamTime>());
                    let read = ready!(body.poll(time, cx));
                    let (Some(head), Some(inner)) = (head.take(), inner.take()) else { return Poll::Pending };
                    match (read, *coding) {
                        (Ok(read), Some(coding)) => decoding(coding, read, *max_body, inner, head),
                        (Ok((bytes, lease)), None) => {
                            let body = lease.attach(Buffered::from(bytes));
                            Stage::call(inner, Request::from_parts(head, body), cx)?
                        }
                        (Err(error), _) => Stage::rejected(error, &head),
                    }
                }
                #[cfg(feature = "decompress")]
                StageProj::Decoding(decoding) => {
                    let Some(parts) = decoding else { return Poll::Pending };
                    let decoded = ready!(parts.0.as_mut().poll(cx));
                    let Some((_, inner, mut head)) = decoding.take().map(|parts| *parts) else {
                        return Poll::Pending;
                    };
                    match decoded {
                        Ok(body) => {
                            head.headers.remove(http::header::CONTENT_ENCODING);
                            head.headers.insert(http::header::CONTENT_LENGTH, body.bytes().len().into());
                            Stage::waiting(inner, Request::from_parts(head, body))
                        }
                        Err(error) => Stage::rejected(error, &head),
                    }
                }
                StageProj::Waiting(waiting) => {
                    if let Some(waiting) = waiting {
                        ready!(waiting.0.poll_ready(cx))?;
                    }
                    let Some((mut inner, request)) = waiting.take().map(|waiting| *waiting) else {
                        return Poll::Pending;
                    };
                    Stage::Called(inner.call(request))
                }
                StageProj::Called(future) => {
                    return future.poll(cx).map(|result| result.map(|response| response.map(ResponseBody::new)));
                }
                StageProj::Rejected(rejected) => {
                    let Some((error, request)) = rejected.take().map(|rejected| *rejected) else {
                        return Poll::Pending;
                    };
                    return Poll::Ready(Ok(this.render.render(error.refusal(), &request).map(ResponseBody::from)));
                }
            };
            this.stage.set(next);
        }
    }
}

impl<S: Service<Request<Buffered>>, B, R> fmt::Debug for ResponseFuture<S, B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

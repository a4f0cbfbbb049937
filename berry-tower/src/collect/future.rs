//! The future of [`Collect`](super::Collect).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response, StatusCode, header::CONTENT_ENCODING, request::Parts};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::{Limits, read_body::ReadBody};
use crate::{
    body::{Buffered, ResponseBody},
    render::{Refusal, Render, RequestSummary},
    upstream_time::UpstreamTime,
};

/// The future of [`Collect`](super::Collect).
#[pin_project]
pub struct ResponseFuture<S: Service<Request<Buffered>>, B, R> {
    #[pin]
    stage: Stage<S, B>,
    render: R,
}

#[pin_project(project = StageProj)]
enum Stage<S: Service<Request<Buffered>>, B> {
    Reading {
        head: Option<Parts>,
        #[pin]
        body: ReadBody<B>,
        inner: Option<S>,
    },
    Waiting(Option<(S, Request<Buffered>)>),
    Called(#[pin] S::Future),
    Rejected(Option<(Box<Refusal>, RequestSummary)>),
}

impl<S: Service<Request<Buffered>>, B> Stage<S, B> {
    fn rejected(refusal: Box<Refusal>, head: &Parts) -> Self {
        Self::Rejected(Some((refusal, RequestSummary::from(head))))
    }
}

impl<S: Service<Request<Buffered>>, B: Body, R> ResponseFuture<S, B, R> {
    pub(super) fn new(inner: S, request: Request<B>, limits: Limits, render: R) -> Self {
        let (head, body) = request.into_parts();
        let mut codings = head.headers.get_all(CONTENT_ENCODING).iter();
        let body = if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            let message = "this gateway reads no compressed bodies; send the request without Content-Encoding";
            Err(Box::new(Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)))
        } else {
            ReadBody::new(&head.headers, body, limits)
        };
        let stage = match body {
            Ok(body) => Stage::Reading { head: Some(head), body, inner: Some(inner) },
            Err(refusal) => Stage::rejected(refusal, &head),
        };
        Self { stage, render }
    }
}

impl<S, B, R, ResBody> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<Buffered>, Response = Response<ResBody>>,
    B: Body,
    R: Render,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.stage.as_mut().project() {
                StageProj::Reading { head, body, inner } => {
                    let time = head.as_ref().and_then(|head| head.extensions.get::<UpstreamTime>());
                    let read = ready!(body.poll(time, cx));
                    let (Some(head), Some(inner)) = (head.take(), inner.take()) else { return Poll::Pending };
                    match read {
                        Ok(bytes) => Stage::Waiting(Some((inner, Request::from_parts(head, Buffered::from(bytes))))),
                        Err(refusal) => Stage::rejected(refusal, &head),
                    }
                }
                StageProj::Waiting(waiting) => {
                    if let Some((inner, _)) = waiting {
                        ready!(inner.poll_ready(cx))?;
                    }
                    let Some((mut inner, request)) = waiting.take() else { return Poll::Pending };
                    Stage::Called(inner.call(request))
                }
                StageProj::Called(future) => {
                    return future.poll(cx).map(|result| result.map(|response| response.map(ResponseBody::new)));
                }
                StageProj::Rejected(rejected) => {
                    let Some((refusal, request)) = rejected.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(this.render.render(*refusal, &request).map(ResponseBody::from)));
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

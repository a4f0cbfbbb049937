//! The future of [`Inspect`](super::Inspect).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project::pin_project;
use tower_service::Service;

use super::{DefaultModel, ModelSlot, Requested, Unreadable, rejection};
use crate::{
    body::{Buffered, ResponseBody},
    offload::{Offloaded, is_large, offload},
    render::{Render, RequestSummary},
};

type Read = Result<Requested, Unreadable>;

/// A body that is being read, the service to call then, and the request.
type Pending<S> = (Offloaded<Read>, S, Request<Buffered>);

/// The future of [`Inspect`](super::Inspect).
#[pin_project]
pub struct ResponseFuture<S: Service<Request<Buffered>>, R> {
    #[pin]
    stage: Stage<S>,
    render: R,
}

#[pin_project(project = StageProj)]
enum Stage<S: Service<Request<Buffered>>> {
    /// A large body is being read on another thread.
    Reading(Option<Box<Pending<S>>>),
    Called(#[pin] S::Future),
    Rejected(Option<Box<(Unreadable, RequestSummary)>>),
}

impl<S: Service<Request<Buffered>> + Clone> Stage<S> {
    fn new(inner: &mut S, request: Request<Buffered>) -> Self {
        if is_large(request.body().bytes().len()) {
            let (body, head) = (request.body().bytes().clone(), (request.uri().clone(), request.headers().clone()));
            let read = offload(move || Requested::read_request(head.0.path(), &head.1, &body));
            // The service that was made ready is the one to call.
            let next = inner.clone();
            return Self::Reading(Some(Box::new((read, std::mem::replace(inner, next), request))));
        }
        let read = Requested::read_request(request.uri().path(), request.headers(), request.body().bytes());
        Self::call(read, inner, request)
    }

    fn call(mut read: Read, inner: &mut S, mut request: Request<Buffered>) -> Self {
        if let (Err(Unreadable::NoModel), Some(model)) = (&read, request.extensions().get::<DefaultModel>())
            && let Some(body) = model.insert_into(request.body().bytes())
        {
            read = Requested::read_request(request.uri().path(), request.headers(), &body);
            *request.body_mut() = request.body().replaced_by(body);
        }
        match read {
            Ok(requested) => {
                if let Some(ModelSlot(slot)) = request.extensions().get() {
                    let _ = slot.set(requested.model.clone());
                }
                request.extensions_mut().insert(requested);
                Self::Called(inner.call(request))
            }
            Err(why) => Self::Rejected(Some(Box::new((why, RequestSummary::from(&request))))),
        }
    }
}

impl<S: Service<Request<Buffered>> + Clone, R> ResponseFuture<S, R> {
    pub(super) fn new(inner: &mut S, request: Request<Buffered>, render: R) -> Self {
        Self { stage: Stage::new(inner, request), render }
    }
}

impl<S, R, ResBody> Future for ResponseFuture<S, R>
where
    S: Service<Request<Buffered>, Response = Response<ResBody>> + Clone,
    R: Render,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.stage.as_mut().project() {
                StageProj::Reading(reading) => {
                    let Some(parts) = reading.as_mut() else { return Poll::Pending };
                    let read = ready!(parts.0.as_mut().poll(cx));
                    let Some((_, mut inner, request)) = reading.take().map(|parts| *parts) else {
                        return Poll::Pending;
                    };
                    Stage::call(read, &mut inner, request)
                }
                StageProj::Called(future) => {
                    return future.poll(cx).map(|result| result.map(|response| response.map(ResponseBody::new)));
                }
                StageProj::Rejected(rejected) => {
                    let Some((why, request)) = rejected.take().map(|rejected| *rejected) else { return Poll::Pending };
                    return Poll::Ready(Ok(this.render.render(rejection(&why), &request).map(ResponseBody::from)));
                }
            };
            this.stage.set(next);
        }
    }
}

impl<S: Service<Request<Buffered>>, R> fmt::Debug for ResponseFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

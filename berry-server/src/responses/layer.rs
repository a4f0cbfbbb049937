//! The layer that continues stored conversations and stores finished responses.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use berry_tower::{
    body::{Buffered, ByteLease, ResponseBody},
    offload::{is_large, offload},
    render::{OpenAiErrors, Refusal, Render, RequestSummary},
};
use bytes::Bytes;
use futures_util::future::Either;
use http::{
    Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use serde_json::Value;
use tokio::time::timeout;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    capture::Capture,
    conversation,
    records::{Record, Responses},
};
use crate::config::build::Caller;

const PATH: &str = "/v1/responses";
/// How long the end of a response waits until it is stored.
const PATIENCE: Duration = Duration::from_secs(2);

/// [`Layer`] that applies [`Store`]. Without a store it passes everything.
#[derive(Clone, Debug)]
pub(crate) struct StoreLayer(Option<Responses>);

impl StoreLayer {
    pub(crate) const fn new(responses: Option<Responses>) -> Self {
        Self(responses)
    }
}

impl<S> Layer<S> for StoreLayer {
    type Service = Store<S>;

    fn layer(&self, inner: S) -> Store<S> {
        Store { inner, responses: self.0.clone() }
    }
}

/// Replaces the `previous_response_id` of a stored response by its conversation, and stores responses when they end.
#[derive(Clone, Debug)]
pub(crate) struct Store<S> {
    inner: S,
    responses: Option<Responses>,
}

type Stored<B, E> = Pin<Box<dyn Future<Output = Result<Response<StoredBody<B>>, E>> + Send>>;

impl<S, B> Service<Request<Buffered>> for Store<S>
where
    S: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<StoredBody<B>>;
    type Error = S::Error;
    type Future = Either<Passed<S::Future>, Stored<B, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Buffered>) -> Self::Future {
        let caller = request.extensions().get::<Arc<Caller>>().map(|caller| caller.id.clone());
        match (&self.responses, caller) {
            (Some(responses), Some(caller)) if request.uri().path() == PATH => {
                let ready = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, ready);
                Either::Right(Box::pin(serve(inner, responses.clone(), caller, request)))
            }
            _ => Either::Left(Passed(self.inner.call(request))),
        }
    }
}

async fn serve<S, B>(
    mut inner: S,
    responses: Responses,
    caller: Arc<str>,
    mut request: Request<Buffered>,
) -> Result<Response<StoredBody<B>>, S::Error>
where
    S: Service<Request<Buffered>, Response = Response<B>>,
{
    // The conversation is kept until its response is stored.
    let mut lease = request.body().new_lease();
    let mut has_room =
        |json: &[u8]| lease.as_mut().is_none_or(|lease| lease.try_grow(conversation::parsed_bytes(json)));
    let body = request.body().bytes().clone();
    if !has_room(&body) {
        return Ok(refused(overloaded()));
    }
    let Some(mut conversation) = off_worker(body.len(), move || conversation::Request::read(&body)).await else {
        return Ok(inner.call(request).await?.map(StoredBody::pass));
    };
    if let Some(id) = conversation.previous() {
        // A backend is not asked about an id that is unknown here: all callers share its account.
        let record = match responses.find(&caller, id).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(refused(not_found(id))),
            Err(error) => {
                tracing::warn!(%error, "a stored response could not be read");
                let message = "the store of responses is not available; try again shortly";
                let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
                return Ok(refused(refusal.code("store_unavailable").retry_after(Duration::from_secs(1))));
            }
        };
        if !has_room(record.items.as_bytes()) {
            return Ok(refused(overloaded()));
        }
        let bytes = request.body().bytes().len() + record.items.len();
        let continued = move || {
            conversation.continue_from(serde_json::from_str(&record.items).unwrap_or_default());
            // Writing JSON into a text cannot fail.
            let body = serde_json::to_string(&conversation.body).unwrap_or_default();
            (conversation, body)
        };
        let body;
        (conversation, body) = off_worker(bytes, continued).await;
        *request.body_mut() = request.body().replaced_by(body.into());
        request.headers_mut().remove(CONTENT_LENGTH);
    }
    let bytes = request.body().bytes().len();
    let response = inner.call(request).await?;
    if !response.status().is_success() || !conversation.stores() {
        return Ok(response.map(StoredBody::pass));
    }
    let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let capture = Capture::new(media.starts_with("text/event-stream"), lease.as_ref().map(ByteLease::sibling));
    let save = move |response: Value| -> Saving {
        Box::pin(async move {
            let _lease = lease;
            let id = response["id"].as_str().unwrap_or_default().to_owned();
            if id.is_empty() {
                return;
            }
            let write = move || {
                let items = conversation.with_output(&response["output"]);
                Record { id, response: response.to_string(), items }
            };
            let record = off_worker(bytes, write).await;
            match timeout(PATIENCE, responses.store(&caller, &record)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a response could not be stored"),
                Err(_) => tracing::warn!("storing a response took too long"),
            }
        })
    };
    let storing = Storing { capture: Some((capture, Box::new(save))), saving: None, held: None, is_over: false };
    Ok(response.map(|body| StoredBody { inner: ResponseBody::new(body), storing: Some(Box::new(storing)) }))
}

/// Runs `work` on so many bytes, on another thread if it takes long.
async fn off_worker<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if is_large(bytes) { offload(work).await } else { work() }
}

fn overloaded() -> Refusal {
    let message = "the bytes that are held of requests and responses reach their limit; try again shortly";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
        .code("overloaded")
        .retry_after(Duration::from_secs(1))
}

fn not_found(id: &str) -> Refusal {
    let message = format!("previous response with id '{id}' not found");
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
        .code("previous_response_not_found")
        .param("previous_response_id")
}

fn refused<B>(refusal: Refusal) -> Response<StoredBody<B>> {
    let response = OpenAiErrors.render(refusal, &RequestSummary::default());
    response.map(|body| StoredBody { inner: body.into(), storing: None })
}

type Saving = Pin<Box<dyn Future<Output = ()> + Send>>;
type Save = Box<dyn FnOnce(Value) -> Saving + Send>;

/// The body of a response that is stored before its end reaches the caller.
#[pin_project]
pub(crate) struct StoredBody<B> {
    #[pin]
    inner: ResponseBody<B>,
    /// Boxed, since most responses are not stored.
    storing: Option<Box<Storing>>,
}

struct Storing {
    capture: Option<(Capture, Save)>,
    saving: Option<Saving>,
    /// The frame that waits until the response is stored.
    held: Option<Frame<Bytes>>,
    is_over: bool,
}

impl Storing {
    /// Begins to store the response that has been found.
    fn save(&mut self, found: Option<(Value, Save)>) {
        self.saving = found.map(|(response, save)| save(response));
    }

    fn finish(&mut self) -> Option<(Value, Save)> {
        self.capture.take().and_then(|(capture, save)| Some((capture.finish()?, save)))
    }

    /// Takes a frame, and returns it unless it waits until the response is stored.
    fn take(&mut self, frame: Frame<Bytes>, is_last: bool) -> Option<Frame<Bytes>> {
        let Some((capture, _)) = &mut self.capture else { return Some(frame) };
        let found = match frame.data_ref().and_then(|data| capture.push(data)) {
            Some(response) => self.capture.take().map(|(_, save)| (response, save)),
            None if is_last => self.finish(),
            None => None,
        };
        self.save(found);
        if self.saving.is_none() {
            return Some(frame);
        }
        self.held = Some(frame);
        None
    }
}

impl<B> StoredBody<B> {
    fn pass(inner: B) -> Self {
        Self { inner: ResponseBody::new(inner), storing: None }
    }
}

impl<B> Default for StoredBody<B> {
    fn default() -> Self {
        Self { inner: ResponseBody::default(), storing: None }
    }
}

impl<B: Body<Data = Bytes>> Body for StoredBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(storing) = this.storing else { return this.inner.poll_frame(cx) };
        loop {
            if let Some(saving) = &mut storing.saving {
                ready!(saving.as_mut().poll(cx));
                storing.saving = None;
            }
            if let Some(frame) = storing.held.take() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if storing.is_over {
                return Poll::Ready(None);
            }
            match ready!(this.inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(frame) = storing.take(frame, this.inner.is_end_stream()) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Some(Err(error)) => {
                    storing.capture = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    storing.is_over = true;
                    let found = storing.finish();
                    storing.save(found);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_storing = |storing: &Storing| storing.saving.is_some() || storing.held.is_some();
        let is_over = self.storing.as_ref().is_some_and(|storing| storing.is_over);
        !self.storing.as_deref().is_some_and(is_storing) && (is_over || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let is_held = self.storing.as_ref().is_some_and(|storing| storing.held.is_some());
        if is_held { SizeHint::default() } else { self.inner.size_hint() }
    }
}

/// The future of a request that has nothing to do with stored responses.
#[pin_project]
pub(crate) struct Passed<F>(#[pin] F);

impl<F, B, E> Future for Passed<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<StoredBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx).map_ok(|response| response.map(StoredBody::pass))
    }
}

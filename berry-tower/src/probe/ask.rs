//! The two questions of a probe: the list of models, and a chat of one token.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use std::{future::poll_fn, sync::Arc};
use tower_service::Service;

use super::due::Listing;
use crate::{
    backend::{Backend, ProbeOutcome, Provider},
    body::Buffered,
    classify::{Class, Classify, ErrorBody, Standard},
    client::{BackendClient, ConnectTimeout, upstream_error},
    endpoint::Endpoint,
    error::{BoxError, Failure},
    inspect::Requested,
    select::Selected,
};

/// So much of a list is read, for the connection's sake; nobody looks at it.
const LIST: usize = 4 << 20;

/// Asks for the list of models.
pub(super) async fn list<T, B>(mut transport: T, provider: &Provider) -> Listing
where
    T: Service<Request<Buffered>, Response = Response<B>>,
    T::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let Some(uri) = provider.models_uri() else { return Listing::Alive };
    let mut request = Request::new(Buffered::default());
    *request.uri_mut() = uri;
    request.headers_mut().clone_from(provider.headers());
    request.extensions_mut().insert(ConnectTimeout(provider.timeouts.connect));
    let answer = async {
        poll_fn(|cx| transport.poll_ready(cx)).await?;
        transport.call(request).await
    };
    let response = match answer.await {
        Ok(response) => response,
        Err(error) => return Listing::Silent(Standard.error(&Failure::from_transport(error.into()))),
    };
    let (head, body) = response.into_parts();
    if head.status.is_success() {
        drain(body).await;
        return Listing::Alive;
    }
    verdict(head.status, &head.headers, body, provider).await
}

async fn verdict<B>(status: StatusCode, headers: &HeaderMap, body: B, provider: &Provider) -> Listing
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
        return Listing::Alive;
    }
    let mut body = std::pin::pin!(http_body_util::Limited::new(body, upstream_error::MOST));
    let mut raw = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        raw.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    let error = upstream_error::parse(&raw, Endpoint::ChatCompletions, provider);
    match Standard.response(status, headers, Some(&error)) {
        class @ Class::RateLimited { .. } => Listing::Refused(class),
        class if class.tells_against() => Listing::Refused(class),
        _ => Listing::Alive,
    }
}

async fn drain<B>(body: B)
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = std::pin::pin!(http_body_util::Limited::new(body, LIST));
    while let Some(Ok(_)) = body.frame().await {}
}

/// Has a chat of one token, by the way that users' requests take.
pub(super) async fn chat<T, B>(transport: T, backend: &Arc<Backend>) -> ProbeOutcome
where
    T: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut client = BackendClient::new(transport);
    let first = one_token(&mut client, backend, "max_tokens").await;
    let last = match first {
        Err(Refused::Bound) => one_token(&mut client, backend, "max_completion_tokens").await,
        other => other,
    };
    match last {
        Ok(()) | Err(Refused::Bound) => ProbeOutcome::Chatted,
        Err(Refused::By(class @ Class::RateLimited { .. })) => ProbeOutcome::Failed(class),
        Err(Refused::By(class)) if class.tells_against() => ProbeOutcome::Failed(class),
        // Who refuses a question is alive.
        Err(Refused::By(_)) => ProbeOutcome::Chatted,
    }
}

/// Why there was no answer.
enum Refused {
    /// The bound on tokens goes by another name there.
    Bound,
    By(Class),
}

async fn one_token<T, B>(client: &mut BackendClient<T>, backend: &Arc<Backend>, bound: &str) -> Result<(), Refused>
where
    BackendClient<T>: Service<Request<Buffered>, Response = Response<B>, Error = BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let failed = |error: BoxError| Refused::By(Standard.error(&*error));
    // The client puts the backend's own name for the model in.
    let body = format!(r#"{{"model":"probe","messages":[{{"role":"user","content":"hi"}}],"{bound}":1}}"#);
    let requested = Requested::read(body.as_bytes()).map_err(|_| Refused::By(Class::Caller))?;
    let mut request =
        Request::post("/v1/chat/completions").body(Buffered::from(body)).map_err(|_| Refused::By(Class::Caller))?;
    request.extensions_mut().insert(requested.on("/v1/chat/completions"));
    request.extensions_mut().insert(Selected { backend: backend.clone(), last: true });
    poll_fn(|cx| client.poll_ready(cx)).await.map_err(failed)?;
    let response = client.call(request).await.map_err(failed)?;
    let error = response.extensions().get::<ErrorBody>();
    let class = Standard.response(response.status(), response.headers(), error);
    let names = |e: &ErrorBody| [&e.param, &e.message].into_iter().flatten().any(|text| text.contains("max_tokens"));
    match class {
        Class::Success => match response.into_body().collect().await {
            Ok(_) => Ok(()),
            Err(error) => Err(failed(error.into())),
        },
        Class::Caller if error.is_some_and(names) => Err(Refused::Bound),
        class => Err(Refused::By(class)),
    }
}

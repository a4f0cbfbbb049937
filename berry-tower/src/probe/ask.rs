//! The two questions of a probe: the list of models, and a chat of one token.

use bytes::Bytes;
use http::{Request, Response, StatusCode, response::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use std::{fmt, future::poll_fn, sync::Arc};
use tower_service::Service;

use crate::{
    backend::{Backend, ProbeOutcome, Provider},
    body::Buffered,
    classify::{Class, Classify, ErrorBody, ModelApiVerdict, RequestFacts, class_of_error},
    client::{BackendClient, Upstream, is_unprocessed, upstream_error},
    endpoint::Endpoint,
    error::{BoxError, Failure},
    inspect::Requested,
    select::Selected,
};

/// A question that was not answered well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What it says about the provider.
    pub class: Class,
    /// Why, in words: the provider's own where it gave any, without keys and addresses.
    pub reason: String,
    /// The provider did not answer at all.
    pub(super) silent: bool,
    /// The bound on tokens goes by another name there.
    bound: bool,
}

impl Refused {
    fn new(class: Class, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into(), silent: false, bound: false }
    }

    /// The innermost cause distinguishes a refused connection from an unknown host.
    fn failed(error: &BoxError) -> Self {
        let first: &(dyn std::error::Error + 'static) = &**error;
        let reason = match std::iter::successors(first.source(), |e| e.source()).last() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        Self::new(class_of_error(first), reason)
    }

    fn answered(class: Class, status: StatusCode, error: Option<&ErrorBody>) -> Self {
        let words = error.and_then(|error| error.message.as_deref()).unwrap_or("the provider gave no reason");
        Self::new(class, format!("{}: {words}", status.as_u16()))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refused {}

/// The most bytes of a list that are read and discarded, so that the connection can be reused.
const LIST: usize = 4 << 20;

/// Asks a provider for its list of models, with its headers and key. Who has no such list, or
/// finds fault with the request, has answered.
///
/// # Errors
/// The response is a failure of the provider or a rate limit, or there was none.
pub async fn list<T, B>(mut transport: T, provider: &Provider) -> Result<(), Refused>
where
    T: Service<Request<Buffered>, Response = Response<B>>,
    T::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let Some(uri) = provider.models_uri() else { return Ok(()) };
    if let Some(key) = provider.rotating_key() {
        key.settled().await;
        if !key.is_known() {
            return Err(Refused::new(Class::Auth, "the provider's key could not be got"));
        }
    }
    let mut ask = async |upstream: Upstream| {
        let mut request = Request::new(Buffered::default());
        *request.uri_mut() = uri.clone();
        provider.insert_headers(request.headers_mut());
        request.extensions_mut().insert(upstream);
        poll_fn(|cx| transport.poll_ready(cx)).await?;
        transport.call(request).await
    };
    let failed = |error: T::Error| Failure::from_transport(error.into());
    let upstream = Upstream::new(provider.timeouts().connect());
    let mut answer = ask(upstream.clone()).await.map_err(failed);
    // A pooled connection that was closed meanwhile says nothing about the provider.
    if answer.as_ref().is_err_and(is_unprocessed) {
        answer = ask(upstream.with_fresh_connection()).await.map_err(failed);
    }
    let response = match answer {
        Ok(response) => response,
        Err(failure) => return Err(Refused { silent: true, ..Refused::failed(&failure.into()) }),
    };
    let (head, body) = response.into_parts();
    if head.status.is_success() {
        drain(body).await;
        return Ok(());
    }
    verdict(&head, body, provider).await
}

async fn verdict<B>(head: &Parts, body: B, provider: &Provider) -> Result<(), Refused>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    if matches!(head.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
        return Ok(());
    }
    let mut body = std::pin::pin!(http_body_util::Limited::new(body, upstream_error::MAX_BODY));
    let mut raw = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        raw.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    let error = upstream_error::parse(&raw, Endpoint::ChatCompletions, provider);
    match ModelApiVerdict.response(&RequestFacts::default(), head, Some(&error)) {
        class if class.is_backend_failure() || matches!(class, Class::RateLimited { .. }) => {
            Err(Refused::answered(class, head.status, Some(&error)))
        }
        _ => Ok(()),
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

/// Has a chat of one token with a backend, by the way that users' requests take.
///
/// # Errors
/// There was no good response, for any reason.
pub async fn one_token<T, B>(transport: T, backend: &Arc<Backend>) -> Result<(), Refused>
where
    T: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut client = BackendClient::new(transport);
    match bounded(&mut client, backend, "max_tokens").await {
        Err(refused) if refused.bound => bounded(&mut client, backend, "max_completion_tokens").await,
        other => other,
    }
}

/// What such a chat says about the backend's health.
pub(super) async fn chat<T, B>(transport: T, backend: &Arc<Backend>) -> ProbeOutcome
where
    T: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    match one_token(transport, backend).await {
        Err(Refused { class, .. }) if class.is_backend_failure() || matches!(class, Class::RateLimited { .. }) => {
            ProbeOutcome::Failed(class)
        }
        // Who refuses a question is alive.
        Ok(()) | Err(_) => ProbeOutcome::Chatted,
    }
}

async fn bounded<T, B>(client: &mut BackendClient<T>, backend: &Arc<Backend>, bound: &str) -> Result<(), Refused>
where
    BackendClient<T>: Service<Request<Buffered>, Response = Response<B>, Error = BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let unsent = |error: BoxError| Refused::new(Class::ClientError, error.to_string());
    // The client puts the backend's own name for the model in.
    let body = format!(r#"{{"model":"probe","messages":[{{"role":"user","content":"hi"}}],"{bound}":1}}"#);
    let body = Buffered::from(body);
    let requested = Requested::read(body.bytes()).map_err(|e| unsent(e.into()))?;
    let request = Request::post("/v1/chat/completions").body(body);
    let mut request = request.map_err(|e| unsent(e.into()))?;
    request.extensions_mut().insert(requested.with_path("/v1/chat/completions"));
    request.extensions_mut().insert(Selected::new(backend.clone()).with_last_resort(true));
    poll_fn(|cx| client.poll_ready(cx)).await.map_err(|e| Refused::failed(&e))?;
    let facts = RequestFacts::from_request(&request);
    let response = client.call(request).await.map_err(|e| Refused::failed(&e))?;
    let (head, body) = response.into_parts();
    let error = head.extensions.get::<ErrorBody>();
    let class = ModelApiVerdict.response(&facts, &head, error);
    if class != Class::Success {
        let names =
            |e: &ErrorBody| [&e.param, &e.message].into_iter().flatten().any(|text| text.contains("max_tokens"));
        let bound = class == Class::ClientError && error.is_some_and(names);
        return Err(Refused { bound, ..Refused::answered(class, head.status, error) });
    }
    match body.collect().await {
        Ok(_) => Ok(()),
        Err(error) => Err(Refused::failed(&error.into())),
    }
}

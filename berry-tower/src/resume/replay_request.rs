//! The request of a stream, kept so that it can be sent again.

use std::future::{Future, poll_fn};

use http::{Request, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use tower_service::Service;

use crate::{
    attempt::Attempt,
    body::Buffered,
    endpoint::Endpoint,
    error::BoxError,
    inspect::{Prefill, Requested},
};

/// A request and the service to send it to again.
#[derive(Clone, Debug)]
pub(super) struct ReplayRequest<S> {
    pub(super) service: S,
    pub(super) request: Request<Buffered>,
}

/// The members of a request body that make its stream one that is not resumed.
#[derive(Deserialize)]
struct BodyOptions<'a> {
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    top_logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    best_of: Option<&'a RawValue>,
    response_format: Option<Format>,
    /// Where Responses have the format.
    text: Option<Text>,
    #[serde(borrow)]
    include: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Text {
    format: Option<Format>,
}

#[derive(Deserialize)]
struct Format {
    r#type: Option<String>,
}

impl<S> ReplayRequest<S> {
    /// Captures a request whose response may be a stream that can be resumed.
    pub(super) fn capture(service: &S, request: &Request<Buffered>) -> Option<Box<Self>>
    where
        S: Clone,
    {
        let requested = request.extensions().get::<Requested>()?;
        let is_compared =
            matches!(requested.endpoint, Some(Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Responses));
        (requested.stream && is_compared && requested.choices <= 1)
            .then(|| Box::new(Self { service: service.clone(), request: request.clone() }))
    }

    /// Whether its response is plain text, which can be compared with another response.
    pub(super) fn is_plain_text(&self) -> bool {
        let body = self.request.body().bytes();
        let Ok(options) = serde_json::from_slice::<BodyOptions<'_>>(body) else { return false };
        let is_off = |value: Option<&RawValue>| value.is_none_or(|value| matches!(value.get(), "false" | "0" | "null"));
        let one_candidate = options.best_of.is_none_or(|value| matches!(value.get(), "1" | "null"));
        let format = options.response_format.or_else(|| options.text.and_then(|text| text.format));
        let is_text = format.is_none_or(|format| format.r#type.as_deref() == Some("text"));
        let has_logprobs = options.include.is_some_and(|include| include.get().contains("logprobs"));
        !has_logprobs && is_off(options.logprobs) && is_off(options.top_logprobs) && one_candidate && is_text
    }
}

/// Sends the request again, with the text that the client has for backends that continue from there.
pub(super) fn send<S, B>(
    mut service: S,
    request: &Request<Buffered>,
    attempt: &Attempt,
    delivered: Option<&str>,
) -> impl Future<Output = Result<Response<B>, BoxError>> + use<S, B>
where
    S: Service<Request<Buffered>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    let mut request = request.clone();
    let requested = request.extensions().get::<Requested>();
    let prefill =
        delivered.zip(requested).and_then(|(text, requested)| Prefill::new(requested, request.body().bytes(), text));
    let extensions = request.extensions_mut();
    extensions.insert(attempt.clone());
    if let Some(prefill) = prefill {
        extensions.insert(prefill);
    }
    async move {
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
        service.call(request).await.map_err(Into::into)
    }
}

//! The same question once more: whether it may be asked, and how.

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

/// A question, and whom to ask it.
#[derive(Clone, Debug)]
pub(super) struct Again<S> {
    pub(super) service: S,
    pub(super) request: Request<Buffered>,
}

/// The members of a question that make its answer one that is not resumed.
#[derive(Deserialize)]
struct Question<'a> {
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    top_logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    best_of: Option<&'a RawValue>,
    response_format: Option<Format>,
}

#[derive(Deserialize)]
struct Format {
    r#type: Option<String>,
}

impl<S> Again<S> {
    /// Keeps what it takes to ask again, where the answer may be a stream that can be resumed.
    pub(super) fn keep(service: &S, request: &Request<Buffered>) -> Option<Box<Self>>
    where
        S: Clone,
    {
        let requested = request.extensions().get::<Requested>()?;
        let chat = matches!(requested.endpoint, Some(Endpoint::ChatCompletions | Endpoint::Completions));
        (requested.stream && chat && requested.choices <= 1)
            .then(|| Box::new(Self { service: service.clone(), request: request.clone() }))
    }

    /// Whether an answer to it is plain text, which can be held against another.
    pub(super) fn is_plain(&self) -> bool {
        let Ok(question) = serde_json::from_slice::<Question<'_>>(self.request.body().bytes()) else { return false };
        let off = |value: Option<&RawValue>| value.is_none_or(|value| matches!(value.get(), "false" | "0"));
        let one = question.best_of.is_none_or(|value| value.get() == "1");
        let text = question.response_format.is_none_or(|format| format.r#type.as_deref() == Some("text"));
        off(question.logprobs) && off(question.top_logprobs) && one && text
    }
}

/// Asks once more, with what the client has of the answer for backends that go on from there.
pub(super) fn ask<S, B>(
    mut service: S,
    request: &Request<Buffered>,
    attempt: &Attempt,
    so_far: Option<&str>,
) -> impl Future<Output = Result<Response<B>, BoxError>> + use<S, B>
where
    S: Service<Request<Buffered>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    let mut request = request.clone();
    let requested = request.extensions().get::<Requested>().filter(|r| r.endpoint == Some(Endpoint::ChatCompletions));
    let prefill = so_far.zip(requested).and_then(|(text, asked)| Prefill::new(asked, request.body().bytes(), text));
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

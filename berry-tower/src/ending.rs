//! The end of a stream that could not be finished: an error event, time to flush it, and a body
//! error that breaks the connection.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use serde_json::json;
use tokio::time::{Sleep, sleep};

use crate::{
    error::BoxError,
    failed_response::SentEvents,
    progress::{Grammar, Progress},
    render::Refusal,
};

/// The time that a server has to write the event out before the connection breaks. A client that
/// reads slowly would otherwise lose the event and the bytes before it.
const FLUSH: Duration = Duration::from_millis(250);

/// The steps that end a stream.
///
/// The event and the error are returned by different polls, with a pause between them: hyper
/// discards an event that is followed by an error at once.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The error event is due.
    Event(Bytes, BoxError),
    /// The server has time to write the event out.
    Flush(BoxError, Pin<Box<Sleep>>),
    /// The body error is due.
    Break(BoxError),
    /// The body has ended.
    Over,
}

impl Ending {
    /// Ends the stream of `progress` with an error event in its grammar, if the grammar has one, and
    /// then with `error`. `sent` is what the client has of a Responses stream.
    pub(crate) fn with_error_event(
        progress: &Progress,
        refusal: &Refusal,
        error: BoxError,
        sent: Option<&SentEvents>,
    ) -> Self {
        progress.set_interrupted();
        match error_event(progress.grammar(), refusal, &error, progress.between_events(), sent) {
            Some(event) => Self::Event(event, error),
            None => Self::Break(error),
        }
    }

    /// Returns the next step and moves on to the one after it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match std::mem::replace(self, Self::Over) {
            Self::Event(event, error) => {
                *self = Self::Flush(error, Box::pin(sleep(FLUSH)));
                Poll::Ready(Some(Ok(Frame::data(event))))
            }
            Self::Flush(error, mut timer) => {
                if timer.as_mut().poll(cx).is_pending() {
                    *self = Self::Flush(error, timer);
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(error)))
            }
            Self::Break(error) => Poll::Ready(Some(Err(error))),
            Self::Over => Poll::Ready(None),
        }
    }
}

/// Returns the error event of a grammar, in its API's own shape; `None` for streams without one. An
/// event that has begun is ended first.
fn error_event(
    grammar: Grammar,
    refusal: &Refusal,
    error: &BoxError,
    between_events: bool,
    sent: Option<&SentEvents>,
) -> Option<Bytes> {
    let message = &refusal.message;
    let event = match grammar {
        Grammar::Chat | Grammar::Completions => {
            format!("data: {{\"error\":{}}}\n\n", refusal.openai_error())
        }
        Grammar::Responses => {
            let none = SentEvents::default();
            let failed = sent.unwrap_or(&none).failed(refusal, error);
            String::from_utf8_lossy(&failed).into_owned()
        }
        Grammar::Messages => {
            let kind = crate::render::AnthropicErrors::kind(refusal.status);
            let data = json!({ "type": "error", "error": { "type": kind, "message": message } });
            format!("event: error\ndata: {data}\n\n")
        }
        Grammar::Opaque => return None,
    };
    Some(Bytes::from(if between_events { event } else { format!("\n\n{event}") }))
}

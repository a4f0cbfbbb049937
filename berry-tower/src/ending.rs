//! How a stream ends that could not be finished: an error event, a flush, and a broken connection.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use serde_json::json;
use tokio::time::{Sleep, sleep};

use crate::{error::BoxError, render::Refusal, sse::Grammar};

/// How long a server may take to write the event out before the connection breaks under it: a
/// client that reads slowly would otherwise lose the event and what came before it.
const FLUSH: Duration = Duration::from_millis(250);

/// An unhappy end on its way out.
///
/// The event and the error go in different polls with a pause between them: a server that is given
/// both at once throws the event away.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The event is to be sent.
    Event(Bytes, BoxError),
    /// The server is to write out what it has, for which it gets a moment.
    Flush(BoxError, Pin<Box<Sleep>>),
    /// The connection is to be broken.
    Break(BoxError),
    /// It has been.
    Over,
}

impl Ending {
    /// Tells the client in the grammar of its stream, where that has a way to tell.
    pub(crate) fn told(grammar: Grammar, refusal: &Refusal, between_events: bool, error: BoxError) -> Self {
        match event(grammar, refusal, between_events) {
            Some(event) => Self::Event(event, error),
            None => Self::Break(error),
        }
    }

    /// The next step; after it this is one step further.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match std::mem::replace(self, Self::Over) {
            Self::Event(event, error) => {
                *self = Self::Flush(error, Box::pin(sleep(FLUSH)));
                Poll::Ready(Some(Ok(Frame::data(event))))
            }
            Self::Flush(error, mut moment) => {
                if moment.as_mut().poll(cx).is_pending() {
                    *self = Self::Flush(error, moment);
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(error)))
            }
            Self::Break(error) => Poll::Ready(Some(Err(error))),
            Self::Over => Poll::Ready(None),
        }
    }
}

/// The error event that a stream of this grammar ends with, in its API's own shape; `None` for
/// streams that have no such thing. In the middle of an event that one is ended first.
fn event(grammar: Grammar, refusal: &Refusal, between_events: bool) -> Option<Bytes> {
    let (code, message) = (&refusal.code, &refusal.message);
    let event = match grammar {
        Grammar::Chat | Grammar::Completions => {
            format!("data: {{\"error\":{}}}\n\n", refusal.openai_error())
        }
        Grammar::Responses => {
            let data = json!({ "type": "error", "code": code, "message": message, "param": refusal.param, "sequence_number": 0 });
            format!("event: error\ndata: {data}\n\n")
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

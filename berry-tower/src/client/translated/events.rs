//! A stream, each of whose events is translated.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use eventsource_stream::{Event, EventStream, EventStreamError, Eventsource};
use futures_core::Stream;
use http_body::{Body, Frame};
use pin_project::pin_project;

use super::{
    MAX_VALUES, Polled, UNCOUNTED,
    frames::{Frames, Received},
};
use crate::{
    body::ByteLease,
    dialect::ResponseTranslator,
    error::{BoxError, Failure},
    json::count_values,
    offload::{Offloaded, is_large, offload},
    progress::Usage,
};

/// The events that are translated before other tasks may run.
const BURST: u32 = 128;

/// An event that the scanner counts as malformed and leaves out.
const MALFORMED: Bytes = Bytes::from_static(b"data: malformed\n\n");

/// The events of a stream, each translated.
#[pin_project]
pub(in crate::client) struct Events<B> {
    #[pin]
    events: EventStream<Frames<B>>,
    received: Arc<Received>,
    /// The number of received frames that have been passed on.
    seen: usize,
    /// The polls since the task last let others run.
    polls: u32,
    /// `None` while it is used on another thread.
    translator: Option<ResponseTranslator>,
    /// The translation of a large event, on another thread.
    translating: Option<Offloaded<(ResponseTranslator, Bytes)>>,
    /// How the upstream ended, if that is still to be passed on.
    end: Option<Option<BoxError>>,
    over: bool,
}

impl<B> Events<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(body: B, translator: ResponseTranslator, lease: Option<ByteLease>) -> Self {
        let received = Arc::new(Received::default());
        let events = Frames::new(body, received.clone(), lease).eventsource();
        let (translator, translating) = (Some(translator), None);
        Self { events, received, seen: 0, polls: 0, translator, translating, end: None, over: false }
    }

    /// Returns the tokens that the upstream has reported so far.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.translator.as_ref()?.usage()
    }

    /// Whether the upstream has sent a byte.
    pub(super) fn has_read(&self) -> bool {
        self.received.frames.load(Relaxed) > 0
    }

    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.as_mut().project();
        if let Some(translating) = this.translating {
            let (translator, frame) = ready!(translating.as_mut().poll(cx));
            (*this.translator, *this.translating) = (Some(translator), None);
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        if let Some(end) = this.end.take() {
            *this.over = true;
            return Poll::Ready(end.map(Err));
        }
        if *this.over {
            return Poll::Ready(None);
        }
        // Frames without output are read on at once, and an upstream could send them for ever.
        *this.polls += 1;
        if *this.polls > BURST {
            *this.polls = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let error = match this.events.poll_next(cx) {
            Poll::Ready(Some(Ok(event))) => {
                this.received.pending.store(0, Relaxed);
                *this.seen = this.received.frames.load(Relaxed);
                let Some(mut translator) = this.translator.take() else { return Poll::Ready(None) };
                if is_large(event.data.len()) {
                    *this.translating = Some(offload(move || {
                        let frame = translated_event(&mut translator, &event);
                        (translator, frame)
                    }));
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
                }
                let frame = translated_event(&mut translator, &event);
                *this.translator = Some(translator);
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            Poll::Ready(Some(Err(error))) => Some(stream_error(error)),
            Poll::Ready(None) => None,
            Poll::Pending => {
                // A frame without a complete event shows that the upstream is alive.
                let received = this.received.frames.load(Relaxed);
                if std::mem::replace(this.seen, received) == received {
                    *this.polls = 0;
                    return Poll::Pending;
                }
                return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
            }
        };
        let final_frames = self.as_mut().finish(error.is_none());
        let this = self.project();
        if final_frames.is_empty() {
            *this.over = true;
            return Poll::Ready(error.map(Err));
        }
        *this.end = Some(error);
        Poll::Ready(Some(Ok(Frame::data(final_frames))))
    }

    /// Returns the end of the response, if it is complete.
    pub(super) fn finish(self: Pin<&mut Self>, is_clean: bool) -> Bytes {
        let mut out = Vec::new();
        if let Some(translator) = self.project().translator {
            translator.set_time(super::now());
            translator.translate_end(is_clean, &mut out);
        }
        out.into()
    }
}

fn translated_event(translator: &mut ResponseTranslator, event: &Event) -> Bytes {
    if event.data.len() > UNCOUNTED && count_values(event.data.as_bytes()) > MAX_VALUES {
        return MALFORMED;
    }
    let name = if event.event == "message" { "" } else { &*event.event };
    let mut out = Vec::new();
    translator.set_time(super::now());
    let read = translator.translate_event(name, &event.data, &mut out);
    if read.is_ok() { out.into() } else { MALFORMED }
}

fn stream_error(error: EventStreamError<BoxError>) -> BoxError {
    match error {
        EventStreamError::Transport(error) => error,
        EventStreamError::Utf8(_) => Failure::InvalidResponse("a stream that is no UTF-8").into(),
        EventStreamError::Parser(_) => Failure::InvalidResponse("something that is no event stream").into(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::FutureExt;
    use http_body_util::StreamBody;

    use super::*;
    use crate::dialect::{Conversation, Dialect, Target};

    fn events(frames: impl futures_core::Stream<Item = Bytes>) -> Events<impl Body<Data = Bytes, Error = BoxError>> {
        let frames = futures_util::StreamExt::map(frames, |bytes| Ok::<_, BoxError>(Frame::data(bytes)));
        let request = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
        let conversation = Conversation::new(crate::endpoint::Endpoint::ChatCompletions, request.into());
        let translator = conversation.translator(&Target::new(Dialect::Claude, "m"), 0).unwrap();
        Events::new(StreamBody::new(frames), translator, None)
    }

    #[test]
    fn an_endless_stream_without_output_lets_other_tasks_run() {
        let ping = Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
        let mut events = Box::pin(events(futures_util::stream::repeat(ping)));
        let read = async { while std::future::poll_fn(|cx| events.as_mut().poll(cx)).await.is_some() {} };
        assert!(read.now_or_never().is_none());
    }
}

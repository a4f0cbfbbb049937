//! A response body while it passes: scanned, under its deadlines, and failed where it is not complete.

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{
    account_ids::IdReader,
    burst::{self, Burst},
    decoded::Decoded,
    public_name::PublicName,
    reader::Reader,
    translated::Translated,
    upstream_error,
    watch::Watch,
};
use crate::{
    backend::Provider,
    error::{BoxError, Failure},
    progress::Progress,
};

/// How long the end of the body may take once the stream itself has ended.
const LINGER: Duration = Duration::from_secs(1);

/// Response body of [`BackendClient`](super::BackendClient). It passes the upstream's bytes on, and
/// fails with a [`Failure`] where the response is not complete.
#[pin_project]
#[derive(Debug)]
pub struct ClientBody<B> {
    #[pin]
    upstream: Option<Translated<Decoded<B>>>,
    reader: Reader,
    progress: Option<Progress>,
    /// What has been read and not passed on yet.
    ready: VecDeque<Bytes>,
    burst: Burst,
    end: Option<Result<(), Failure>>,
    watch: Watch,
    /// The provider, whose secrets are masked.
    provider: Option<Arc<Provider>>,
    /// Puts the public name of the model into the response.
    public_name: Option<Box<PublicName>>,
    /// Reads the ids that only the backend's account knows.
    ids: Option<Box<IdReader>>,
}

impl<B> ClientBody<B> {
    pub(super) fn new(
        upstream: Translated<Decoded<B>>,
        reader: Reader,
        progress: Progress,
        watch: Watch,
        provider: Arc<Provider>,
    ) -> Self {
        let (ready, progress, provider) = (VecDeque::new(), Some(progress), Some(provider));
        let (burst, end, public_name, ids) = (Burst::None, None, None, None);
        Self { upstream: Some(upstream), reader, progress, ready, burst, end, watch, provider, public_name, ids }
    }

    /// Reads the ids that only the backend's account knows.
    pub(super) fn with_ids(mut self, ids: Option<IdReader>) -> Self {
        self.ids = ids.map(Box::new);
        self
    }

    /// Puts the public name of the model into the response.
    pub(super) fn with_public_name(mut self, name: Option<PublicName>) -> Self {
        self.public_name = name.map(Box::new);
        self
    }
}

impl<B> From<Bytes> for ClientBody<B> {
    fn from(bytes: Bytes) -> Self {
        let ready = if bytes.is_empty() { VecDeque::new() } else { [bytes].into() };
        let watch = Watch::new(Duration::ZERO, None, None);
        let (reader, burst, end) = (Reader::Opaque, Burst::None, Some(Ok(())));
        let (progress, provider, public_name, ids) = (None, None, None, None);
        Self { upstream: None, reader, progress, ready, burst, end, watch, provider, public_name, ids }
    }
}

/// An empty body, as tower-http's `Cors` and `Timeout` need for their own responses.
impl<B> Default for ClientBody<B> {
    fn default() -> Self {
        Self::from(Bytes::new())
    }
}

impl<B> Body for ClientBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        loop {
            if (this.end.is_some() || this.burst.is_over(this.ready))
                && let Some(bytes) = next(this.ready, this.public_name.as_deref_mut(), this.end.is_some())
            {
                *this.burst = Burst::None;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match this.end {
                Some(Ok(())) => return Poll::Ready(None),
                Some(end) => return Poll::Ready(mem::replace(end, Ok(())).err().map(|e| Err(e.into()))),
                None => {}
            }
            let Some(mut upstream) = this.upstream.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            let (ready, progress) = (&mut *this.ready, &*this.progress);
            let seen = || progress.as_ref().is_some_and(Progress::output_seen);
            let step = match upstream.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let waited = this.watch.on_frame();
                    // The layer that ends a stream needs to know whether it ends between events.
                    let is_between = progress.as_ref().is_none_or(Progress::between_events);
                    if is_between && matches!(this.reader, Reader::Stream(_)) {
                        this.burst.on_frame(waited);
                    }
                    // These APIs define no trailers.
                    let bytes = frame.into_data().unwrap_or_default();
                    this.watch.any_byte_received |= !bytes.is_empty() || upstream.any_byte_received();
                    if let Some(ids) = this.ids.as_mut() {
                        ids.read(&bytes);
                    }
                    let read = this.reader.read(bytes, ready, progress);
                    if seen() {
                        this.watch.output_seen();
                    }
                    if this.reader.is_over() {
                        // The end of the body frees the connection, but is not worth a long wait.
                        this.watch.idle = LINGER;
                    }
                    match read {
                        Err(failure) => Some(Err(failure)),
                        // A server that knows the length of a body does not poll it after its last byte.
                        Ok(()) if upstream.is_end_stream() || upstream.size_hint().exact() == Some(0) => {
                            Some(this.reader.end(ready, progress, seen(), this.provider.as_deref()))
                        }
                        Ok(()) => None,
                    }
                }
                Poll::Ready(None) => Some(this.reader.end(ready, progress, seen(), this.provider.as_deref())),
                Poll::Ready(Some(Err(e))) => Some(this.reader.on_failure(Failure::from_transport(e), ready, progress)),
                Poll::Pending if this.burst.should_repoll() => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending if !ready.is_empty() => continue,
                Poll::Pending => match this.watch.poll(seen(), cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(deadline) => {
                        let final_frames = upstream.as_mut().final_frames();
                        let read = this.reader.read(final_frames, ready, progress);
                        let failed = |()| this.reader.on_failure(Failure::Timeout(deadline), ready, progress);
                        Some(read.and_then(failed))
                    }
                },
            };
            if let (Some(progress), usage @ Some(_)) = (progress, upstream.usage()) {
                progress.set_usage(usage);
            }
            if let Some(end) = step {
                if let (Ok(()), Some(progress)) = (&end, progress) {
                    progress.set_finished();
                }
                this.reader.warn(this.provider.as_deref());
                *this.end = Some(end.map_err(|failure| match this.provider {
                    Some(provider) => upstream_error::masked(failure, provider),
                    None => failure,
                }));
                // Closes the connection where the upstream has not ended the body.
                this.upstream.set(None);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_empty = self.ready.is_empty() && self.public_name.as_ref().is_none_or(|name| name.is_empty());
        is_empty && matches!(self.end, Some(Ok(())))
    }

    fn size_hint(&self) -> SizeHint {
        if self.public_name.is_some() {
            return SizeHint::default();
        }
        if matches!(self.end, Some(Ok(()))) {
            return SizeHint::with_exact(self.ready.iter().map(|b| b.len() as u64).sum());
        }
        match (&self.reader, &self.upstream) {
            (Reader::Plain(_) | Reader::Opaque, Some(upstream)) if self.ready.is_empty() => upstream.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

/// Returns the next bytes for the client.
fn next(ready: &mut VecDeque<Bytes>, name: Option<&mut PublicName>, is_over: bool) -> Option<Bytes> {
    match name {
        None => burst::next(ready),
        Some(name) => name.next(ready, is_over),
    }
}

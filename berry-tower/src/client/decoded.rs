//! A response body without its content coding.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{
    content_encoding::{Coding, Decoder},
    error::{BoxError, Failure},
};

/// A body as it came, or decoded. The gateway asks for `identity`; some providers, and proxies
/// before them, compress nevertheless.
#[pin_project(project = DecodedProj)]
pub(super) enum Decoded<B> {
    Identity(#[pin] B),
    Encoded(Pin<Box<Encoded<B>>>),
}

#[pin_project]
pub(super) struct Encoded<B> {
    #[pin]
    body: B,
    decoder: Decoder,
    is_over: bool,
}

impl<B> fmt::Debug for Decoded<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity(_) => "Identity",
            Self::Encoded(_) => "Encoded",
        })
    }
}

impl<B> Decoded<B> {
    /// Decodes a body by the coding that the headers name.
    ///
    /// # Errors
    ///
    /// The coding is not supported.
    pub(super) fn new(body: B, headers: &HeaderMap) -> Result<Self, Failure> {
        let unsupported = || Failure::InvalidResponse("a content encoding that was not asked for");
        let Some(coding) = Coding::read(headers).map_err(|_| unsupported())? else { return Ok(Self::Identity(body)) };
        let decoder = Decoder::new(coding).map_err(|_| unsupported())?;
        Ok(Self::Encoded(Box::pin(Encoded { body, decoder, is_over: false })))
    }

    /// Whether the body had a coding.
    pub(super) const fn is_encoded(&self) -> bool {
        matches!(self, Self::Encoded(_))
    }
}

impl<B> Body for Decoded<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project() {
            DecodedProj::Identity(body) => body.poll_frame(cx).map_err(Into::into),
            DecodedProj::Encoded(encoded) => encoded.as_mut().poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Identity(body) => body.is_end_stream(),
            Self::Encoded(encoded) => encoded.is_over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Identity(body) => body.size_hint(),
            Self::Encoded(_) => SizeHint::default(),
        }
    }
}

impl<B> Encoded<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if *this.is_over {
            return Poll::Ready(None);
        }
        let decoded = match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) => this.decoder.push(&frame.into_data().unwrap_or_default()),
            Some(Err(error)) => {
                *this.is_over = true;
                return Poll::Ready(Some(Err(error.into())));
            }
            None => {
                *this.is_over = true;
                match this.decoder.finish() {
                    Ok(rest) if rest.is_empty() => return Poll::Ready(None),
                    finished => finished,
                }
            }
        };
        // An empty frame shows that the upstream is alive.
        Poll::Ready(Some(decoded.map(|bytes| Frame::data(bytes.into())).map_err(|_| {
            *this.is_over = true;
            Failure::InvalidResponse("a body that is not of its content encoding").into()
        })))
    }
}

//! The body of a response that either a layer or the service behind it made.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

/// The body of a service's response, or the bytes of a layer that answered in its place.
///
/// A layer that may refuse a request by itself returns `Response<ResponseBody<B>>`, so that it
/// works over every body type `B`. Data, trailers and errors of the inner body pass unchanged; data
/// other than [`Bytes`] is converted, which copies nothing when it is a single chunk of `Bytes`.
///
/// ```
/// use berry_tower::body::ResponseBody;
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Full};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let inner = ResponseBody::new(Full::new(Bytes::from("from the service")));
/// assert_eq!(inner.collect().await.unwrap().to_bytes(), "from the service");
///
/// let own = ResponseBody::<Full<Bytes>>::from(Bytes::from("from the layer"));
/// assert_eq!(own.collect().await.unwrap().to_bytes(), "from the layer");
/// # }
/// ```
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B>(#[pin] Kind<B>);

#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B> {
    /// Bytes of a layer; empty once they have been read.
    Own(Bytes),
    Inner(#[pin] B),
}

impl<B> ResponseBody<B> {
    /// Wraps the body of the inner service.
    pub const fn new(inner: B) -> Self {
        Self(Kind::Inner(inner))
    }
}

impl<B> From<Bytes> for ResponseBody<B> {
    fn from(own: Bytes) -> Self {
        Self(Kind::Own(own))
    }
}

/// An empty body, as tower-http's `Cors` and `Timeout` need for their own responses.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self(Kind::Own(Bytes::new()))
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().0.project() {
            KindProj::Own(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            KindProj::Inner(body) => body.poll_frame(cx).map(|frame| {
                frame.map(|frame| frame.map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(bytes) => bytes.is_empty(),
            Kind::Inner(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Inner(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::HeaderMap;
    use http_body_util::{BodyExt, Full};

    use super::*;

    /// Data in two chunks, then trailers.
    struct Chained(u8);

    impl Body for Chained {
        type Data = bytes::buf::Chain<&'static [u8], Bytes>;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
            self.0 += 1;
            Poll::Ready(match self.0 {
                1 => Some(Ok(Frame::data((&b"one "[..]).chain(Bytes::from("two"))))),
                2 => Some(Ok(Frame::trailers(HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())])))),
                _ => None,
            })
        }
    }

    #[tokio::test]
    async fn passes_data_of_any_type_and_trailers() {
        let read = ResponseBody::new(Chained(0)).collect().await.unwrap();
        assert_eq!(read.trailers().unwrap()["etag"], "x");
        assert_eq!(read.to_bytes(), "one two");
    }

    #[tokio::test]
    async fn copies_no_bytes_of_a_single_chunk() {
        let bytes = Bytes::from(vec![7; 100]);
        let mut body = ResponseBody::new(Full::new(bytes.clone()));
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(data.as_ptr(), bytes.as_ptr());
    }

    #[tokio::test]
    async fn own_bytes_have_a_known_length_and_end() {
        let body = ResponseBody::<Chained>::from(Bytes::from("own"));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(3), false));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "own");
        assert!(ResponseBody::<Chained>::default().is_end_stream());
    }
}

//! `Drain`: the response arrives complete, however request and response are split into frames.

use std::convert::Infallible;

use berry_tower::drain::{DrainLayer, RequestBody};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use proptest::{collection::vec, prelude::*};
use tower::{Layer, ServiceExt, service_fn};

type Chunks = Vec<Vec<u8>>;

fn chunked(chunks: &Chunks) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static {
    let frames: Vec<_> = chunks.iter().map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk)))).collect();
    StreamBody::new(stream::iter(frames))
}

proptest! {
    #[test]
    fn response_arrives_complete(
        request in vec(vec(any::<u8>(), 0..50), 0..6),
        response in vec(vec(any::<u8>(), 0..50), 0..6),
        read in 0..7_usize,
        whole in any::<bool>(),
        bound in 0..200_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let expected = response.concat();
        let service = service_fn(move |request: Request<RequestBody<_>>| {
            let response = response.clone();
            async move {
                let mut body = request.into_body();
                for _ in 0..read {
                    let _: Option<Result<_, Infallible>> = body.frame().await;
                }
                drop(body);
                let body = if whole {
                    Full::new(Bytes::from(response.concat())).boxed_unsync()
                } else {
                    chunked(&response).boxed_unsync()
                };
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        let service = DrainLayer::new().max_bytes(bound).layer(service);
        let got = runtime.block_on(async {
            let received = service.oneshot(Request::new(chunked(&request))).await.unwrap();
            received.into_body().collect().await.unwrap().to_bytes()
        });
        prop_assert_eq!(got, expected);
    }
}

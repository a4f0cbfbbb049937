//! `Drain`: the answer arrives whole, however request and answer are cut into pieces.

use std::convert::Infallible;

use berry_tower::drain::{DrainLayer, RequestBody};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use proptest::{collection::vec, prelude::*};
use tower::{Layer, ServiceExt, service_fn};

type Pieces = Vec<Vec<u8>>;

fn in_pieces(pieces: &Pieces) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static {
    let frames: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    StreamBody::new(stream::iter(frames))
}

proptest! {
    #[test]
    fn the_answer_arrives_whole(
        request in vec(vec(any::<u8>(), 0..50), 0..6),
        answer in vec(vec(any::<u8>(), 0..50), 0..6),
        read in 0..7_usize,
        whole in any::<bool>(),
        bound in 0..200_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let expected = answer.concat();
        let service = service_fn(move |request: Request<RequestBody<_>>| {
            let answer = answer.clone();
            async move {
                let mut body = request.into_body();
                for _ in 0..read {
                    let _: Option<Result<_, Infallible>> = body.frame().await;
                }
                drop(body);
                let body = if whole {
                    Full::new(Bytes::from(answer.concat())).boxed_unsync()
                } else {
                    in_pieces(&answer).boxed_unsync()
                };
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        let service = DrainLayer::new().max_bytes(bound).layer(service);
        let got = runtime.block_on(async {
            let response = service.oneshot(Request::new(in_pieces(&request))).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        });
        prop_assert_eq!(got, expected);
    }
}

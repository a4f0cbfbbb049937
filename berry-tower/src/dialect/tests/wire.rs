//! Streams as bytes, cut anywhere and read by a real parser.

use crate::dialect::codec::{DecodeResponse, StreamItem};
use bytes::Bytes;
use eventsource_stream::Eventsource;
use futures_util::{FutureExt, StreamExt, stream};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::convert::Infallible;

/// Where a stream is cut: byte by byte, or at some places.
#[derive(Clone, Debug)]
pub(crate) enum Cuts {
    Everywhere,
    At(Vec<Index>),
}

pub(crate) fn cuts() -> impl Strategy<Value = Cuts> {
    prop_oneof![1 => Just(Cuts::Everywhere), 4 => vec(any::<Index>(), 0..12).prop_map(Cuts::At)]
}

impl Cuts {
    fn pieces(&self, bytes: &[u8]) -> Vec<Bytes> {
        let mut at: Vec<usize> = match self {
            Self::Everywhere => (1..bytes.len()).collect(),
            Self::At(places) => places.iter().map(|place| place.index(bytes.len() + 1)).collect(),
        };
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|pair| Bytes::copy_from_slice(&bytes[pair[0]..pair[1]])).collect()
    }
}

/// What the reader makes of a stream's bytes: the items, and how many events were malformed.
pub(crate) fn read(reader: &mut dyn DecodeResponse, bytes: &[u8], cuts: &Cuts) -> (Vec<StreamItem>, usize) {
    let pieces = stream::iter(cuts.pieces(bytes)).map(Ok::<_, Infallible>);
    let (mut items, mut malformed) = (Vec::new(), 0);
    let events: Vec<_> = pieces.eventsource().collect().now_or_never().expect("nothing to wait for");
    // A stream that is cut inside a character is no more than cut there.
    for event in events.into_iter().map_while(Result::ok) {
        malformed += usize::from(reader.decode_event(&event.event, &event.data, &mut items).is_err());
    }
    reader.decode_end(crate::dialect::codec::StreamEnd::Clean, &mut items);
    (items, malformed)
}

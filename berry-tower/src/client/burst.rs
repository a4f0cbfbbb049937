//! Joins the events of a burst, so that a server writes them out together.
//!
//! A connection delivers its body frame by frame, and reads on when a frame has been taken. Passed
//! on one by one, the frames of a burst would cost a write each. So when a frame comes at once, the
//! body yields to the connection and polls it again in the same turn of the runtime, as long as
//! there is more; it never waits for a frame that is not there yet.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};

/// A frame that comes within this time begins a burst.
const AT_ONCE: Duration = Duration::from_micros(100);
/// The most bytes that are joined into one frame.
const MAX_JOINED: usize = 16 * 1024;

/// The position of a body in a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Burst {
    /// No burst: what has been read is passed on.
    #[default]
    None,
    /// More may follow the latest frame.
    Growing,
    /// The connection has had its turn, and is to be polled again.
    Yielded,
}

impl Burst {
    /// Notes a frame that came after `waited`.
    pub(super) fn on_frame(&mut self, waited: Duration) {
        if *self != Self::None || waited < AT_ONCE {
            *self = Self::Growing;
        }
    }

    /// Whether to yield to the connection and poll it again, when it had no frame.
    pub(super) fn should_repoll(&mut self) -> bool {
        let again = *self == Self::Growing;
        *self = if again { Self::Yielded } else { Self::None };
        again
    }

    /// Whether what is `ready` is to be passed on now.
    pub(super) fn is_over(self, ready: &VecDeque<Bytes>) -> bool {
        self == Self::None || ready.iter().map(Bytes::len).sum::<usize>() >= MAX_JOINED
    }
}

/// Returns the next frame to pass on: the first piece, joined with those that fit into one frame.
pub(super) fn next(ready: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = ready.pop_front()?;
    let mut length = first.len();
    let fits = |piece: &&Bytes| {
        length += piece.len();
        length <= MAX_JOINED
    };
    let more = ready.iter().take_while(fits).count();
    if more == 0 {
        return Some(first);
    }
    let mut joined = BytesMut::with_capacity(MAX_JOINED.min(first.len() + ready.iter().map(Bytes::len).sum::<usize>()));
    joined.extend_from_slice(&first);
    ready.drain(..more).for_each(|piece| joined.extend_from_slice(&piece));
    Some(joined.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(lengths: &[usize]) -> VecDeque<Bytes> {
        lengths.iter().map(|n| Bytes::from(vec![b'x'; *n])).collect()
    }

    #[test]
    fn joins_pieces_up_to_the_limit() {
        let lengths = |mut ready| std::iter::from_fn(|| next(&mut ready).map(|b| b.len())).collect::<Vec<_>>();
        assert_eq!(lengths(pieces(&[1, 2, 3])), [6]);
        assert_eq!(lengths(pieces(&[MAX_JOINED, 1, 2])), [MAX_JOINED, 3]);
        assert_eq!(lengths(pieces(&[3 * MAX_JOINED])), [3 * MAX_JOINED]);
        assert_eq!(lengths(pieces(&[MAX_JOINED - 1, 1, 1])), [MAX_JOINED, 1]);
        assert!(lengths(pieces(&[])).is_empty());
    }

    #[test]
    fn a_burst_ends_with_the_first_turn_without_a_frame() {
        let mut burst = Burst::default();
        burst.on_frame(AT_ONCE);
        assert!(burst.is_over(&pieces(&[1])), "a frame that was waited for is passed on at once");
        burst.on_frame(Duration::ZERO);
        assert!(!burst.is_over(&pieces(&[1])));
        assert!(burst.should_repoll());
        burst.on_frame(AT_ONCE * 2);
        assert!(!burst.is_over(&pieces(&[1, 1])));
        assert!(burst.is_over(&pieces(&[MAX_JOINED])), "the limit ends a burst");
        assert!(burst.should_repoll());
        assert!(!burst.should_repoll());
        assert!(burst.is_over(&pieces(&[1])));
    }
}

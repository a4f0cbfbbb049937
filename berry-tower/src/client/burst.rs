//! Joins the events of a burst, so that a server writes them out at once.
//!
//! A connection hands its body on frame by frame, and reads on when a frame has been taken. Passed
//! on as they come, the frames of a burst cost a write each. So when the upstream answers at once,
//! the body lets the connection go on and asks again in the same turn of the runtime, for as long
//! as there is more; it never waits for what is not there yet.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};

/// The upstream has a burst to give when it answers within this time.
const AT_ONCE: Duration = Duration::from_micros(100);
/// So much is joined into one frame.
const MOST: usize = 16 * 1024;

/// Where a body is in a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Burst {
    /// Nowhere: what is there goes out.
    #[default]
    None,
    /// There may be more to what has just come.
    Growing,
    /// The connection has had its turn.
    Asked,
}

impl Burst {
    /// A frame has come, after `waited`.
    pub(super) fn came(&mut self, waited: Duration) {
        if *self != Self::None || waited < AT_ONCE {
            *self = Self::Growing;
        }
    }

    /// Nothing has come. Whether to let the connection have a turn, and then to ask again.
    pub(super) fn asks_again(&mut self) -> bool {
        let again = *self == Self::Growing;
        *self = if again { Self::Asked } else { Self::None };
        again
    }

    /// Whether what is `ready` is to go out now.
    pub(super) fn is_over(self, ready: &VecDeque<Bytes>) -> bool {
        self == Self::None || ready.iter().map(Bytes::len).sum::<usize>() >= MOST
    }
}

/// The next frame to hand on: the first piece, with those behind it that go into one frame.
pub(super) fn next(ready: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = ready.pop_front()?;
    let mut length = first.len();
    let fits = |piece: &&Bytes| {
        length += piece.len();
        length <= MOST
    };
    let more = ready.iter().take_while(fits).count();
    if more == 0 {
        return Some(first);
    }
    let mut joined = BytesMut::with_capacity(MOST.min(first.len() + ready.iter().map(Bytes::len).sum::<usize>()));
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
    fn neighbours_are_joined_up_to_the_bound() {
        let lengths = |mut ready| std::iter::from_fn(|| next(&mut ready).map(|b| b.len())).collect::<Vec<_>>();
        assert_eq!(lengths(pieces(&[1, 2, 3])), [6]);
        assert_eq!(lengths(pieces(&[MOST, 1, 2])), [MOST, 3]);
        assert_eq!(lengths(pieces(&[3 * MOST])), [3 * MOST]);
        assert_eq!(lengths(pieces(&[MOST - 1, 1, 1])), [MOST, 1]);
        assert!(lengths(pieces(&[])).is_empty());
    }

    #[test]
    fn a_burst_ends_with_the_first_turn_that_brings_nothing() {
        let mut burst = Burst::default();
        burst.came(AT_ONCE);
        assert!(burst.is_over(&pieces(&[1])), "what was waited for goes out at once");
        burst.came(Duration::ZERO);
        assert!(!burst.is_over(&pieces(&[1])));
        assert!(burst.asks_again());
        burst.came(AT_ONCE * 2);
        assert!(!burst.is_over(&pieces(&[1, 1])));
        assert!(burst.is_over(&pieces(&[MOST])), "enough is enough");
        assert!(burst.asks_again());
        assert!(!burst.asks_again());
        assert!(burst.is_over(&pieces(&[1])));
    }
}

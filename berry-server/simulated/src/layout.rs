//! Applies faults to a valid response.

use super::body::{Close, Plan};
use super::fault::{AFTER_FINISH, Behavior, Fault};
use super::model_request::Kind;
use super::piece::{Piece, Role};
use super::refusal::Refusal;
use super::valid_response::ValidResponse;
use super::wire::Wire;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// The delays of a response without faults.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) first: Duration,
    pub(super) each: Duration,
}

/// Plans the delivery of a response with the given behaviour.
pub(super) fn lay_out(good: &ValidResponse, behavior: &Behavior, pace: Pace, wire: &dyn Wire, kind: Kind) -> Plan {
    if good.is_stream { stream(good, behavior, pace, wire, kind) } else { plain(good, behavior, wire) }
}

/// Plans a plain response. Its regular delay comes before the head, so only faults add delays here.
fn plain(good: &ValidResponse, behavior: &Behavior, wire: &dyn Wire) -> Plan {
    let whole: Bytes = good.pieces.iter().flat_map(|p| p.data.clone()).collect();
    let whole = match good.pieces.as_ref() {
        [piece] => piece.data.clone(),
        _ => whole,
    };
    let half = || whole.slice(..whole.len() / 2);
    let cut = |close| Plan { length: Some(whole.len() as u64), close, ..Plan::plain(half()) };
    let broken = behavior.find(|fault| match fault {
        Fault::CutAfter(_) | Fault::Short => Some(cut(Close::Cut)),
        Fault::ResetAfter(_) => Some(cut(Close::Reset)),
        Fault::StallAfter(_) => Some(cut(Close::Stall)),
        Fault::Chopped => Some(Plan { length: None, ..cut(Close::Cut) }),
        Fault::Malformed(_) => Some(Plan::plain(half())),
        Fault::ErrorFirst | Fault::ErrorAfter(_) => Some(Plan::plain(wire.refusal(&Refusal::broken()).1)),
        _ => None,
    });
    let mut plan = broken.unwrap_or_else(|| Plan::plain(whole.clone()));
    if let Some(wait) = late(behavior) {
        plan.first = wait;
    }
    split_pieces(&mut plan, behavior);
    plan
}

fn stream(good: &ValidResponse, behavior: &Behavior, pace: Pace, wire: &dyn Wire, kind: Kind) -> Plan {
    let mut pieces = Arc::clone(&good.pieces);
    if changes_events(behavior) {
        pieces = changed(&good.pieces, behavior, wire, kind).into();
    }
    let tokens = pieces.iter().filter(|p| p.role == Role::Token).count();
    let (send, close) = behavior
        .find(|fault| match fault {
            Fault::CutAfter(k) => Some((index_after(&pieces, *k), Close::Cut)),
            Fault::ResetAfter(k) => Some((index_after(&pieces, *k), Close::Reset)),
            Fault::StallAfter(k) => Some((index_after(&pieces, *k), Close::Stall)),
            Fault::Short | Fault::Chopped => Some((index_after(&pieces, tokens / 2), Close::Cut)),
            _ => None,
        })
        .unwrap_or((pieces.len(), Close::Well));
    let total = || pieces.iter().map(|p| p.data.len() as u64).sum();
    let mut plan = Plan {
        length: behavior.has(&Fault::Short).then(total),
        pieces,
        send,
        close,
        first: late(behavior).unwrap_or(pace.first),
        each: behavior.per_token.unwrap_or(pace.each),
        apart: false,
    };
    split_pieces(&mut plan, behavior);
    plan
}

fn late(behavior: &Behavior) -> Option<Duration> {
    behavior.find(|fault| match fault {
        Fault::LateFirstToken(wait) => Some(*wait),
        _ => None,
    })
}

fn changes_events(behavior: &Behavior) -> bool {
    behavior.faults.iter().any(|fault| {
        matches!(
            fault,
            Fault::Malformed(_)
                | Fault::Unknown(_)
                | Fault::Pings
                | Fault::NoDone
                | Fault::NoFinish
                | Fault::ErrorFirst
                | Fault::ErrorAfter(_)
                | Fault::Crlf
        )
    })
}

/// Applies the faults to the events, in one pass per fault.
fn changed(good: &[Piece], behavior: &Behavior, wire: &dyn Wire, kind: Kind) -> Vec<Piece> {
    let mut pieces = good.to_vec();
    for fault in &behavior.faults {
        match fault {
            Fault::Malformed(k) => {
                let at = index_after(&pieces, *k);
                pieces.insert(at, Piece::new(Role::Preamble, wire.malformed_event(kind)));
            }
            Fault::Unknown(k) => {
                let at = index_after(&pieces, *k);
                pieces.insert(at, Piece::new(Role::Preamble, wire.unknown_event(kind)));
            }
            Fault::Pings => {
                let ping = Piece::new(Role::Preamble, wire.ping());
                let before = |piece: &Piece| (piece.role == Role::Token).then(|| ping.clone());
                pieces = pieces.into_iter().flat_map(|piece| before(&piece).into_iter().chain([piece])).collect();
            }
            Fault::NoDone => pieces.retain(|p| p.role != Role::Done),
            Fault::NoFinish => pieces.retain(|p| p.role != Role::Finish),
            Fault::ErrorFirst => fail_at(&mut pieces, 0, wire, kind),
            Fault::ErrorAfter(k) => {
                let at = index_after(&pieces, *k);
                fail_at(&mut pieces, at, wire, kind);
            }
            _ => {}
        }
    }
    if behavior.has(&Fault::Crlf) {
        for piece in &mut pieces {
            piece.data = crlf(&piece.data);
        }
    }
    pieces
}

/// Replaces the events from `at` on by an error event, except for the end of the stream.
fn fail_at(pieces: &mut Vec<Piece>, at: usize, wire: &dyn Wire, kind: Kind) {
    let error = Piece::new(Role::Preamble, wire.error_event(kind, &Refusal::broken()));
    let rest = pieces.split_off(at);
    pieces.push(error);
    pieces.extend(rest.into_iter().filter(|p| p.role == Role::Done));
}

/// Returns the index after `tokens` tokens: that of the next token, or of the finish.
fn index_after(pieces: &[Piece], tokens: usize) -> usize {
    if tokens == AFTER_FINISH {
        let last = pieces.iter().rposition(|p| p.role == Role::Finish);
        return last.map_or(pieces.len(), |at| at + 1);
    }
    let mut left = tokens;
    let stop = pieces.iter().position(|piece| match piece.role {
        Role::Token if left == 0 => true,
        Role::Token => {
            left -= 1;
            false
        }
        Role::Preamble => false,
        Role::Finish | Role::Usage | Role::Done => true,
    });
    stop.unwrap_or(pieces.len())
}

fn crlf(data: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + 8);
    for &byte in data {
        if byte == b'\n' {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out.into()
}

/// Splits the pieces into fragments, for [`Fault::Split`] and [`Fault::Drip`].
fn split_pieces(plan: &mut Plan, behavior: &Behavior) {
    let bits = behavior.find(|fault| match fault {
        Fault::Split(size) => Some(((*size).max(1), None)),
        Fault::Drip(wait) => Some((1, Some(*wait))),
        _ => None,
    });
    let Some((size, wait)) = bits else { return };
    let sent = &plan.pieces[..plan.send];
    let bits = match wait {
        // Every byte has its own delay.
        Some(wait) => {
            (plan.first, plan.each) = (wait, wait);
            let bytes = sent.iter().flat_map(|p| p.data.iter());
            bytes.map(|&byte| Piece::new(Role::Token, vec![byte])).collect()
        }
        // Delays between tokens are kept, so a fragment may join events only without delays.
        None if (plan.first + plan.each).is_zero() => {
            let whole: Vec<u8> = sent.iter().flat_map(|p| p.data.clone()).collect();
            fragments(&Piece::new(Role::Token, whole), size)
        }
        None => sent.iter().flat_map(|piece| fragments(piece, size)).collect::<Vec<_>>(),
    };
    plan.send = bits.len();
    plan.pieces = bits.into();
    plan.apart = true;
}

/// Splits a piece into fragments of `size` bytes. The first one keeps the role and its delay.
fn fragments(piece: &Piece, size: usize) -> Vec<Piece> {
    let starts = (0..piece.data.len()).step_by(size);
    let bit = |start: usize| {
        let end = piece.data.len().min(start + size);
        let role = if start == 0 { piece.role } else { Role::Preamble };
        Piece::new(role, piece.data.slice(start..end))
    };
    starts.map(bit).collect()
}

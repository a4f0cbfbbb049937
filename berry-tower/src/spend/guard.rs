//! The guards that settle a reservation, however its request ends.

use super::{SpendExceeded, SpendOutcome, bill::RequestEnd, reservation::Reservation};
use crate::{
    body::{End, Guard},
    progress::Progress,
};

/// Settles a reservation when the body of the response has ended.
#[derive(Debug)]
pub struct SpendGuard(pub(super) Option<(Reservation, RequestEnd)>);

impl Guard for SpendGuard {
    fn ended(&mut self, end: End<'_>) {
        let Some((reservation, mut request_end)) = self.0.take() else { return };
        let progress = request_end.progress.as_ref();
        let is_interrupted = progress.is_some_and(Progress::is_interrupted);
        request_end.outcome = match end {
            _ if !request_end.is_delivered() => SpendOutcome::Failed,
            End::Complete if is_interrupted => SpendOutcome::Interrupted,
            End::Complete => SpendOutcome::Complete,
            End::Failed(_) => SpendOutcome::Interrupted,
            End::Dropped if progress.is_some_and(Progress::finished) => SpendOutcome::Complete,
            End::Dropped => SpendOutcome::Cancelled,
        };
        request_end.attempts = progress.and_then(Progress::attempts).max(request_end.attempts);
        reservation.finish(&request_end);
    }
}

/// Settles a reservation whose request ends without a response.
#[derive(Debug)]
pub(super) struct Pending(pub(super) Option<Reservation>);

impl Pending {
    pub(super) fn disarm(&mut self) {
        self.0 = None;
    }

    pub(super) fn fail(&mut self, error: &(dyn std::error::Error + 'static)) {
        let Some(reservation) = self.0.take() else { return };
        let is_refused = crate::error::find::<SpendExceeded>(error).is_some();
        let outcome = if is_refused { SpendOutcome::Refused } else { SpendOutcome::Failed };
        reservation.finish(&RequestEnd::without_response(outcome));
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(reservation) = self.0.take() {
            reservation.finish(&RequestEnd::without_response(SpendOutcome::Cancelled));
        }
    }
}

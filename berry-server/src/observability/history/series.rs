//! The finished requests of the last quarter of an hour, in slots of a few seconds.

use std::time::Duration;

use tokio::time::Instant;

use crate::observability::outcome::RequestOutcome;

use super::{
    epoch_counter::EpochCounter,
    histogram::{Histogram, MergedHistogram},
};

/// The length of a slot.
pub(crate) const STEP: Duration = Duration::from_secs(5);
/// The number of whole slots: a quarter of an hour.
pub(crate) const SLOTS: usize = 180;
/// The whole slots and the one that is being filled.
const KEPT: usize = SLOTS + 1;
/// The number of whole slots in the latest numbers, beside the one that is being filled.
const LATEST: u32 = 12;

/// A finished request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FinishedRequest {
    pub(crate) outcome: RequestOutcome,
    /// The time from the request's head to the end of the response.
    pub(crate) latency: Duration,
    /// The number of tokens in the response.
    pub(crate) output_tokens: u64,
    /// The time from the first token to the end of the response.
    pub(crate) output_time: Duration,
}

/// The slots in a ring. Writers take no lock and allocate nothing.
#[derive(Debug)]
pub(crate) struct Series {
    epoch: Instant,
    slots: Box<[Slot]>,
}

#[derive(Debug, Default)]
struct Slot {
    requests: EpochCounter,
    failed: EpochCounter,
    refused: EpochCounter,
    tokens: EpochCounter,
    latency: Histogram,
}

/// The sums of one or several slots.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Point {
    /// Requests that ended.
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    /// Output tokens.
    pub(crate) tokens: u64,
    /// The median latency of complete requests, in milliseconds.
    pub(crate) p50: Option<f64>,
    /// The 95th percentile of that latency.
    pub(crate) p95: Option<f64>,
}

impl Series {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self { epoch, slots: (0..KEPT).map(|_| Slot::default()).collect() }
    }

    pub(crate) fn record(&self, finished: FinishedRequest, now: Instant) {
        let tick = self.tick(now);
        let slot = self.slot(tick);
        slot.requests.add(tick, 1);
        match finished.outcome {
            RequestOutcome::Complete => slot.latency.add(tick, finished.latency),
            RequestOutcome::Failed | RequestOutcome::Interrupted => slot.failed.add(tick, 1),
            RequestOutcome::Refused => slot.refused.add(tick, 1),
            RequestOutcome::Cancelled => {}
        }
        if finished.output_tokens > 0 {
            let since = now.checked_sub(finished.output_time).unwrap_or(self.epoch);
            self.spread(finished.output_tokens, since, tick);
        }
    }

    /// Spreads the tokens over the slots in which they came.
    fn spread(&self, tokens: u64, since: Instant, last: u32) {
        let first = self.tick(since).max(last.saturating_sub(SLOTS as u32));
        let slots = u64::from(last - first) + 1;
        // A provider may report any number.
        let tokens = tokens.min(u64::from(u32::MAX));
        for (i, tick) in (first..=last).enumerate() {
            let until = |i: u64| tokens * i / slots;
            let share = until(i as u64 + 1) - until(i as u64);
            self.slot(tick).tokens.add(tick, u32::try_from(share).unwrap_or(u32::MAX));
        }
    }

    /// Returns the whole slots, the oldest first, and how long ago the last of them ended.
    pub(crate) fn points(&self, now: Instant) -> (Vec<Point>, Duration) {
        let tick = self.tick(now);
        let ended = now.saturating_duration_since(self.epoch + STEP * (tick - FIRST));
        let first = tick.saturating_sub(SLOTS as u32);
        ((first..tick).map(|tick| self.sum(tick..=tick)).collect(), ended)
    }

    /// Returns the sums of the last minute and a little more, and the length of that period.
    pub(crate) fn latest(&self, now: Instant) -> (Point, Duration) {
        let tick = self.tick(now);
        let first = tick.saturating_sub(LATEST).max(FIRST);
        let since = self.epoch + STEP * (first - FIRST);
        (self.sum(first..=tick), now.saturating_duration_since(since))
    }

    fn sum(&self, ticks: impl Iterator<Item = u32>) -> Point {
        let (mut point, mut latency) = (Point::default(), MergedHistogram::default());
        for tick in ticks {
            let slot = self.slot(tick);
            point.requests += u64::from(slot.requests.get(tick));
            point.failed += u64::from(slot.failed.get(tick));
            point.refused += u64::from(slot.refused.get(tick));
            point.tokens += u64::from(slot.tokens.get(tick));
            latency.merge(&slot.latency, tick);
        }
        Point { p50: latency.quantile(0.5), p95: latency.quantile(0.95), ..point }
    }

    fn tick(&self, at: Instant) -> u32 {
        let passed = at.saturating_duration_since(self.epoch).as_secs() / STEP.as_secs();
        u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(FIRST)
    }

    fn slot(&self, tick: u32) -> &Slot {
        &self.slots[tick as usize % KEPT]
    }
}

/// The first tick. It leaves room for an empty past at the start.
const FIRST: u32 = SLOTS as u32;

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(outcome: RequestOutcome, millis: u64) -> FinishedRequest {
        let latency = Duration::from_millis(millis);
        FinishedRequest { outcome, latency, output_tokens: 0, output_time: Duration::ZERO }
    }

    fn after(seconds: u64, series: &Series) -> Instant {
        series.epoch + Duration::from_secs(seconds)
    }

    #[test]
    fn shows_whole_slots_of_the_last_quarter_of_an_hour() {
        let series = Series::new(Instant::now());
        series.record(finished(RequestOutcome::Complete, 100), after(1, &series));
        series.record(finished(RequestOutcome::Failed, 1), after(4, &series));
        series.record(finished(RequestOutcome::Refused, 1), after(4, &series));
        series.record(finished(RequestOutcome::Cancelled, 1), after(4, &series));
        let requests = |seconds| -> Vec<u64> {
            let (points, _) = series.points(after(seconds, &series));
            assert_eq!(points.len(), SLOTS);
            points.iter().map(|point| point.requests).collect()
        };
        assert!(requests(4).iter().all(|&n| n == 0));
        assert_eq!(requests(5)[SLOTS - 1], 4);
        assert_eq!(requests(12)[SLOTS - 2], 4);
        assert_eq!(requests(904)[0], 4);
        assert!(requests(905).iter().all(|&n| n == 0));

        let (points, ended) = series.points(after(7, &series));
        assert_eq!(ended, Duration::from_secs(2));
        let point = points[SLOTS - 1];
        assert_eq!((point.failed, point.refused), (1, 1));
        assert!((96.0..=112.0).contains(&point.p50.unwrap()), "{point:?}");
    }

    #[test]
    fn reuses_slots_after_a_round() {
        let series = Series::new(Instant::now());
        for turn in 0..3 {
            for slot in 0..KEPT as u64 {
                let now = after((turn * KEPT as u64 + slot) * 5, &series);
                series.record(finished(RequestOutcome::Complete, 10), now);
                assert_eq!(series.latest(now).0.requests, (turn * KEPT as u64 + slot + 1).min(13));
            }
        }
        let (points, _) = series.points(after(3 * KEPT as u64 * 5, &series));
        assert!(points.iter().all(|point| point.requests == 1));
        // Days later the slots are empty.
        let (points, _) = series.points(after(900_000, &series));
        assert!(points.iter().all(|point| *point == Point::default()));
    }

    #[test]
    fn spreads_tokens_over_time() {
        let series = Series::new(Instant::now());
        let (output_tokens, output_time) = (100, Duration::from_secs(19));
        series.record(
            FinishedRequest { output_tokens, output_time, ..finished(RequestOutcome::Complete, 20_000) },
            after(29, &series),
        );
        let tokens = |seconds| -> Vec<u64> {
            let (points, _) = series.points(after(seconds, &series));
            points.iter().map(|point| point.tokens).collect()
        };
        assert_eq!(tokens(30)[SLOTS - 5..], [0, 25, 25, 25, 25]);
        assert_eq!(series.latest(after(29, &series)).0.tokens, 100);
        // A response of hours counts in the slots that are left.
        let (output_tokens, output_time) = (1_000_000, Duration::from_secs(36_000));
        series.record(
            FinishedRequest { output_tokens, output_time, ..finished(RequestOutcome::Complete, 1) },
            after(40_000, &series),
        );
        assert_eq!(tokens(40_005).iter().sum::<u64>(), 1_000_000 - 1_000_000 / 181);
    }

    #[test]
    fn caps_an_absurd_number_of_tokens() {
        let series = Series::new(Instant::now());
        let (output_tokens, output_time) = (u64::MAX, Duration::from_secs(19));
        series.record(
            FinishedRequest { output_tokens, output_time, ..finished(RequestOutcome::Complete, 20_000) },
            after(29, &series),
        );
        assert_eq!(series.latest(after(29, &series)).0.tokens, u64::from(u32::MAX));
    }

    #[test]
    fn counts_the_requests_of_several_threads() {
        let series = Series::new(Instant::now());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let series = &series;
                scope.spawn(move || {
                    for n in 0..1000 {
                        series.record(finished(RequestOutcome::Complete, thread * 50 + 1), after(n / 250, series));
                    }
                });
            }
        });
        let (point, during) = series.latest(after(8, &series));
        assert_eq!((point.requests, during), (4000, Duration::from_secs(8)));
    }
}

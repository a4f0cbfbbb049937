//! Histograms with fixed buckets. An observation costs two additions; nothing is kept for later.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The most buckets of a histogram, the one without an upper bound included.
const MAX_BUCKETS: usize = 16;

/// The number of millionths in one: observations and sums are whole numbers of millionths.
const MILLION: f64 = 1e6;

/// The upper bounds of a histogram's buckets, in millionths and ascending.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bounds([u64; MAX_BUCKETS - 1]);

impl Bounds {
    /// Durations of requests and attempts: 5 ms to 120 s.
    pub(super) const SECONDS: Self = Self([
        5_000,
        10_000,
        25_000,
        50_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        20_000_000,
        30_000_000,
        60_000_000,
        120_000_000,
    ]);
    /// The gateway's own time: 50 µs to 5 s.
    pub(super) const OVERHEAD: Self = Self::padded([
        50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000,
    ]);
    /// The time of one token: 1 ms to 2.5 s.
    pub(super) const PER_TOKEN: Self = Self::padded([
        1_000, 2_500, 5_000, 7_500, 10_000, 15_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000,
    ]);
    /// The tokens of one request: 1 to 67 million.
    pub(super) const TOKENS: Self = Self::padded([
        1_000_000,
        4_000_000,
        16_000_000,
        64_000_000,
        256_000_000,
        1_024_000_000,
        4_096_000_000,
        16_384_000_000,
        65_536_000_000,
        262_144_000_000,
        1_048_576_000_000,
        4_194_304_000_000,
        16_777_216_000_000,
        67_108_864_000_000,
    ]);
    /// Fills up with a bound that stands for none.
    const fn padded<const N: usize>(bounds: [u64; N]) -> Self {
        let mut all = [u64::MAX; MAX_BUCKETS - 1];
        let mut i = 0;
        while i < N {
            all[i] = bounds[i];
            i += 1;
        }
        Self(all)
    }

    /// The upper bounds without padding.
    pub(crate) fn upper(&self) -> impl Iterator<Item = f64> {
        self.0.iter().take_while(|bound| **bound != u64::MAX).map(|bound| *bound as f64 / MILLION)
    }

    /// The number of buckets, the one without an upper bound included.
    fn buckets(&self) -> usize {
        self.0.iter().take_while(|bound| **bound != u64::MAX).count() + 1
    }

    fn bucket(&self, millionths: u64) -> usize {
        self.0.iter().position(|bound| millionths <= *bound).unwrap_or(MAX_BUCKETS - 1)
    }
}

/// Observations by bucket, with their sum. The bounds are those of the metric.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: [AtomicU64; MAX_BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn record(&self, bounds: &Bounds, duration: Duration) {
        let micros = (duration.as_nanos() + 500) / 1000;
        self.add(bounds, u64::try_from(micros).unwrap_or(u64::MAX));
    }

    pub(super) fn record_value(&self, bounds: &Bounds, value: f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates")]
        self.add(bounds, (value * MILLION) as u64);
    }

    fn add(&self, bounds: &Bounds, millionths: u64) {
        self.counts[bounds.bucket(millionths)].fetch_add(1, Relaxed);
        self.sum.fetch_add(millionths, Relaxed);
    }
}

/// The sum of several histograms of one metric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HistogramSnapshot {
    pub(crate) bounds: &'static Bounds,
    /// Observations per bucket, not cumulative; one more than there are bounds.
    pub(crate) counts: Vec<u64>,
    pub(crate) sum: f64,
}

impl HistogramSnapshot {
    pub(super) fn sum<'a>(bounds: &'static Bounds, parts: impl Iterator<Item = &'a Histogram>) -> Self {
        let (mut counts, mut sum) = ([0; MAX_BUCKETS], 0_u64);
        for part in parts {
            for (all, count) in counts.iter_mut().zip(&part.counts) {
                *all += count.load(Relaxed);
            }
            sum = sum.wrapping_add(part.sum.load(Relaxed));
        }
        let buckets = bounds.buckets();
        // An observation beyond the last bound of a padded list is counted after the padding or in it.
        let rest = counts[buckets - 1..].iter().sum();
        let mut counts = counts[..buckets].to_vec();
        counts[buckets - 1] = rest;
        Self { bounds, counts, sum: sum as f64 / MILLION }
    }

    /// The number of all observations.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_bucket_and_sums() {
        let (one, other) = (Histogram::default(), Histogram::default());
        for micros in [49, 50, 51, 10_000_000] {
            one.record(&Bounds::OVERHEAD, Duration::from_micros(micros));
        }
        other.record(&Bounds::OVERHEAD, Duration::MAX);
        other.record(&Bounds::OVERHEAD, Duration::from_nanos(1_500));
        let snapshot = HistogramSnapshot::sum(&Bounds::OVERHEAD, [&one].into_iter());
        assert_eq!((snapshot.count(), snapshot.counts[0], snapshot.counts[1]), (4, 2, 1));
        assert!((snapshot.sum - 10.00015).abs() < 1e-9, "{}", snapshot.sum);
        let both = HistogramSnapshot::sum(&Bounds::OVERHEAD, [&one, &other].into_iter());
        assert_eq!((both.count(), both.counts.last()), (6, Some(&2)));
        assert_eq!(both.counts.len(), Bounds::OVERHEAD.upper().count() + 1);
    }

    #[test]
    fn bounds_are_exact_decimals() {
        let bounds: Vec<f64> = Bounds::SECONDS.upper().collect();
        assert_eq!((bounds[0], bounds[2], bounds[14]), (0.005, 0.025, 120.0));
        assert_eq!(Bounds::OVERHEAD.upper().next().unwrap().to_string(), "0.00005");
    }
}

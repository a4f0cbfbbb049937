//! Durations in buckets of fixed bounds: four to each doubling, from a millisecond on.

use std::time::Duration;

use super::epoch_counter::EpochCounter;

/// The number of buckets; the last one starts at a quarter of an hour.
const BUCKETS: usize = 80;
/// Below this number of milliseconds, each millisecond has its own bucket.
const EXACT: u64 = 4;

/// The numbers of durations per bucket, for one tick.
#[derive(Debug)]
pub(super) struct Histogram([EpochCounter; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self(std::array::from_fn(|_| EpochCounter::default()))
    }
}

impl Histogram {
    pub(super) fn add(&self, tick: u32, duration: Duration) {
        self.0[bucket(duration)].add(tick, 1);
    }
}

/// The sums of the buckets of several ticks.
#[derive(Debug)]
pub(super) struct MergedHistogram([u64; BUCKETS]);

impl Default for MergedHistogram {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl MergedHistogram {
    pub(super) fn merge(&mut self, histogram: &Histogram, tick: u32) {
        for (sum, count) in self.0.iter_mut().zip(&histogram.0) {
            *sum += u64::from(count.get(tick));
        }
    }

    /// Returns the quantile in milliseconds, interpolated within its bucket; `None` if there are no durations.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.0.iter().sum();
        let rank = share * all as f64;
        let mut below = 0.0;
        for (i, &count) in self.0.iter().enumerate() {
            let here = count as f64;
            if count > 0 && below + here >= rank {
                let (from, to) = (lower(i), lower(i + 1));
                let part = ((rank - below) / here).clamp(0.0, 1.0);
                return Some(from + (to - from) * part);
            }
            below += here;
        }
        None
    }
}

fn bucket(duration: Duration) -> usize {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis < EXACT {
        return millis as usize;
    }
    let octave = millis.ilog2();
    let quarter = (millis >> (octave - 2)) & 3;
    ((octave as usize - 1) * 4 + quarter as usize).min(BUCKETS - 1)
}

/// Returns the lower bound of a bucket, in milliseconds.
fn lower(bucket: usize) -> f64 {
    if bucket < EXACT as usize {
        return bucket as f64;
    }
    let (octave, quarter) = (bucket / 4 + 1, bucket % 4);
    ((4 + quarter as u64) << (octave - 2)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous() {
        for i in 0..BUCKETS {
            let from = lower(i) as u64;
            assert_eq!(bucket(Duration::from_millis(from)), i);
            if i > 0 {
                assert_eq!(bucket(Duration::from_millis(from - 1)), i - 1);
            }
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_accurate_to_a_bucket() {
        let (histogram, mut spread) = (Histogram::default(), MergedHistogram::default());
        assert_eq!(spread.quantile(0.5), None);
        (1..=1000).for_each(|millis| histogram.add(3, Duration::from_millis(millis)));
        spread.merge(&histogram, 3);
        for (share, truth) in [(0.5, 500.0), (0.95, 950.0), (1.0, 1000.0)] {
            let told = spread.quantile(share).unwrap();
            assert!((told - truth).abs() / truth < 0.1, "{share}: {told}");
        }
        spread.merge(&histogram, 4);
        assert_eq!(spread.0.iter().sum::<u64>(), 1000, "another tick has nothing");
    }
}

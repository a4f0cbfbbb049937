//! All metrics at one moment, for the encoders.

use super::{
    histogram::HistogramSnapshot,
    names::{Kind, Metric},
};

/// The labels of a series, in the order of the output.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// One series of a metric.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) value: Value,
}

/// The value of a series.
#[derive(Debug)]
pub(crate) enum Value {
    Count(u64),
    Gauge(f64),
    Histogram(HistogramSnapshot),
}

/// The series of all metrics, by [`Metric`].
#[derive(Debug)]
pub(crate) struct Scrape([Vec<Series>; Metric::ALL.len()]);

impl Scrape {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Vec::new()))
    }

    pub(super) fn count(&mut self, metric: Metric, labels: Labels, count: u64) {
        debug_assert_eq!(metric.kind(), Kind::Counter, "{metric:?}");
        self.0[metric as usize].push(Series { labels, value: Value::Count(count) });
    }

    pub(super) fn gauge(&mut self, metric: Metric, labels: Labels, value: f64) {
        debug_assert_eq!(metric.kind(), Kind::Gauge, "{metric:?}");
        self.0[metric as usize].push(Series { labels, value: Value::Gauge(value) });
    }

    /// Adds the sum of the parts, unless nothing was observed.
    pub(super) fn histogram<'a>(
        &mut self,
        metric: Metric,
        labels: Labels,
        parts: impl Iterator<Item = &'a super::histogram::Histogram>,
    ) {
        let Kind::Histogram(bounds) = metric.kind() else { return };
        let snapshot = HistogramSnapshot::sum(bounds, parts);
        if snapshot.count() > 0 {
            self.0[metric as usize].push(Series { labels, value: Value::Histogram(snapshot) });
        }
    }

    /// Returns the metrics that have series.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = (Metric, &[Series])> {
        let all = Metric::ALL.into_iter().zip(&self.0);
        all.filter(|(_, series)| !series.is_empty()).map(|(metric, series)| (metric, &**series))
    }
}

//! Encodes the metrics, with cumulative sums.

use super::{
    attributes::Attributes,
    conventions as names,
    exemplars::{Exemplar, Exemplars},
    protobuf::Message,
    resource,
};
use crate::{
    config::Telemetry,
    observability::metrics::{
        Kind, Metric,
        scrape::{Scrape, Series, Value},
    },
};

/// The aggregation temporality of sums since the start.
const CUMULATIVE: u64 = 2;

/// The period that the sums are of, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period {
    pub(super) start: u64,
    pub(super) now: u64,
}

/// Encodes an `ExportMetricsServiceRequest`.
pub(super) fn encode(
    scrape: &Scrape,
    telemetry: &Telemetry,
    instance: &str,
    period: Period,
    exemplars: &Exemplars,
) -> Vec<u8> {
    let mut buffer = Vec::new();
    Message::new(&mut buffer).message(1, |resource_metrics| {
        resource::write(resource_metrics, telemetry, instance);
        resource_metrics.message(2, |scope_metrics| {
            resource::write_scope(scope_metrics);
            for (metric, series) in scrape.metrics() {
                scope_metrics.message(2, |message| {
                    message.string(1, names::metric_name(metric.name()));
                    message.string(2, metric.help());
                    message.string(3, metric.unit());
                    write_data(message, metric, series, period, exemplars);
                });
            }
        });
        resource_metrics.string(3, names::SCHEMA_URL);
    });
    buffer
}

fn write_data(message: &mut Message<'_>, metric: Metric, series: &[Series], period: Period, exemplars: &Exemplars) {
    let points = |data: &mut Message<'_>| {
        for one in series {
            data.message(1, |point| write_point(point, one, period, exemplars.of(metric, one)));
        }
    };
    match metric.kind() {
        Kind::Gauge => message.message(5, points),
        Kind::Counter => message.message(7, |sum| {
            points(sum);
            sum.uint(2, CUMULATIVE);
            sum.uint(3, 1);
        }),
        Kind::Histogram(_) => message.message(9, |histogram| {
            points(histogram);
            histogram.uint(2, CUMULATIVE);
        }),
    }
}

/// Writes a `NumberDataPoint` or a `HistogramDataPoint`, which share the fields of times.
fn write_point(
    point: &mut Message<'_>,
    Series { labels, value }: &Series,
    period: Period,
    exemplar: Option<&Exemplar>,
) {
    point.fixed64(2, period.start);
    point.fixed64(3, period.now);
    let attributes = match value {
        Value::Gauge(value) => {
            point.double(4, *value);
            7
        }
        Value::Count(count) => {
            point.fixed64(6, *count);
            7
        }
        Value::Histogram(histogram) => {
            point.fixed64(4, histogram.count());
            point.double(5, histogram.sum);
            point.packed(6, histogram.counts.iter().copied());
            point.packed(7, histogram.bounds.upper().map(f64::to_bits));
            if let Some(Exemplar { seconds, at, span }) = exemplar {
                point.message(8, |exemplar| {
                    exemplar.fixed64(2, *at);
                    exemplar.double(3, *seconds);
                    exemplar.bytes(4, &span.span_id().to_be_bytes());
                    exemplar.bytes(5, &span.trace_id().to_be_bytes());
                });
            }
            9
        }
    };
    let mut attributes = Attributes(point, attributes);
    for (label, value) in labels {
        match value.parse() {
            Ok(status) if *label == "status" => attributes.int(names::attribute_name(label), status),
            _ => attributes.string(names::attribute_name(label), value),
        }
    }
}

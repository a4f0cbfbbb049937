//! Prometheus's text format, version 0.0.4.

use std::fmt::{self, Write};

use super::{
    names::{Kind, Metric},
    scrape::{Labels, Scrape, Series, Value},
};

/// Returns all metrics as text.
pub(super) fn encode(scrape: &Scrape) -> String {
    let mut text = String::new();
    for (metric, series) in scrape.metrics().filter(|(metric, _)| metric.is_in_prometheus()) {
        // Writing to a string cannot fail.
        let _ = write_metric(&mut text, metric, series);
    }
    text
}

fn write_metric(text: &mut String, metric: Metric, series: &[Series]) -> fmt::Result {
    let name = metric.name();
    let kind = match metric.kind() {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help())?;
    for Series { labels, value } in series {
        match value {
            Value::Count(count) => writeln!(text, "{name}{} {count}", Braces(labels, None))?,
            Value::Gauge(value) => writeln!(text, "{name}{} {value}", Braces(labels, None))?,
            Value::Histogram(histogram) => {
                let mut below = 0;
                let bounds = histogram.bounds.upper().map(Some).chain([None]);
                for (bound, count) in bounds.zip(&histogram.counts) {
                    below += count;
                    writeln!(text, "{name}_bucket{} {below}", Braces(labels, Some(bound)))?;
                }
                writeln!(text, "{name}_sum{} {}", Braces(labels, None), histogram.sum)?;
                writeln!(text, "{name}_count{} {below}", Braces(labels, None))?;
            }
        }
    }
    text.write_char('\n')
}

/// Labels in braces, with the upper bound of a bucket; the bound `None` is infinity.
struct Braces<'a>(&'a Labels, Option<Option<f64>>);

impl fmt::Display for Braces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() && self.1.is_none() {
            return Ok(());
        }
        let mut separator = '{';
        for (name, value) in self.0 {
            write!(f, "{separator}{name}=\"{}\"", Escaped(value))?;
            separator = ',';
        }
        match self.1 {
            Some(Some(bound)) => write!(f, "{separator}le=\"{bound}\"")?,
            Some(None) => write!(f, "{separator}le=\"+Inf\"")?,
            None => {}
        }
        f.write_char('}')
    }
}

/// The value of a label, with backslashes, quotes and line breaks escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observability::metrics::histogram::{Bounds, Histogram};

    #[test]
    fn writes_every_type() {
        let mut scrape = Scrape::new();
        scrape.count(Metric::Requests, vec![("path", "a\"b\\c\nd".to_owned()), ("status", "200".to_owned())], 3);
        scrape.gauge(Metric::InFlight, Vec::new(), 0.5);
        let overhead = Histogram::default();
        for micros in [50, 70, 9_000_000] {
            overhead.record(&Bounds::OVERHEAD, Duration::from_micros(micros));
        }
        scrape.histogram(Metric::Overhead, Vec::new(), [&overhead].into_iter());
        scrape.histogram(Metric::Latency, Vec::new(), [].into_iter());
        let text = encode(&scrape);
        for line in [
            "# TYPE http_requests_total counter",
            r#"http_requests_total{path="a\"b\\c\nd",status="200"} 3"#,
            "http_requests_in_flight 0.5",
            r#"berry_gateway_overhead_seconds_bucket{le="0.00005"} 1"#,
            r#"berry_gateway_overhead_seconds_bucket{le="0.0001"} 2"#,
            r#"berry_gateway_overhead_seconds_bucket{le="5"} 2"#,
            r#"berry_gateway_overhead_seconds_bucket{le="+Inf"} 3"#,
            "berry_gateway_overhead_seconds_sum 9.00012",
            "berry_gateway_overhead_seconds_count 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("backend_latency"), "a histogram without observations is left out");
    }
}

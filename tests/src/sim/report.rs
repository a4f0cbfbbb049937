//! The results of runs, and the table that compares them.

use std::{fmt, sync::Arc, time::Duration};

use berry_tower::backend::{Backend, Model, strategy::Candidate};
use tokio::time::Instant;

use super::{Kind, Setup, Trouble};

/// The result of one run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The number of requests.
    pub requests: u64,
    /// The number of requests without a successful attempt.
    pub failures: u64,
    /// The times at which those requests were given up.
    pub given_up: Vec<Duration>,
    /// The total cost of all responses.
    pub cost: f64,
    /// The latency of successful requests, over all their attempts.
    pub latency: Histogram,
    /// The start time and the site of each attempt.
    pub picks: Vec<(Duration, usize)>,
    /// The times of failed attempts, by site.
    pub failed_at: Vec<Vec<Duration>>,
    /// The number of responses, by site.
    pub served: Vec<u64>,
    /// The attempts made while a trusted site without the premium tag was available: all of them, and
    /// those on premium sites.
    pub while_cheap: [u64; 2],
    premium: Vec<bool>,
}

impl Run {
    pub(super) fn new(setup: &Setup) -> Self {
        let sites = setup.sites.len();
        Self {
            requests: 0,
            failures: 0,
            given_up: Vec::new(),
            cost: 0.0,
            latency: Histogram::default(),
            picks: Vec::new(),
            failed_at: vec![Vec::new(); sites],
            served: vec![0; sites],
            while_cheap: [0; 2],
            premium: setup.sites.iter().map(|site| site.premium).collect(),
        }
    }

    pub(super) fn site(&self, model: &Model, backend: &Arc<Backend>) -> usize {
        model.backends().iter().position(|b| b.id() == backend.id()).expect("a backend of the pool")
    }

    pub(super) fn sent(&mut self, model: &Model, site: usize, at: Duration, now: Instant) {
        self.picks.push((at, site));
        if !self.premium.contains(&true) {
            return;
        }
        let cheap = |b: &Arc<Backend>| {
            let Candidate { view, .. } = Candidate::new(b, b.state().view(now));
            !b.is_premium() && view.is_free() && view.is_trusted()
        };
        if model.backends().iter().any(cheap) {
            self.while_cheap[0] += 1;
            self.while_cheap[1] += u64::from(self.premium[site]);
        }
    }

    pub(super) fn served(&mut self, site: usize, price: f64, took: Duration) {
        self.served[site] += 1;
        self.cost += price / 1000.0;
        self.latency.add(took);
    }

    pub(super) fn failed(&mut self, site: usize, at: Duration) {
        self.failed_at[site].push(at);
    }

    pub(super) fn gave_up(&mut self, at: Duration) {
        self.failures += 1;
        self.given_up.push(at);
    }

    /// Returns the site's share of the attempts that began within a span, if there were any.
    #[must_use]
    pub fn share(&self, site: usize, from: Duration, to: Duration) -> Option<f64> {
        let first = self.picks.partition_point(|(at, _)| *at < from);
        let last = self.picks.partition_point(|(at, _)| *at < to);
        let span = self.picks.get(first..last).filter(|span| !span.is_empty())?;
        Some(span.iter().filter(|(_, picked)| *picked == site).count() as f64 / span.len() as f64)
    }

    /// Returns the time from the start of the failure until the site gets less than 3 % of the attempts
    /// over ten seconds.
    #[must_use]
    pub fn time_to_leave(&self, site: usize, trouble: &Trouble) -> Option<Duration> {
        self.first(trouble.from, trouble.to, |from, to| self.share(site, from, to).is_some_and(|share| share < 0.03))
    }

    /// Returns the time from the end of the failure until the site gets 80 % of its fair share over ten
    /// seconds.
    #[must_use]
    pub fn time_to_return(&self, site: usize, trouble: &Trouble, fair: f64, until: Duration) -> Option<Duration> {
        self.first(trouble.to, until, |from, to| self.share(site, from, to).is_some_and(|share| share >= 0.8 * fair))
    }

    fn first(&self, from: Duration, until: Duration, is: impl Fn(Duration, Duration) -> bool) -> Option<Duration> {
        let span = Duration::from_secs(10);
        let steps = until.checked_sub(from + span)?.as_secs();
        (0..=steps).map(Duration::from_secs).find(|step| is(from + *step, from + *step + span))
    }
}

/// Counts of durations in buckets that grow by 5 %.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    total: u64,
}

const GROWTH: f64 = 1.05;
const MIN_SECONDS: f64 = 0.001;

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; 256], total: 0 }
    }
}

impl Histogram {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small bucket number")]
    fn add(&mut self, value: Duration) {
        let bucket = (value.as_secs_f64().max(MIN_SECONDS) / MIN_SECONDS).log(GROWTH) as usize;
        self.buckets[bucket.min(255)] += 1;
        self.total += 1;
    }

    fn join(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(own, other)| *own += other);
        self.total += other.total;
    }

    /// Returns the duration that the given part of all values does not exceed.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Duration {
        let mut left = self.total as f64 * part;
        let reached = |&(_, &n): &(usize, &u64)| {
            left -= n as f64;
            left <= 0.0
        };
        let bucket = self.buckets.iter().enumerate().find(reached).map_or(0, |(i, _)| i);
        Duration::from_secs_f64(MIN_SECONDS * GROWTH.powi(i32::try_from(bucket).unwrap_or(0) + 1))
    }
}

/// A table with one line per strategy, over all its runs.
#[derive(Clone, Debug, Default)]
pub struct Table {
    sites: Vec<String>,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Default)]
struct Line {
    strategy: String,
    requests: u64,
    failures: u64,
    attempts: u64,
    cost: f64,
    latency: Histogram,
    served: Vec<u64>,
    leave: Vec<f64>,
    back: Vec<f64>,
}

impl Table {
    /// Concatenates the lines of several tables.
    #[must_use]
    pub fn join(tables: Vec<Self>) -> Self {
        let sites = tables.first().map(|table| table.sites.clone()).unwrap_or_default();
        Self { sites, lines: tables.into_iter().flat_map(|table| table.lines).collect() }
    }

    /// Adds a run.
    pub fn add(&mut self, setup: &Setup, run: &Run) {
        if self.sites.is_empty() {
            self.sites = setup.sites.iter().map(|site| site.name.clone()).collect();
        }
        let at = self.lines.iter().position(|line| line.strategy == setup.strategy).unwrap_or_else(|| {
            let served = vec![0; setup.sites.len()];
            self.lines.push(Line { strategy: setup.strategy.clone(), served, ..Line::default() });
            self.lines.len() - 1
        });
        let line = &mut self.lines[at];
        line.requests += run.requests;
        line.failures += run.failures;
        line.attempts += run.picks.len() as u64;
        line.cost += run.cost;
        line.latency.join(&run.latency);
        line.served.iter_mut().zip(&run.served).for_each(|(all, one)| *all += one);
        for ((i, site), fair) in setup.sites.iter().enumerate().zip(setup.fair_shares()) {
            let outages = site.troubles.iter().filter(|t| matches!(t.kind, Kind::Outage(_)));
            // A site with almost no traffic can neither lose nor regain its share.
            for outage in outages.filter(|_| fair > 0.05) {
                line.leave.extend(run.time_to_leave(i, outage).map(|d| d.as_secs_f64()));
                let until = setup.length.min(outage.to + Duration::from_secs(600));
                line.back.extend(run.time_to_return(i, outage, fair, until).map(|d| d.as_secs_f64()));
            }
        }
    }
}

fn median(values: &[f64]) -> String {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).map_or_else(|| "–".to_owned(), |middle| format!("{middle:.0} s"))
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sites = self.sites.join(" / ");
        writeln!(
            f,
            "| strategy | success | cost per 1000 | p50 | p99 | answers by {sites} | leaves | returns | attempts per request |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for line in &self.lines {
            let (requests, served) = (line.requests as f64, (line.requests - line.failures).max(1) as f64);
            let shares: Vec<String> =
                line.served.iter().map(|n| format!("{:.0} %", *n as f64 / served * 100.0)).collect();
            writeln!(
                f,
                "| `{}` | {:.3} % | {:.2} | {:.2} s | {:.1} s | {} | {} | {} | {:.3} |",
                line.strategy,
                (1.0 - line.failures as f64 / requests) * 100.0,
                line.cost / served * 1000.0,
                line.latency.quantile(0.5).as_secs_f64(),
                line.latency.quantile(0.99).as_secs_f64(),
                shares.join(" / "),
                median(&line.leave),
                median(&line.back),
                line.attempts as f64 / requests,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_within_five_percent() {
        let (mut all, mut half) = (Histogram::default(), Histogram::default());
        (1..=500).for_each(|millis| all.add(Duration::from_millis(millis)));
        (501..=1000).for_each(|millis| half.add(Duration::from_millis(millis)));
        all.join(&half);
        for (part, expected) in [(0.5, 0.5), (0.99, 0.99), (1.0, 1.0)] {
            let found = all.quantile(part).as_secs_f64();
            assert!((found / expected - 1.0).abs() <= 0.05, "{part}: {found}");
        }
    }
}

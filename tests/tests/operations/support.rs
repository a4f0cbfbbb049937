//! Reads metrics and status pages as an admin.

use std::{collections::BTreeMap, time::Duration};

use berry_tests::{Ask, Builder, Gateway, Reply};
use serde_json::Value;
use tokio::time::{sleep, timeout};

pub(crate) const ADMIN: &str = "token-of-the-admin-0123456789";

/// The longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns a builder of a gateway with an admin.
pub(crate) fn builder() -> Builder {
    Gateway::builder().tables(&format!("[users.root]\ntoken = \"{ADMIN}\"\ntags = [\"admin\"]"))
}

/// The samples of `/prometheus`, by their name and their sorted labels.
pub(crate) struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// Fetches the metrics as an admin.
    pub(crate) async fn fetch(gateway: &Gateway) -> Self {
        let reply = gateway.ask(&Ask::get("/prometheus").token(ADMIN)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        Self(reply.text().lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(sample).collect())
    }

    /// Returns the sample of a series, or 0 when there is none.
    pub(crate) fn get(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    /// Returns the sum of all samples whose series begins with the prefix.
    pub(crate) fn sum(&self, prefix: &str) -> f64 {
        self.0.iter().filter(|(series, _)| series.starts_with(prefix)).map(|(_, value)| value).sum()
    }

    pub(crate) fn series(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn sample(line: &str) -> (String, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let value = value.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
    let Some((name, labels)) = series.split_once('{') else { return (series.to_owned(), value) };
    // No label value in these tests contains a comma.
    let mut labels: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
    labels.sort_unstable();
    (format!("{name}{{{}}}", labels.join(",")), value)
}

/// Returns the JSON of a status page for an admin.
pub(crate) async fn status(gateway: &Gateway, path: &str) -> Value {
    let reply = gateway.ask(&Ask::get(path).token(ADMIN)).await;
    assert_eq!(reply.status, 200, "{path}");
    reply.json()
}

/// Requests a reload as an admin.
pub(crate) async fn reload(gateway: &Gateway) -> Reply {
    gateway.ask(&Ask::post("/admin/reload-config", "").token(ADMIN)).await
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("timed out waiting for: {what}"));
}

//! Metrics as numbers, and an admin to ask with.

use std::{collections::BTreeMap, time::Duration};

use berry_tests::{Ask, Builder, Gateway, Reply};
use serde_json::Value;
use tokio::time::{sleep, timeout};

pub(crate) const ADMIN: &str = "token-of-the-admin-0123456789";

/// What is waited for at the very most.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway in the making that has an admin.
pub(crate) fn builder() -> Builder {
    Gateway::builder().tables(&format!("[users.root]\ntoken = \"{ADMIN}\"\ntags = [\"admin\"]"))
}

/// Every sample of `/prometheus`, by its name and its labels in the order of their names.
pub(crate) struct Samples(BTreeMap<String, f64>);

impl Samples {
    pub(crate) async fn of(gateway: &Gateway) -> Self {
        let reply = gateway.ask(&Ask::get("/prometheus").token(ADMIN)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        Self(reply.text().lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(sample).collect())
    }

    /// The one of this name and these labels; 0 where there is none.
    pub(crate) fn get(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    /// The sum of all that begin so.
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
    // No label in these tests holds a comma.
    let mut labels: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
    labels.sort_unstable();
    (format!("{name}{{{}}}", labels.join(",")), value)
}

/// The JSON of a status page, as an admin sees it.
pub(crate) async fn status(gateway: &Gateway, path: &str) -> Value {
    let reply = gateway.ask(&Ask::get(path).token(ADMIN)).await;
    assert_eq!(reply.status, 200, "{path}");
    reply.json()
}

/// The reload that an admin asks for.
pub(crate) async fn reload(gateway: &Gateway) -> Reply {
    gateway.ask(&Ask::post("/admin/reload-config", "").token(ADMIN)).await
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited too long: {what}"));
}

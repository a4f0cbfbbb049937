//! Counters of rare events, looked up by their labels at each event.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;

/// The most combinations of labels with a counter of their own; a series stays until the process ends.
const MAX_SERIES: usize = 10_000;

/// Counters by the values of their `N` labels.
#[derive(Debug)]
pub(super) struct LabelledCounters<const N: usize> {
    known: ArcSwap<HashMap<[Arc<str>; N], Arc<AtomicU64>>>,
}

impl<const N: usize> Default for LabelledCounters<N> {
    fn default() -> Self {
        Self { known: ArcSwap::default() }
    }
}

impl<const N: usize> LabelledCounters<N> {
    /// Adds to the counter of these labels. Beyond the bound, all labels are `other`.
    pub(super) fn add(&self, labels: [Arc<str>; N], n: u64) {
        let known = self.known.load();
        if let Some(counter) = known.get(&labels) {
            counter.fetch_add(n, Relaxed);
            return;
        }
        let labels = if known.len() < MAX_SERIES { labels } else { [const { super::names::OTHER }; N].map(Arc::from) };
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.entry(labels.clone()).or_default();
            known
        });
        if let Some(counter) = self.known.load().get(&labels) {
            counter.fetch_add(n, Relaxed);
        }
    }

    /// Returns all counters with their labels, ordered by them.
    pub(super) fn read(&self) -> Vec<([Arc<str>; N], u64)> {
        let known = self.known.load();
        let mut all: Vec<_> = known.iter().map(|(labels, count)| (labels.clone(), count.load(Relaxed))).collect();
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_labels() {
        let counters = LabelledCounters::<2>::default();
        let labels = |a: &str, b: &str| [Arc::from(a), Arc::from(b)];
        counters.add(labels("m", "server"), 2);
        counters.add(labels("a", "server"), 1);
        counters.add(labels("m", "server"), 1);
        assert_eq!(counters.read(), [(labels("a", "server"), 1), (labels("m", "server"), 3)]);
    }
}

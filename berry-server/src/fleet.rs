//! Notices between replicas over the store: a backend is paused, keys have changed, or an account has made ids.
//!
//! No request waits for a notice, and without it each replica finds out by itself.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use berry_tower::{
    backend::{BackendId, BackendState, Catalog},
    observe::{BackendObserver, Observer},
    store::{Notice, Store},
};
use tokio::{sync::Notify, time::Instant};

/// The topic of a backend that should not be asked. The text has three lines: milliseconds, provider, model.
const PAUSED: &str = "paused";
/// The topic of a change of keys, users or teams.
const KEYS: &str = "keys";
/// The topic of ids that an account has made. The text has three lines: provider, model, the hashes of the ids.
const IDS: &str = "ids";
/// A pause is announced again when its end has moved by this much.
const ANNOUNCE_AFTER: u64 = 500;

/// This replica as one of several. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fleet(Arc<Inner>);

struct Inner {
    /// The store and the models of the current configuration.
    link: ArcSwapOption<(Arc<dyn Store>, Catalog)>,
    keys_changed: Notify,
    started: Instant,
}

impl Default for Fleet {
    fn default() -> Self {
        let (link, keys_changed, started) = (ArcSwapOption::empty(), Notify::new(), Instant::now());
        Self(Arc::new(Inner { link, keys_changed, started }))
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("has_store", &self.0.link.load().is_some()).finish_non_exhaustive()
    }
}

impl Fleet {
    /// Uses the store and the models of a configuration from now on.
    pub(crate) fn join(&self, store: &Arc<dyn Store>, catalog: &Catalog) {
        let link = (store.clone(), catalog.clone());
        let before = self.0.link.swap(Some(Arc::new(link)));
        if before.is_some_and(|before| Arc::ptr_eq(&before.0, store)) {
            return;
        }
        let inner = Arc::downgrade(&self.0);
        store.on_notice(Box::new(move |notice| {
            if let Some(inner) = inner.upgrade() {
                inner.hear(notice);
            }
        }));
    }

    fn announce(&self, notice: Notice) {
        if let Some(link) = &*self.0.link.load() {
            link.0.announce(notice);
        }
    }

    /// Notifies the other replicas that keys, users or teams have changed.
    #[cfg_attr(not(feature = "database"), expect(dead_code, reason = "only a database has keys that change"))]
    pub(crate) fn announce_keys(&self) {
        self.announce(Notice::new(KEYS, ""));
    }

    /// Completes when another replica has changed keys, users or teams since the last call.
    #[cfg_attr(not(feature = "database"), expect(dead_code, reason = "only a database has keys that change"))]
    pub(crate) async fn keys_changed(&self) {
        self.0.keys_changed.notified().await;
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Inner {
    fn hear(&self, notice: &Notice) {
        match notice.topic() {
            KEYS => self.keys_changed.notify_one(),
            PAUSED => self.doubt(notice.text()),
            IDS => self.learn_ids(notice.text()),
            // A newer replica may send other notices.
            _ => {}
        }
    }

    fn doubt(&self, text: &str) {
        let Some((left, backend)) = pause_of(text) else { return };
        self.with_backend(backend, |id, state| {
            tracing::debug!(backend = %id, seconds = left.as_secs_f64(), "another replica leaves a backend alone");
            state.doubt(left, Instant::now());
        });
    }

    fn learn_ids(&self, text: &str) {
        let Some((backend, ids)) = text.rsplit_once('\n') else { return };
        let ids = ids.split(' ').filter_map(|id| u64::from_str_radix(id, 16).ok());
        self.with_backend(backend, |_, state| state.learn_ids(ids));
    }

    /// Calls `act` with the backend that a notice names by two lines, if it is one of the current configuration.
    fn with_backend(&self, named: &str, act: impl FnOnce(&BackendId, &BackendState)) {
        let (Some((provider, model)), Some(link)) = (named.split_once('\n'), &*self.link.load()) else { return };
        let models = link.1.load();
        let is_named = |id: &BackendId| &*id.provider == provider && &*id.model == model;
        if let Some((id, state)) = models.states().find(|(id, _)| is_named(id)) {
            act(id, state);
        }
    }
}

/// Reads the text of [`PAUSED`]: the time, and the backend.
fn pause_of(text: &str) -> Option<(Duration, &str)> {
    let (left, backend) = text.split_once('\n')?;
    Some((Duration::from_millis(left.parse().ok()?), backend))
}

impl Observer for Fleet {
    fn backend(&self, id: &BackendId) -> Arc<dyn BackendObserver> {
        Arc::new(Announcer { fleet: self.clone(), id: id.clone(), until: AtomicU64::new(0) })
    }
}

/// Announces the pauses of one backend, and the ids that it makes.
#[derive(Debug)]
struct Announcer {
    fleet: Fleet,
    id: BackendId,
    /// The end of the pause that was announced last, in milliseconds since the start.
    until: AtomicU64,
}

impl BackendObserver for Announcer {
    fn paused(&self, left: Duration) {
        let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let until = self.fleet.millis().saturating_add(millis);
        // Many responses with the same `Retry-After` are announced once.
        let is_news = |last: u64| (until > last.saturating_add(ANNOUNCE_AFTER)).then_some(until);
        if self.until.fetch_update(Relaxed, Relaxed, is_news).is_ok() {
            let text = format!("{millis}\n{}\n{}", self.id.provider, self.id.model);
            self.fleet.announce(Notice::new(PAUSED, text));
        }
    }

    fn ids_made(&self, ids: &[u64]) {
        let ids: Vec<_> = ids.iter().map(|id| format!("{id:x}")).collect();
        self.fleet.announce(Notice::new(IDS, format!("{}\n{}\n{}", self.id.provider, self.id.model, ids.join(" "))));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use berry_tower::{
        classify::Class,
        store::{Charge, Memory, NoticeListener, Receipt, StoreFuture, TakeError},
    };

    use super::*;
    use crate::state::tests::snapshot;

    /// Stores of two replicas, of which the second hears what the first announces.
    #[derive(Default)]
    struct Joined(Memory, OnceLock<NoticeListener>, OnceLock<Arc<Joined>>);

    impl fmt::Debug for Joined {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Joined")
        }
    }

    impl Store for Joined {
        fn take<'a>(&'a self, group: &'a str, charges: &'a [Charge]) -> StoreFuture<'a, Result<Receipt, TakeError>> {
            self.0.take(group, charges)
        }

        fn settle(&self, receipt: Receipt, used: Vec<u64>) -> StoreFuture<'static, ()> {
            self.0.settle(receipt, used)
        }

        fn announce(&self, notice: Notice) {
            if let Some(listener) = self.2.get().and_then(|other| other.1.get()) {
                listener(&notice);
            }
        }

        fn on_notice(&self, listener: NoticeListener) {
            let _ = self.1.set(listener);
        }
    }

    /// Returns a replica with its store and models.
    fn replica(store: &Arc<Joined>) -> (Fleet, Catalog) {
        let snapshot = snapshot();
        let fleet = Fleet::default();
        let catalog = Catalog::new(snapshot.catalog.load().models().iter().map(|model| (**model).clone())).unwrap();
        let catalog = catalog.observed_by(Arc::new(fleet.clone()));
        fleet.0.link.store(Some(Arc::new((store.clone(), catalog.clone()))));
        let inner = Arc::downgrade(&fleet.0);
        store.on_notice(Box::new(move |notice| inner.upgrade().unwrap().hear(notice)));
        (fleet, catalog)
    }

    #[tokio::test(start_paused = true)]
    async fn another_replicas_pause_is_a_doubt_that_one_success_ends() {
        let (here, there) = (Arc::new(Joined::default()), Arc::new(Joined::default()));
        here.2.set(there.clone()).unwrap();
        let ((_fleet, catalog), (_other, heard)) = (replica(&here), replica(&there));
        let state = |catalog: &Catalog| catalog.load().states().next().unwrap().1.clone();
        let now = Instant::now();
        assert!(state(&heard).view(now).is_healthy());
        let wait = Duration::from_secs(30);
        state(&catalog).record(Class::RateLimited { retry_after: Some(wait) }, now);
        let view = state(&heard).view(now);
        assert!(!view.is_healthy() && view.due_for_trial && view.cooling.is_none(), "{view:?}");
        assert!(state(&heard).view(now + wait).is_healthy(), "a doubt ends by itself");
        // One trial at a time, and its own trial is believed.
        let trial = state(&heard).try_trial(now).unwrap();
        assert!(!state(&heard).view(now).due_for_trial);
        state(&heard).end_trial(trial);
        state(&heard).record(Class::Success, now);
        assert!(state(&heard).view(now).is_healthy());
    }

    #[tokio::test]
    async fn a_change_of_keys_wakes_the_other_replica() {
        let (here, there) = (Arc::new(Joined::default()), Arc::new(Joined::default()));
        here.2.set(there.clone()).unwrap();
        let ((fleet, _catalog), (other, _heard)) = (replica(&here), replica(&there));
        fleet.announce_keys();
        other.keys_changed().await;
    }

    #[tokio::test]
    async fn another_replica_knows_the_maker_of_an_id() {
        let (here, there) = (Arc::new(Joined::default()), Arc::new(Joined::default()));
        here.2.set(there.clone()).unwrap();
        let ((_fleet, catalog), (_other, heard)) = (replica(&here), replica(&there));
        let state = |catalog: &Catalog| catalog.load().states().next().unwrap().1.clone();
        state(&catalog).observer().unwrap().ids_made(&[u64::MAX, 7]);
        assert!([u64::MAX, 7].iter().all(|id| state(&heard).has_made(*id)) && !state(&heard).has_made(8));
    }
}

//! All keys of the database in memory, as requests are authenticated by them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use berry_tower::auth::ApiKeys;
use http::HeaderMap;
use jiff::Timestamp;
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{
    FilePeople,
    people::People,
    records::{TeamRecord, UserRecord},
};
use crate::{config::build::Caller, database::Database, fleet::Fleet};

/// The interval at which changes are read from the database, unless a notice of another replica comes before.
const POLL: Duration = Duration::from_secs(1);

/// The keys, users and teams of the database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Directory(Arc<Inner>);

pub(super) struct Inner {
    pub(super) database: Database,
    pub(super) fleet: Fleet,
    pub(super) keys: ApiKeys<Arc<Caller>>,
    pub(super) people: ArcSwap<People>,
    /// The version of the last change that is in memory; -1 before the first read.
    pub(super) version: AtomicI64,
    is_loaded: AtomicBool,
    /// One refresh at a time.
    pub(super) turn: Semaphore,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("keys", &self.0.keys.len()).finish_non_exhaustive()
    }
}

/// The task that follows the database; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Refreshing(JoinHandle<()>);

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Directory {
    /// Creates an empty directory.
    pub(crate) fn new(database: Database, fleet: Fleet) -> Self {
        Self(Arc::new(Inner {
            database,
            fleet,
            keys: ApiKeys::new([]),
            people: ArcSwap::default(),
            version: AtomicI64::new(-1),
            is_loaded: AtomicBool::new(false),
            turn: Semaphore::new(1),
        }))
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    /// Returns the caller whose key is in `headers`.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Option<Arc<Caller>> {
        self.0.keys.identify(headers)
    }

    /// Whether the keys have been read; before that an unknown key may be a good one.
    pub(crate) fn is_loaded(&self) -> bool {
        self.0.is_loaded.load(Relaxed)
    }

    pub(super) fn set_loaded(&self) {
        self.0.is_loaded.store(true, Relaxed);
    }

    /// Returns the number of keys in memory, refused ones included.
    #[cfg_attr(not(feature = "observability"), allow(dead_code, reason = "only metrics tell it"))]
    pub(crate) fn len(&self) -> usize {
        self.0.keys.len()
    }

    /// Takes over the users and teams of another configuration.
    pub(crate) fn set_file(&self, file: FilePeople) {
        let file = Arc::new(file);
        self.0.people.rcu(|people| people.with_file(file.clone()));
        self.0.update_callers();
    }

    /// Returns the users in force, by id.
    pub(crate) fn users(&self) -> Vec<UserRecord> {
        self.0.people.load().all_users()
    }

    /// Returns the teams in force, by id.
    pub(crate) fn teams(&self) -> Vec<TeamRecord> {
        self.0.people.load().all_teams()
    }

    /// Follows the database from now on.
    pub(crate) fn follow(&self) -> Refreshing {
        let directory = self.clone();
        Refreshing(tokio::spawn(async move {
            let mut ticks = interval(POLL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = directory.0.fleet.keys_changed() => {}
                }
                // The database has logged the error.
                let _ = directory.refresh().await;
                directory.0.renew_expired();
            }
        }))
    }
}

impl Inner {
    /// Works out the callers of all keys anew.
    pub(super) fn update_callers(&self) {
        loop {
            let people = self.people.load_full();
            self.keys.update_identities(|caller| match &caller.key {
                Some(key) => people.caller(key),
                None => (caller.clone(), false),
            });
            // A change meanwhile may have been overwritten.
            if Arc::ptr_eq(&people, &self.people.load()) {
                return;
            }
        }
    }

    fn renew_expired(&self) {
        if self.people.load().next_expiry.is_some_and(|at| at <= Timestamp::now()) {
            self.people.rcu(|people| people.renewed());
            self.update_callers();
        }
    }
}

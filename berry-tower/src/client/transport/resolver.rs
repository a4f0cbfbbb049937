//! Name resolution: at most one look-up per name at a time, its result shared and kept briefly.

#![expect(clippy::disallowed_types, reason = "held for a map operation, when a connection is made")]

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::watch, task::spawn_blocking, time::Instant};

/// How long addresses are used again. The system's resolver does not tell their time to live.
const KEEP: Duration = Duration::from_secs(15);

type Addresses = Arc<[SocketAddr]>;
type Outcome = Result<Addresses, Arc<io::Error>>;

/// Resolves names by the system's resolver, which blocks a thread for each look-up. A name that
/// hangs blocks one thread, and delays only the connections to it. Clones share the results.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolver(Arc<Mutex<HashMap<Box<str>, Entry>>>);

#[derive(Clone, Debug)]
enum Entry {
    Known(Addresses, Instant),
    Pending(Lookup),
}

/// A look-up under way.
#[derive(Clone, Debug)]
struct Lookup {
    outcome: watch::Receiver<Option<Outcome>>,
    /// It has a thread.
    started: Arc<AtomicBool>,
}

impl Lookup {
    /// Whether it can still end: it cannot when its runtime has ended.
    fn is_alive(&self) -> bool {
        self.outcome.borrow().is_some() || self.outcome.has_changed().is_ok()
    }
}

impl Resolver {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of a host, with port 0.
    ///
    /// # Errors
    ///
    /// The name cannot be resolved.
    pub(super) async fn resolve(&self, host: &str) -> io::Result<Addresses> {
        self.resolve_with(host, |host| (host, 0).to_socket_addrs().map(Iterator::collect)).await
    }

    async fn resolve_with<F>(&self, host: &str, resolve: F) -> io::Result<Addresses>
    where
        F: FnOnce(&str) -> io::Result<Addresses> + Send + 'static,
    {
        let mut lookup = {
            let mut entries = self.lock();
            match entries.get(host) {
                Some(Entry::Known(addresses, until)) if *until > Instant::now() => return Ok(addresses.clone()),
                Some(Entry::Pending(lookup)) if lookup.is_alive() => lookup.clone(),
                _ => {
                    let lookup = self.start(host, resolve);
                    entries.insert(host.into(), Entry::Pending(lookup.clone()));
                    lookup
                }
            }
        };
        let ended = |_| io::Error::other("the look-up of the name was given up");
        let outcome = lookup.outcome.wait_for(Option::is_some).await.map_err(ended)?.clone();
        match outcome {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err(error)) => Err(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error),
            }),
            None => Err(io::Error::other("the look-up of the name has no outcome")),
        }
    }

    /// Starts a look-up, which writes its outcome into the map even if no connection waits for it.
    fn start<F>(&self, host: &str, resolve: F) -> Lookup
    where
        F: FnOnce(&str) -> io::Result<Addresses> + Send + 'static,
    {
        let (tell, outcome) = watch::channel(None);
        let started = Arc::<AtomicBool>::default();
        let lookup = Lookup { outcome, started: started.clone() };
        let (resolver, host) = (self.clone(), Box::<str>::from(host));
        // Its thread writes the outcome: the task's handle is not needed.
        drop(spawn_blocking(move || {
            started.store(true, Relaxed);
            let outcome = resolve(&host).map_err(Arc::new);
            let mut entries = resolver.lock();
            match &outcome {
                Ok(addresses) => entries.insert(host, Entry::Known(addresses.clone(), Instant::now() + KEEP)),
                Err(_) => entries.remove(&host),
            };
            drop(entries);
            tell.send_replace(Some(outcome));
        }));
        lookup
    }

    /// Whether a look-up of this name waits for a thread, of which this process has none left.
    pub(super) fn is_starved(&self, host: &str) -> bool {
        matches!(self.lock().get(host), Some(Entry::Pending(lookup)) if !lookup.started.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{atomic::AtomicUsize, mpsc};

    use futures_util::future::join_all;
    use tokio::time::timeout;

    use super::*;

    fn address() -> Addresses {
        [SocketAddr::from(([127, 0, 0, 1], 0))].into()
    }

    #[tokio::test]
    async fn one_lookup_serves_all_who_ask() {
        let (resolver, count) = (Resolver::default(), Arc::new(AtomicUsize::new(0)));
        let look_up = || {
            let count = count.clone();
            resolver.resolve_with("a.example", move |_| {
                count.fetch_add(1, Relaxed);
                std::thread::sleep(Duration::from_millis(20));
                Ok(address())
            })
        };
        assert!(join_all((0..20).map(|_| look_up())).await.iter().all(Result::is_ok));
        assert_eq!(look_up().await.unwrap(), address());
        assert_eq!(count.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn a_hung_name_blocks_one_thread_and_no_other_name() {
        let resolver = Resolver::default();
        let (release, hung) = mpsc::channel::<()>();
        let hung = Arc::new(Mutex::new(hung));
        for _ in 0..50 {
            let hung = hung.clone();
            let look_up = resolver.resolve_with("hung.example", move |_| {
                let _ = hung.lock().unwrap().recv();
                Ok(address())
            });
            assert!(timeout(Duration::from_millis(1), look_up).await.is_err());
        }
        assert_eq!(resolver.resolve_with("other.example", |_| Ok(address())).await.unwrap(), address());
        assert!(!resolver.is_starved("hung.example"));
        release.send(()).unwrap();
        assert!(resolver.resolve_with("hung.example", |_| Err(io::Error::other("not asked"))).await.is_ok());
    }

    #[tokio::test]
    async fn a_failed_lookup_is_not_kept() {
        let resolver = Resolver::default();
        let failed = resolver.resolve_with("a.example", |_| Err(io::Error::from_raw_os_error(24))).await;
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(24));
        assert!(resolver.resolve_with("a.example", |_| Ok(address())).await.is_ok());
    }

    #[test]
    fn a_lookup_that_waits_for_a_thread_is_starved() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let resolver = Resolver::default();
            let (release, busy) = mpsc::channel::<()>();
            drop(spawn_blocking(move || busy.recv()));
            let look_up = resolver.resolve_with("a.example", |_| Ok(address()));
            assert!(timeout(Duration::from_millis(5), look_up).await.is_err());
            assert!(resolver.is_starved("a.example"));
            release.send(()).unwrap();
        });
    }
}

//! Runs long computations outside of the runtime's worker threads.

use std::{num::NonZero, panic::resume_unwind, pin::Pin, sync::OnceLock, thread::available_parallelism};

use tokio::{runtime::Handle, sync::Semaphore, task::spawn_blocking};

/// The size in bytes from which the work on a body would delay other requests noticeably.
pub(crate) const LARGE: usize = 256 * 1024;

/// The future of work that runs on another thread.
pub(crate) type Offloaded<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Whether work on so many bytes belongs on another thread.
pub(crate) const fn is_large(bytes: usize) -> bool {
    bytes > LARGE
}

/// Runs `work` on a thread of the blocking pool. Each process runs at most as many at once as it has
/// CPUs, so that large bodies can neither fill the pool nor multiply the memory that one takes.
/// Outside of a Tokio runtime it runs in place.
pub(crate) fn offload<T, F>(work: F) -> Offloaded<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Box::pin(async move {
        if Handle::try_current().is_err() {
            return work();
        }
        // It is never closed.
        let permit = slots().acquire().await.ok();
        let done = spawn_blocking(move || {
            let value = work();
            // The permit outlives the work even where nobody waits for the result.
            drop(permit);
            value
        });
        match done.await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime shuts down and drops this task too.
                Err(_) => std::future::pending().await,
            },
        }
    })
}

/// Runs `work` on this thread while the runtime's other tasks move to another one, at most as many at once as
/// the process has CPUs. For callers that cannot wait for a future. Outside of a multi-threaded runtime nothing
/// can move, and the work runs as it is.
#[cfg(feature = "select")]
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::RuntimeFlavor;
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(|| {
            // It is never closed.
            let _permit = runtime.block_on(slots().acquire()).ok();
            work()
        }),
        _ => work(),
    }
}

fn slots() -> &'static Semaphore {
    static SLOTS: OnceLock<Semaphore> = OnceLock::new();
    SLOTS.get_or_init(|| Semaphore::new(available_parallelism().map_or(1, NonZero::get)))
}

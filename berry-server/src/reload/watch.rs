//! Watches the configuration file for changes.
//!
//! The watcher observes the folder of the file and, for a symbolic link, also the folder of its target. A watch on the
//! file itself would keep following the old inode: editors replace the file, and Kubernetes changes a link.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::reloader::Reloader;
use crate::{config::FileVersion, state::Process};

/// The time without changes after which the file is read, so that a partial write is not.
const QUIET_PERIOD: Duration = Duration::from_millis(500);

/// The shortest time between two checks of the file.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// The longest time between two checks, for file systems without notifications.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The task that watches the file. Dropping it stops the task.
#[derive(Debug)]
pub(crate) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reloads the file whenever it changes.
pub(crate) fn watch(reloader: Reloader, process: Arc<Process>, file: PathBuf) -> Watch {
    Watch(tokio::spawn(run(reloader, process, file)))
}

async fn run(reloader: Reloader, process: Arc<Process>, file: PathBuf) {
    let woken = Arc::new(Notify::new());
    let wake = woken.clone();
    let on_event = move |event: notify::Result<notify::Event>| {
        // Reading the file also causes an event, which is ignored.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            wake.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(on_event).inspect_err(|error| {
        tracing::warn!(%error, "the configuration file cannot be watched; changes are noticed up to 30 seconds late");
    });
    let mut folders = watcher.ok().map(|watcher| Folders { watcher, watched: Vec::new() });
    loop {
        // The watches are updated before the check, so that no change is missed in between.
        if let Some(folders) = &mut folders {
            folders.follow(&file);
        }
        let now = read_version(&file).await;
        if !is_new(&process, &now) {
            let _ = timeout(POLL_INTERVAL, woken.notified()).await;
            // Other files in the folder may change often, so the next check waits.
            sleep(MIN_INTERVAL).await;
            continue;
        }
        // Another reload may have read the change meanwhile.
        let now = wait_until_quiet(&file, now, &woken).await;
        if is_new(&process, &now) && reloader.reload_file("a change of the file").await.is_err() {
            // The error is logged once, not again for the same content.
            process.file_version.store(now.map(Arc::new));
        }
    }
}

fn is_new(process: &Process, now: &Option<FileVersion>) -> bool {
    process.file_version.load().as_deref() != now.as_ref()
}

/// Waits until the file has not changed for the quiet period. Changes of other files do not extend the wait.
async fn wait_until_quiet(file: &Path, mut last: Option<FileVersion>, woken: &Notify) -> Option<FileVersion> {
    let mut since = tokio::time::Instant::now();
    loop {
        let left = QUIET_PERIOD.saturating_sub(since.elapsed());
        if left.is_zero() || timeout(left, woken.notified()).await.is_err() {
            return last;
        }
        let now = read_version(file).await;
        if now != last {
            (last, since) = (now, tokio::time::Instant::now());
        }
    }
}

async fn read_version(file: &Path) -> Option<FileVersion> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || FileVersion::of(&file)).await.ok().flatten()
}

/// The watched folders.
struct Folders {
    watcher: RecommendedWatcher,
    watched: Vec<PathBuf>,
}

impl Folders {
    /// Watches the current folders of the file and its target. A folder that was replaced is watched again.
    fn follow(&mut self, file: &Path) {
        let folder = |path: &Path| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            folder.unwrap_or(Path::new(".")).canonicalize().ok()
        };
        let target = file.canonicalize().ok().and_then(|file| folder(&file));
        let mut wanted: Vec<PathBuf> = folder(file).into_iter().chain(target).collect();
        wanted.dedup();
        for gone in self.watched.iter().filter(|old| !wanted.contains(old)) {
            let _ = self.watcher.unwatch(gone);
        }
        for folder in &wanted {
            if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive)
                && !self.watched.contains(folder)
            {
                tracing::warn!(%error, folder = %folder.display(), "the folder of the configuration file cannot be watched");
            }
        }
        self.watched = wanted;
    }
}

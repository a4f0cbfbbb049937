//! The configuration's file, watched for changes.
//!
//! What is watched is the folder that the file is in, and the one that it really is in where it is a
//! link: an editor puts another file in its place, and Kubernetes turns a link elsewhere, so that a
//! watch on the file itself would go on looking at the old one.

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
use crate::{config::Seen, state::Process};

/// How long the file must have been left alone, so that one that is being written is not read.
const QUIET: Duration = Duration::from_millis(500);

/// How long nobody looks again after something was heard.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is looked at though nothing was heard of it: not all file systems tell.
const ANYWAY: Duration = Duration::from_secs(30);

/// A watch that goes on until this is dropped.
#[derive(Debug)]
pub(crate) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reloads the file whenever it has changed.
pub(crate) fn watch(reloader: Reloader, process: Arc<Process>, file: PathBuf) -> Watch {
    Watch(tokio::spawn(run(reloader, process, file)))
}

async fn run(reloader: Reloader, process: Arc<Process>, file: PathBuf) {
    let woken = Arc::new(Notify::new());
    let wake = woken.clone();
    let told = move |event: notify::Result<notify::Event>| {
        // Reading the file is an event too.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            wake.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(told).inspect_err(|error| {
        tracing::warn!(%error, "changes of the configuration's file are seen late, since it cannot be watched");
    });
    let mut folders = watcher.ok().map(|watcher| Folders { watcher, watched: Vec::new() });
    loop {
        // Before looking, so that no change falls between the two.
        if let Some(folders) = &mut folders {
            folders.follow(&file);
        }
        let now = look(&file).await;
        if !is_new(&process, &now) {
            let _ = timeout(ANYWAY, woken.notified()).await;
            // A log that is written beside it is no reason to look more often than this.
            sleep(PAUSE).await;
            continue;
        }
        // Somebody may have asked for a reload meanwhile.
        let now = settled(&file, now, &woken).await;
        if is_new(&process, &now) && reloader.reload_file("a change of the file").await.is_err() {
            // It has been told of, once.
            process.seen.store(now.map(Arc::new));
        }
    }
}

fn is_new(process: &Process, now: &Option<Seen>) -> bool {
    process.seen.load().as_deref() != now.as_ref()
}

/// Waits until the file has been left alone for long enough. Other files in the folder may change
/// as they like.
async fn settled(file: &Path, mut last: Option<Seen>, woken: &Notify) -> Option<Seen> {
    let mut since = tokio::time::Instant::now();
    loop {
        let left = QUIET.saturating_sub(since.elapsed());
        if left.is_zero() || timeout(left, woken.notified()).await.is_err() {
            return last;
        }
        let now = look(file).await;
        if now != last {
            (last, since) = (now, tokio::time::Instant::now());
        }
    }
}

async fn look(file: &Path) -> Option<Seen> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || Seen::of(&file)).await.ok().flatten()
}

/// The folders that are watched.
struct Folders {
    watcher: RecommendedWatcher,
    watched: Vec<PathBuf>,
}

impl Folders {
    /// Watches the file's folders as they are now. One that is gone, or another folder of the same
    /// name, is watched anew.
    fn follow(&mut self, file: &Path) {
        let folder = |path: &Path| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            folder.unwrap_or(Path::new(".")).canonicalize().ok()
        };
        let really = file.canonicalize().ok().and_then(|file| folder(&file));
        let mut wanted: Vec<PathBuf> = folder(file).into_iter().chain(really).collect();
        wanted.dedup();
        for gone in self.watched.iter().filter(|old| !wanted.contains(old)) {
            let _ = self.watcher.unwatch(gone);
        }
        for folder in &wanted {
            if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive)
                && !self.watched.contains(folder)
            {
                tracing::warn!(%error, folder = %folder.display(), "a folder of the configuration is not watched");
            }
        }
        self.watched = wanted;
    }
}

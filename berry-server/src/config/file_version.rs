//! The version of a file, by its metadata.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The metadata of a file, which changes whenever the file does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileVersion {
    target: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl FileVersion {
    /// Returns the version of a file, or `None` if it does not exist.
    pub(crate) fn of(file: &Path) -> Option<Self> {
        let target = file.canonicalize().ok()?;
        let metadata = target.metadata().ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self { target, modified: metadata.modified().ok(), length: metadata.len(), inode })
    }
}

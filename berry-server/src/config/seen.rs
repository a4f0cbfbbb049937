//! The file as it was when it was read.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What tells one state of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    really: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Seen {
    pub(crate) fn of(file: &Path) -> Option<Self> {
        let really = file.canonicalize().ok()?;
        let metadata = really.metadata().ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self { really, modified: metadata.modified().ok(), length: metadata.len(), inode })
    }
}

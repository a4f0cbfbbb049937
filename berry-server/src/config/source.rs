//! Reads a regular file of limited size within a time limit.
//!
//! A named pipe blocks the reader, a device never ends, and a file on a lost network share may block
//! forever. None of these may stop a start or a reload.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

/// The time limit for reading a file.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The maximum size of a configuration file, in bytes.
pub(super) const MAX_CONFIG: u64 = 16 << 20;

/// The maximum size of a file in `${file:…}` or `api_key_file`, in bytes.
pub(super) const MAX_SECRET: u64 = 64 << 10;

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// Fails when the file is not regular, is larger, cannot be read, or takes more than ten seconds. The
/// message contains a remedy but not the path.
pub(super) fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let (sender, result) = mpsc::channel();
    let path = path.to_owned();
    // A blocked read cannot be cancelled, so it stays on a separate thread.
    thread::Builder::new().name("read-config".to_owned()).spawn(move || {
        let _ = sender.send(read_regular(&path, max));
    })?;
    result.recv_timeout(TIME_LIMIT).unwrap_or_else(|_| {
        let limit = TIME_LIMIT.as_secs();
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("was not read within {limit} s; move it to a local disk")))
    })
}

fn read_regular(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    // The type is checked before the file is opened, because opening a pipe waits for its writer.
    regular(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    regular(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("is larger than {max} bytes; shorten it")));
    }
    Ok(bytes)
}

fn regular(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let message = "is not a regular file (a folder, pipe or device); name a regular file";
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Reads a secret: the trimmed text of the file.
///
/// # Errors
/// Fails as [`read`] does, or when the file is not UTF-8.
pub(crate) fn read_secret(path: &Path) -> io::Result<String> {
    let bytes = read(path, MAX_SECRET)?;
    let text = String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "is not UTF-8"))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_regular_files_of_limited_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, " sk-1\n").unwrap();
        assert_eq!(read_secret(&path).unwrap(), "sk-1");
        assert_eq!(read(&path, 6).unwrap(), b" sk-1\n");
        assert_eq!(read(&path, 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(dir.path(), 5).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(read(Path::new("/dev/zero"), 5).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_secret(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[cfg(unix)]
    #[test]
    fn rejects_a_pipe_without_waiting_for_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(read(&path, 5).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

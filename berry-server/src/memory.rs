//! How much memory the process may use.

use std::fs;

/// Assumed where the system does not tell.
const UNKNOWN: u64 = 2 << 30;

/// Returns the memory that the process may use, in bytes: the machine's, or less if its cgroup says so.
pub(crate) fn limit() -> u64 {
    let read = |path: &str| fs::read_to_string(path).ok();
    let cgroup = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = cgroup.iter().filter_map(|path| bytes(&read(path)?));
    limits.chain(read("/proc/meminfo").and_then(|text| total(&text))).min().unwrap_or(UNKNOWN)
}

/// Parses the limit of a cgroup; `max` means none.
fn bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes > 0)
}

/// Parses the total memory of `/proc/meminfo`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    bytes(line.trim().strip_suffix("kB")?).map(|kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_system_tells() {
        assert_eq!(bytes("268435456\n"), Some(268_435_456));
        assert_eq!(bytes("max\n"), None);
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert!(limit() > 0);
    }
}

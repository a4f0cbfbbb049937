//! The memory limit of the process.

use std::fs;

/// The assumed limit, in bytes, where the system does not report one.
const UNKNOWN: u64 = 2 << 30;

/// Returns the memory available to the process in bytes: that of the machine or the limit of the cgroup, whichever is
/// lower.
pub(crate) fn limit() -> u64 {
    let read = |path: &str| fs::read_to_string(path).ok();
    let cgroup = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = cgroup.iter().filter_map(|path| bytes(&read(path)?));
    limits.chain(read("/proc/meminfo").and_then(|text| total(&text))).min().unwrap_or(UNKNOWN)
}

/// Parses the limit of a cgroup. `max` means no limit.
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
    fn parses_cgroup_and_meminfo() {
        assert_eq!(bytes("268435456\n"), Some(268_435_456));
        assert_eq!(bytes("max\n"), None);
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert!(limit() > 0);
    }
}

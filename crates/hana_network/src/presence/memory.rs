//! The memory use of this process, with all code for it that differs by platform.

/// Returns the resident memory of this process in bytes.
#[cfg(target_os = "linux")]
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Returns 0, because other platforms report the resident memory only through additional crates.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn resident_bytes() -> u64 {
    0
}

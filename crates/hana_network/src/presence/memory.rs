//! How much memory this process takes; what differs by platform stands here.

/// Resident memory of this process in bytes; 0 where the platform does not tell without further crates.
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

/// Resident memory of this process in bytes; 0 where the platform does not tell without further crates.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn resident_bytes() -> u64 {
    0
}

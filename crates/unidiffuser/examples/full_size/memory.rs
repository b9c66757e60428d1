//! Memory of this process, where the system tells.

/// Highest resident memory so far, in bytes.
pub(crate) fn peak() -> u64 {
    field("VmHWM:")
}

/// Resident memory now, in bytes.
pub(crate) fn resident() -> u64 {
    field("VmRSS:")
}

/// A line of `/proc/self/status`; zero on other systems.
fn field(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kibibytes: Option<u64> =
        line.trim().strip_suffix("kB").and_then(|count| count.trim().parse().ok());
    kibibytes.unwrap_or(0) * 1024
}

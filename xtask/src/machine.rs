//! What a measurement was made on.

use std::thread::available_parallelism;

use crate::process;

/// Processors that this process may use.
pub(crate) fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Model of the processor, where the system tells.
pub(crate) fn processor() -> String {
    let linux = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let asked = || output("sysctl", &["-n", "machdep.cpu.brand_string"]);
    linux.or_else(asked).unwrap_or_else(|| "unknown processor".into())
}

/// Operating system and architecture.
pub(crate) fn system() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Version of the compiler.
pub(crate) fn rustc() -> String {
    output("rustc", &["--version"]).unwrap_or_else(|| "rustc (unknown version)".into())
}

/// Commit that is checked out, with `+` when files differ from it.
pub(crate) fn commit() -> String {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]);
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    match (commit, changed) {
        (Some(commit), Some(_)) => format!("{commit}+"),
        (Some(commit), None) => commit,
        (None, _) => "unknown".into(),
    }
}

/// Version of a dependency in `Cargo.lock`.
pub(crate) fn locked_version(package: &str) -> Option<String> {
    let lock = std::fs::read_to_string(process::root().join("Cargo.lock")).ok()?;
    version_in(&lock, package)
}

fn version_in(lock: &str, package: &str) -> Option<String> {
    let wanted = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != wanted);
    let version = lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')?;
    Some(version.to_owned())
}

/// Trimmed output of a program; nothing when it fails or says nothing.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = process::program(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        let lock = "[[package]]\nname = \"burn-core\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"burn\"\nversion = \"0.22.1\"\n";
        assert_eq!(version_in(lock, "burn").as_deref(), Some("0.22.1"));
        assert_eq!(version_in(lock, "other"), None);
    }
}

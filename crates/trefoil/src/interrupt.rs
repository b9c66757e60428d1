//! Ctrl-C and termination: the first asks for an orderly end, the second ends at once.

use anyhow::Context as _;
use trefoil_train::StopFlag;

/// Exit code of a program that was interrupted: 128 + SIGINT.
pub(crate) const EXIT_CODE: u8 = 130;

/// Installs the handler; to be called once.
pub(crate) fn watch() -> anyhow::Result<StopFlag> {
    let stop = StopFlag::default();
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.is_requested() {
            std::process::exit(i32::from(EXIT_CODE));
        }
        flag.request();
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(stop)
}

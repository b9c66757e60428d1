//! `cargo xtask fixtures`: makes the reference numbers of the tests again.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::process;

/// Scripts that write the files of the tests themselves.
const WRITERS: [&str; 12] = [
    "fixtures.py",
    "keys.py",
    "layouts.py",
    "torch_files.py",
    "layers.py",
    "resize.py",
    "storage.py",
    "convolution.py",
    "quality.py",
    "edm_torch.py",
    "edm_pickle.py",
    "inception.py",
];
/// The module that `frechet.py` prints.
const FRECHET: &str = "crates/trefoil-eval/tests/reference_data/mod.rs";
/// What stands above it.
const FRECHET_HEAD: &str = "//! Printed by `reference/frechet.py`; do not edit by hand.\n\n";

/// Run the Python scripts that make the reference numbers of the tests (about a minute)
#[derive(Debug, Args)]
#[command(after_help = "\
The packages that the scripts need are listed in reference/requirements.txt. The files are overwritten;
`git diff --stat` shows what is different.")]
pub(crate) struct FixturesArgs {
    /// Python with these packages
    #[arg(long, default_value = "python3", value_name = "PATH")]
    python: PathBuf,
}

impl FixturesArgs {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        for script in WRITERS {
            eprintln!("==> {script}");
            process::run(&mut self.python(script))?;
        }
        eprintln!("==> frechet.py");
        let source = process::read(&mut self.python("frechet.py"))?;
        let path = process::root().join(FRECHET);
        std::fs::write(&path, format!("{FRECHET_HEAD}{source}"))
            .with_context(|| format!("cannot write {}", path.display()))?;
        // Literals of crates/trefoil-train/tests/optimizer.rs: to be compared by eye.
        eprintln!("==> adamw.py");
        process::run(&mut self.python("adamw.py"))
    }

    fn python(&self, script: &str) -> std::process::Command {
        let mut command = process::program(self.python.as_os_str());
        command.arg(Path::new("reference").join(script));
        command
    }
}

//! A PostgreSQL of the test's own, where it is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A database server of the test's own, with a socket of its own.
pub(crate) struct Database {
    child: Child,
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
}

/// Where Debian keeps the programs of PostgreSQL.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    folders.filter(|folder| folder.join("initdb").is_file()).max()
}

/// As a user that PostgreSQL accepts: it does not run as root.
fn command(program: &Path) -> Command {
    let is_root = fs::metadata("/proc/self")
        .is_ok_and(|proc| std::os::unix::fs::MetadataExt::uid(&proc) == 0);
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Database {
    /// Starts one that trusts everybody; none where PostgreSQL is not installed, which is said.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(|_| Vec::new())
    }

    /// As [`Self::start`]; `prepare` gets the folder of the data before, and returns settings.
    pub(crate) fn start_with(prepare: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        let Some(bin) = programs() else {
            eprintln!(
                "skipped: 1 test of PostgreSQL, which is not installed (Debian's package `postgresql`)"
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .unwrap();
        let data = folder.path().join("data");
        let args = ["-A", "trust", "-U", "trefoil", "-D"];
        run(command(&bin.join("initdb")).args(args).arg(&data));
        let settings = prepare(&data);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = command(&bin.join("postgres"));
        server.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in
            settings.iter().map(|setting| &**setting).chain(["listen_addresses=127.0.0.1"])
        {
            server.args(["-c", setting]);
        }
        server.arg("-k").arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = server.spawn().unwrap();
        let begin = Instant::now();
        let asks = ["-q", "-h", "127.0.0.1", "-p", &port.to_string()].map(String::from);
        let is_ready =
            || Command::new(bin.join("pg_isready")).args(&asks).status().unwrap().success();
        while !is_ready() {
            assert!(begin.elapsed() < Duration::from_secs(30), "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self { child, folder, port })
    }

    pub(crate) fn address(&self) -> String {
        format!("postgres://trefoil@127.0.0.1:{}/postgres", self.port)
    }

    /// A client of its own, through its socket.
    pub(crate) fn psql(&self, sql: &str) -> Command {
        let mut command = Command::new("psql");
        command.args(["-X", "-q", "-A", "-t", "-U", "trefoil", "-d", "postgres", "-c", sql, "-h"]);
        command.arg(self.folder.path()).args(["-p", &self.port.to_string()]);
        command
    }

    /// What it answers.
    pub(crate) fn ask(&self, sql: &str) -> String {
        run(&mut self.psql(sql))
    }

    /// Ends it as `pg_ctl stop -m fast` does.
    pub(crate) fn stop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a program as the user of PostgreSQL in a folder.
pub(crate) fn in_folder(folder: &Path, program: &str, args: &[&str]) {
    run(command(Path::new(program)).current_dir(folder).args(args));
}

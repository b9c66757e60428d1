//! Two servers on one PostgreSQL, where it is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::jobs::wait;
use super::process::{Server, program};

/// A database server of the test's own, on a socket of its own.
struct Database {
    child: Child,
    folder: TempDir,
    port: u16,
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

impl Database {
    fn start() -> Option<Self> {
        let bin = programs()?;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .unwrap();
        let data = folder.path().join("data");
        let made = command(&bin.join("initdb"))
            .args(["-A", "trust", "-U", "trefoil", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = command(&bin.join("postgres"));
        server.arg("-D").arg(&data).args([
            "-p",
            &port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
        ]);
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

    fn address(&self) -> String {
        format!("postgres://trefoil@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends it as `pg_ctl stop -m fast` does.
    fn stop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn two_servers_share_what_they_know() {
    let Some(mut database) = Database::start() else {
        eprintln!(
            "skipped: 1 test of PostgreSQL, which is not installed (Debian's package `postgresql`)"
        );
        return;
    };
    let address = database.address();
    let a = Server::start(&address, &["--name", "a"]);
    let b = Server::start(&address, &["--name", "b"]);
    let recommend =
        |server: &Server, user: &str| server.post("/v1/recommend", &json!({ "user": user })).ok();
    a.post("/v1/events", &json!({ "id": "c1", "user": "ann", "item": "1F3B8" })).ok();
    a.post("/v1/items", &json!({ "items": [{ "id": "drawn", "title": "zeppelin" }] })).ok();
    let again = b.post("/v1/events", &json!({ "id": "c1", "user": "ann", "item": "1F3B8" })).ok();
    assert_eq!(again["events"][0]["is_duplicate"], true);
    // An item that the other server has just added.
    b.post("/v1/events", &json!({ "id": "c2", "user": "ann", "item": "drawn" })).ok();
    let begin = Instant::now();
    while recommend(&a, "ann") != recommend(&b, "ann") {
        assert!(begin.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(50));
    }
    // Many at once from both, each once.
    std::thread::scope(|scope| {
        for server in [&a, &b] {
            for n in 0..4 {
                scope.spawn(move || {
                    for k in 0..20 {
                        let id = format!("shared-{n}-{k}");
                        server
                            .post(
                                "/v1/events",
                                &json!({ "id": id, "user": "bob", "item": "1F34E" }),
                            )
                            .ok();
                    }
                });
            }
        }
    });
    assert_eq!(a.get("/v1/users/bob/events").ok()["events"].as_array().unwrap().len(), 80);
    a.delete("/v1/users/bob").ok();
    let begin = Instant::now();
    while recommend(&b, "bob")["user"] != "stranger" {
        assert!(begin.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(50));
    }
    let job = json!({ "task": "generations", "request": { "prompt": "x", "steps": 3, "seed": 9 } });
    let job = a.post("/v1/jobs", &job).json();
    let id = job["id"].as_str().unwrap();
    assert_eq!(wait(&b, id)["status"], "succeeded", "the other server sees it too");
    assert_eq!(b.get(&format!("/v1/jobs/{id}/result")).ok()["seed"], 9);

    // From there to a file, and the same answers.
    let expected = recommend(&a, "ann");
    let state = database.folder.path().join("restored");
    let backup = database.folder.path().join("backup");
    let (state, backup) = (state.to_str().unwrap(), backup.to_str().unwrap());
    for args in [["backup", backup, "--state", &address], ["restore", backup, "--state", state]] {
        assert!(program().arg("state").args(args).status().unwrap().success());
    }
    assert_eq!(recommend(&Server::start(state, &[]), "ann"), expected);

    // Without its database a server says so, and answers what it knows.
    database.stop();
    let refused = a.post("/v1/events", &json!({ "id": "c3", "user": "ann", "item": "1F34E" }));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(a.get("/readyz").status, 503);
    assert_eq!(recommend(&a, "ann"), expected);
}

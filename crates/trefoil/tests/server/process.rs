//! A server as a process.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;
use tempfile::TempDir;

use super::client::{Answer, try_send};

/// A model of one megabyte with random weights; its pictures are 32 pixels wide.
pub(crate) fn tiny_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../unidiffuser/tests/fixtures/hf-v1")
}

/// The recommender that comes with the repository.
pub(crate) fn shop_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/openmoji-shop")
}

/// The program, with nothing of the caller's environment that changes what it does.
pub(crate) fn program() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("trefoil"));
    let names = ["RUST_LOG", "DEVICE", "RECOMMENDER", "STATE", "BIND", "NAME", "TOKENS"];
    for name in names {
        command.env_remove(format!("TREFOIL_{name}")).env_remove(name);
    }
    command.env("TREFOIL_MODEL", tiny_model());
    command
}

/// A server that ends with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) child: Child,
}

impl Server {
    /// Starts a server with this state, and waits until it is ready.
    pub(crate) fn start(state: &str, args: &[&str]) -> Self {
        Self::try_start(
            program()
                .args(["serve", "--bind", "127.0.0.1:0", "--rate", "0"])
                .args(["--state", state])
                .args(args),
        )
        .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a server; the error is what it says.
    pub(crate) fn try_start(command: &mut Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("no output")?;
        BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        let address = line.trim().strip_prefix("http://").and_then(|text| text.parse().ok());
        let mut stderr = BufReader::new(child.stderr.take().ok_or("no errors")?);
        if let Some(address) = address {
            // Nobody reads it, and a full pipe would stop the server.
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::stderr()));
            return Ok(Self { address, child });
        }
        let mut text = String::new();
        let _ = std::io::Read::read_to_string(&mut stderr, &mut text);
        let status = child.wait().map_err(|error| error.to_string())?;
        Err(format!("{text}({status})"))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        try_send(self.address, "GET", path, &[], &[]).unwrap()
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        try_send(self.address, "DELETE", path, &[], &[]).unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body).unwrap()
    }

    pub(crate) fn try_post(&self, path: &str, body: &Value) -> std::io::Result<Answer> {
        let headers = [("Content-Type", "application/json")];
        try_send(self.address, "POST", path, &headers, body.to_string().as_bytes())
    }

    pub(crate) fn post_form(&self, path: &str, (kind, body): (String, Vec<u8>)) -> Answer {
        try_send(self.address, "POST", path, &[("Content-Type", &kind)], &body).unwrap()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(status.success());
    }

    /// Kills it as a loss of power would, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and returns how it ended.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }

    /// A number of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server for tests that change nothing of each other's. It ends with the last test that holds it: what is `static`
/// is never dropped, and the server would outlive the tests.
pub(crate) fn shared() -> Arc<Shared> {
    static SERVER: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    server.upgrade().unwrap_or_else(|| {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().to_str().unwrap();
        let new = Arc::new(Shared { server: Server::start(state, &[]), _folder: folder });
        *server = Arc::downgrade(&new);
        new
    })
}

/// A server with its state.
pub(crate) struct Shared {
    server: Server,
    _folder: TempDir,
}

impl Deref for Shared {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

//! A scheduler and two executors on this machine, each a process.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use uditsr::data::{Prepare, Queries};

use crate::assert_same;
use crate::command::trefoil_large;
use crate::options::write_log;

/// Ends a process when the test does.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trefoil-large"));
    command.args(arguments).stdout(Stdio::null()).env("RUST_LOG", "warn");
    Process(command.spawn().unwrap())
}

/// Ports that nobody listens at now.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn wait_for(port: u16) {
    let begin = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begin.elapsed() < Duration::from_mins(1), "nobody listens at port {port}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Files below a folder.
fn count_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { count_files(&path) } else { 1 }).sum()
}

#[test]
fn two_executors_prepare_a_log_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let [scheduler, first, first_control, second, second_control] = free_ports();
    let address = format!("127.0.0.1:{scheduler}");
    let _scheduler = start(&["scheduler", "--bind", &address, "--host", "127.0.0.1"]);
    wait_for(scheduler);
    let works = ["first", "second"].map(|name| folder.path().join(name));
    let _executors = [(first, first_control), (second, second_control)].map(|(port, control)| {
        let work = &works[usize::from(port == second)];
        std::fs::create_dir(work).unwrap();
        let [port_text, control_text] = [port, control].map(|port| port.to_string());
        let executor = start(&[
            "executor",
            "--scheduler",
            &address,
            "--host",
            "127.0.0.1",
            "--port",
            &port_text,
            "--control-port",
            &control_text,
            "--work",
            work.to_str().unwrap(),
            "--memory",
            "64MiB",
        ]);
        wait_for(port);
        executor
    });

    let mut prepare: Prepare = write_log(folder.path(), 21, 2000);
    prepare.options.queries = Queries::Joined;
    prepare.options.mask_queries = 0.2;
    prepare.options.core = Some(3);
    let [expected, found] = ["memory", "cluster"].map(|name| folder.path().join(name));
    prepare.run(&expected).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let options = serde_json::to_string(&prepare.options).unwrap();
    let url = format!("http://{address}");
    let output = trefoil_large(&[
        "prepare",
        &text(&prepare.logs[0]),
        "--catalog",
        &text(prepare.catalogue.as_ref().unwrap()),
        "-o",
        &text(&found),
        "--options",
        &options,
        "--work",
        &text(folder.path()),
        "--cluster",
        &url,
        "--threads",
        "4",
    ]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_same(&expected, &found, "the cluster");
    for work in &works {
        assert!(count_files(work) > 0, "{} has no results of stages", work.display());
    }
}

//! A clock that is set while the server runs.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::jobs::wait;
use super::process::{Server, program};

/// Stands before the C library of one process and moves its clock by the seconds in a file; clocks of other processes
/// and those that only count stay as they are.
const SHIFTED: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, id, now);
    FILE *file = id == CLOCK_REALTIME ? fopen(getenv("CLOCK_SHIFT"), "r") : 0;
    long seconds = 0;
    if (file && fscanf(file, "%ld", &seconds) == 1) now->tv_sec += seconds;
    if (file) fclose(file);
    return result;
}
"#;
const DAY: i64 = 24 * 3600;

#[test]
fn a_clock_that_steps_back_loses_nothing_and_changes_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("clock.c"), SHIFTED).unwrap();
    let (source, library) = (path("clock.c"), path("clock.so"));
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    assert!(compiler.status().unwrap().success());
    let shift = |seconds: i64| fs::write(path("shift"), seconds.to_string()).unwrap();
    let start = || {
        let mut command = program();
        command.args(["serve", "--bind", "127.0.0.1:0", "--rate", "1000", "--state"]);
        command.arg(path("state")).env("LD_PRELOAD", &library).env("CLOCK_SHIFT", path("shift"));
        Server::try_start(&mut command).unwrap()
    };
    let click = |server: &Server, id: &str, item: &str| {
        server.post("/v1/events", &json!({ "id": id, "user": "ann", "item": item })).ok()
    };
    let job = |server: &Server, seed: u64| -> String {
        let request = json!({ "prompt": "a lamp", "seed": seed, "steps": 3 });
        let job = server.post("/v1/jobs", &json!({ "task": "generations", "request": request }));
        job.json()["id"].as_str().unwrap().into()
    };
    let recommend = |server: &Server| server.post("/v1/recommend", &json!({ "user": "ann" })).ok();

    shift(0);
    let server = start();
    click(&server, "one", "1F3B8");
    let before = recommend(&server);
    let first = job(&server, 1);
    wait(&server, &first);
    let running = job(&server, 2);
    shift(-2 * DAY);
    let numbered = click(&server, "two", "1F34E");
    assert_eq!(numbered["events"][0]["number"], 2);
    assert_eq!(click(&server, "one", "1F3B8")["events"][0]["is_duplicate"], true);
    let after = recommend(&server);
    assert_ne!(after["hits"], before["hits"], "the click counts");
    let last = job(&server, 3);
    for (id, seed) in [(&first, 1), (&running, 2), (&last, 3)] {
        assert_eq!(wait(&server, id)["status"], "succeeded");
        assert_eq!(server.get(&format!("/v1/jobs/{id}/result")).ok()["seed"], seed);
    }
    for _ in 0..20 {
        server.post("/v1/search", &json!({ "query": "guitar" })).ok();
    }
    assert_eq!(server.metric("trefoil_events_skipped_total{model=\"recommender\"}"), 0.0);
    let check = |server: &Server| {
        let history = server.get("/v1/users/ann/events").ok()["events"].clone();
        let of = |key: &str| -> Vec<Value> {
            history.as_array().unwrap().iter().map(|event| event[key].clone()).collect()
        };
        assert_eq!(of("id"), ["one", "two"], "the order is that of acceptance, not of the clock");
        let times: Vec<i64> = of("time").iter().map(|time| time.as_i64().unwrap()).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        assert!(
            (now - times[0]).abs() < 300 && (now - 2 * DAY - times[1]).abs() < 300,
            "{times:?}"
        );
        assert_eq!(recommend(server), after);
        assert_eq!(server.get("/v1/jobs").ok()["jobs"].as_array().unwrap().len(), 3);
    };
    check(&server);
    server.kill();
    check(&start());
    shift(-30 * 365 * DAY);
    check(&start());
}

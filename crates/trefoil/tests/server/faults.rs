//! Disks, files and clocks that fail.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::process::{Server, program};

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let state = state.to_str().unwrap();
    let server = Server::start(state, &[]);
    server.post("/v1/events", &json!({ "id": "first", "user": "ann", "item": "1F3B8" })).ok();
    assert_eq!(server.stop(), Some(0));
    let size = fs::metadata(format!("{state}/state.redb")).unwrap().len();
    // No file may grow beyond a little more than the database has now, until there is room; the signal for it is ignored,
    // as a full disk has none.
    let mut limited = Command::new("sh");
    let blocks = size / 512 + 16;
    limited.arg("-c").arg(format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\""));
    limited.arg(program().get_program());
    for (name, value) in program().get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.args(["serve", "--bind", "127.0.0.1:0", "--rate", "0", "--state", state]);
    let server = Server::try_start(&mut limited).unwrap();
    let mut accepted = vec!["first".to_owned()];
    let mut refused = 0;
    for n in 0..400 {
        let id = format!("e{n}");
        let long = "q".repeat(1900);
        let events: Vec<_> = (0..20)
            .map(|k| json!({ "id": format!("{id}-{k}"), "user": "bob", "item": "1F3B8", "query": long }))
            .collect();
        let answer = server.post("/v1/events", &json!({ "events": events }));
        match answer.status {
            200 => accepted.extend((0..20).map(|k| format!("{id}-{k}"))),
            503 => {
                assert!(
                    answer.message().contains("the database is not available"),
                    "{}",
                    answer.message()
                );
                assert!(answer.header("retry-after").is_some());
                refused += 1;
            }
            other => panic!("{other}: {}", answer.text()),
        }
        if refused > 5 {
            break;
        }
    }
    assert!(refused > 5, "the disk was never full: {} events", accepted.len());
    // It still answers.
    server.post("/v1/search", &json!({ "query": "guitar" })).ok();
    // Room makes it work again, without a restart.
    let id = server.child.id().to_string();
    let room = Command::new("prlimit").args(["--pid", &id, "--fsize=unlimited"]).status().unwrap();
    assert!(room.success());
    let begin = Instant::now();
    let again = json!({ "id": "with room", "user": "bob", "item": "1F3B8" });
    while server.post("/v1/events", &again).status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(50));
    }
    accepted.push("with room".into());
    server.kill();
    let server = Server::start(state, &[]);
    for id in &accepted {
        let again = json!({ "id": id, "user": "bob", "item": "1F3B8" });
        let again = server.post("/v1/events", &again).ok();
        assert_eq!(again["events"][0]["is_duplicate"], true, "{id}");
    }
}

#[test]
fn a_database_that_is_damaged_or_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let start =
        || Server::try_start(program().args(["serve", "--bind", "127.0.0.1:0", "--state", state]));
    let server = start().unwrap();
    for n in 0..50 {
        server.post("/v1/events", &json!({ "user": format!("user-{n}"), "item": "1F3B8" })).ok();
    }
    let second = start().err().unwrap();
    assert!(
        second.contains("state.redb") && second.contains("in use by another process"),
        "{second}"
    );
    assert_eq!(server.stop(), Some(0));
    let path = folder.path().join("state.redb");
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for part in 1..20 {
        let mut bytes = whole.clone();
        let at = bytes.len() * part / 20;
        let end = (at + 4096).min(bytes.len());
        bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(&path, &bytes).unwrap();
        match start() {
            Err(text) => {
                assert!(text.contains("state.redb") && text.contains("exit status: 2"), "{text}");
                refused += 1;
            }
            // Pages that are not in use.
            Ok(server) => {
                server.post("/v1/search", &json!({ "query": "guitar" })).ok();
                assert_eq!(
                    server.get("/v1/users/user-7/events").ok()["events"].as_array().unwrap().len(),
                    1
                );
            }
        }
    }
    assert!(refused > 0);
    fs::write(&path, &whole[..whole.len() / 3]).unwrap();
    assert!(start().err().unwrap().contains("state.redb"));
}

#[test]
fn the_shipped_models_answer_within_five_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program();
    command.env_remove("TREFOIL_MODEL").args(["serve", "--bind", "127.0.0.1:0"]);
    command.args(["--state", folder.path().to_str().unwrap()]);
    let clock = Instant::now();
    let server = Server::try_start(&mut command).unwrap();
    server.get("/readyz").ok();
    let found = server.post("/v1/search", &json!({ "query": "guitar", "k": 1 })).ok();
    assert_eq!(found["hits"][0]["item"], "1F3B8");
    let ready = clock.elapsed();
    let models = server.get("/v1/models").ok();
    assert_eq!(models["data"][0]["name"], "openmoji-32");
    // Many tests run beside this one; alone on two cores it takes about a second.
    assert!(ready < Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 20 }), "{ready:?}");
    let drawn =
        server.post("/v1/images/generations", &json!({ "prompt": "a red apple", "seed": 7 })).ok();
    assert!(drawn["data"][0]["b64_json"].as_str().unwrap().len() > 500);
}

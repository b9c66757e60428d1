//! What was acknowledged survives.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::jobs::wait;
use super::process::{Server, program};

/// Times that the server is killed.
const ROUNDS: usize = 6;
/// Clients that send events.
const CLIENTS: usize = 4;
const ITEMS: [&str; 4] = ["1F3B8", "1F3B9", "1F34E", "1F680"];

#[test]
fn a_kill_under_load_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let events = Mutex::new(HashSet::new());
    let jobs: Mutex<Vec<(String, u64)>> = Mutex::default();
    let (sent, duplicates) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for round in 0..ROUNDS {
        let server = Server::start(state, &[]);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (server, events, is_over, sent, duplicates) =
                    (&server, &events, &is_over, &sent, &duplicates);
                scope.spawn(move || {
                    for n in 0.. {
                        if is_over.load(Ordering::Relaxed) {
                            return;
                        }
                        let user = format!("user-{client}");
                        let ids: Vec<String> = (0..=n % 3).map(|k| format!("{round}-{client}-{n}-{k}")).collect();
                        let batch: Vec<_> = ids
                            .iter()
                            .map(|id| json!({ "id": id, "user": user, "item": ITEMS[n % 4], "time": n }))
                            .collect();
                        sent.fetch_add(ids.len(), Ordering::Relaxed);
                        let Ok(answer) = server.try_post("/v1/events", &json!({ "events": batch })) else { continue };
                        if answer.status == 200 {
                            for one in answer.json()["events"].as_array().unwrap() {
                                duplicates.fetch_add(usize::from(one["is_duplicate"] == true), Ordering::Relaxed);
                            }
                            events.lock().unwrap().extend(ids.into_iter().map(|id| (client, id)));
                        }
                    }
                });
            }
            let (server, jobs, is_over) = (&server, &jobs, &is_over);
            scope.spawn(move || {
                for n in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let seed = (1000 * round + n) as u64;
                    let request = json!({ "prompt": "a lamp", "seed": seed, "steps": 3 });
                    let job = json!({ "task": "generations", "request": request });
                    let Ok(answer) = server.try_post("/v1/jobs", &job) else { continue };
                    if answer.status == 202 {
                        jobs.lock()
                            .unwrap()
                            .push((answer.json()["id"].as_str().unwrap().into(), seed));
                    }
                    std::thread::sleep(Duration::from_millis(30));
                }
            });
            // A moment that is different each time.
            std::thread::sleep(Duration::from_millis(300 + 97 * round as u64));
            // A busy machine takes longer to have something that can be lost.
            let latest = Instant::now() + Duration::from_secs(30);
            let is_enough = || {
                let events = events.lock().unwrap().len() > 50 * (round + 1);
                events && jobs.lock().unwrap().len() > round + 1
            };
            while !is_enough() && Instant::now() < latest {
                std::thread::sleep(Duration::from_millis(5));
            }
            server.signal("KILL");
            is_over.store(true, Ordering::Relaxed);
        });
    }
    let server = Server::start(state, &[]);
    let events = events.into_inner().unwrap();
    assert!(events.len() > 50 * ROUNDS, "{} of {}", events.len(), sent.load(Ordering::Relaxed));
    assert_eq!(duplicates.load(Ordering::Relaxed), 0);
    // Sent again, every one of them is known already; a history has the latest thousand only.
    for (client, id) in &events {
        let again = json!({ "id": id, "user": format!("user-{client}"), "item": ITEMS[0] });
        assert_eq!(
            server.post("/v1/events", &again).ok()["events"][0]["is_duplicate"],
            true,
            "{id}"
        );
    }
    let jobs = jobs.into_inner().unwrap();
    assert!(jobs.len() > ROUNDS, "{}", jobs.len());
    for (id, seed) in &jobs {
        let job = wait(&server, id);
        assert_eq!(job["status"], "succeeded", "{job}");
        assert_eq!(server.get(&format!("/v1/jobs/{id}/result")).ok()["seed"], *seed);
    }
    eprintln!("{} events and {} jobs survived {ROUNDS} kills", events.len(), jobs.len());
}

#[test]
fn a_backup_of_a_running_server_is_restored_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let server = Server::start(&path("a"), &[]);
    for n in 0..20 {
        let event =
            json!({ "id": format!("e{n}"), "user": "ann", "item": ITEMS[n % 4], "time": n });
        server.post("/v1/events", &event).ok();
    }
    let answer = |server: &Server| server.post("/v1/recommend", &json!({ "user": "ann" })).ok();
    let before = answer(&server);
    std::fs::write(path("running.backup"), server.get("/v1/backup").body).unwrap();
    let run = |args: &[&str]| Command::output(program().arg("state").args(args)).unwrap();
    let busy = run(&["backup", &path("x.backup"), "--state", &path("a")]);
    let text = String::from_utf8_lossy(&busy.stderr).into_owned();
    assert!(
        busy.status.code() == Some(2)
            && text.contains("in use by another process")
            && text.contains("/v1/backup"),
        "{text}"
    );
    assert!(!folder.path().join("x.backup").exists());
    assert_eq!(server.stop(), Some(0));
    assert!(run(&["backup", &path("stopped.backup"), "--state", &path("a")]).status.success());
    for name in ["running", "stopped"] {
        let (backup, state) = (path(&format!("{name}.backup")), path(name));
        assert!(run(&["restore", &backup, "--state", &state]).status.success());
        assert_eq!(answer(&Server::start(&state, &[])), before);
        let again = run(&["restore", &backup, "--state", &state]);
        assert!(String::from_utf8_lossy(&again.stderr).contains("is not empty"));
    }
}

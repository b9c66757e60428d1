//! Several servers on one PostgreSQL, and what they do when it fails.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::database::Database;
use super::jobs::wait;
use super::process::{Server, program};

/// A new database is made by one of those that open it together.
#[test]
fn many_open_an_empty_database_at_once() {
    let Some(database) = Database::start() else { return };
    for round in 0..5 {
        let begin = |n| {
            let file = database.folder.path().join(format!("backup-{round}-{n}"));
            let mut command = program();
            command.args(["state", "backup"]).arg(file).args(["--state", &database.address()]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let programs: Vec<_> = (0..6).map(begin).collect();
        for program in programs {
            let output = program.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        database.ask("drop table trefoil cascade");
    }
}

#[test]
fn two_servers_share_what_they_know() {
    let Some(mut database) = Database::start() else { return };
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

#[test]
fn a_database_that_is_locked_or_silent_is_said_and_loses_nothing() {
    let Some(database) = Database::start() else { return };
    let server = Server::start(&database.address(), &["--timeout", "1", "--body-timeout", "1"]);
    let event = |id: &str| json!({ "id": id, "user": "ann", "item": "1F3B8" });
    server.post("/v1/events", &event("first")).ok();
    let search = || server.post("/v1/search", &json!({ "query": "guitar" })).ok();

    // Somebody else locks the table.
    let sql = "begin; lock table trefoil in access exclusive mode; select pg_sleep(60)";
    let mut lock = database.psql(sql).stdout(Stdio::null()).spawn().unwrap();
    let held = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' \
                and relation = 'trefoil'::regclass and granted";
    while database.ask(held) != "1" {
        std::thread::sleep(Duration::from_millis(20));
    }
    let clock = Instant::now();
    let refused = server.post("/v1/events", &event("locked"));
    assert!([503, 504].contains(&refused.status), "{}", refused.text());
    assert!(clock.elapsed() < Duration::from_secs(10), "{:?}", clock.elapsed());
    search();
    database.ask(
        "select pg_terminate_backend(pid) from pg_stat_activity where query like 'begin; lock%'",
    );
    lock.wait().unwrap();
    server.post("/v1/events", &event("after the lock")).ok();

    // The connections are there, and nobody answers.
    let pids = database.ask(
        "select string_agg(pid::text, ' ') from pg_stat_activity where application_name = 'trefoil'",
    );
    let signal = |name: &str| {
        assert!(Command::new("kill").arg(name).args(pids.split(' ')).status().unwrap().success());
    };
    signal("-STOP");
    let clock = Instant::now();
    let refused = server.post("/v1/events", &event("silent"));
    assert_eq!(refused.status, 504, "{}", refused.text());
    assert!(clock.elapsed() < Duration::from_secs(8), "{:?}", clock.elapsed());
    search();
    signal("-CONT");
    // Whatever became of those that were not acknowledged, sent again they are there once.
    for id in ["locked", "silent"] {
        server.post("/v1/events", &event(id)).ok();
    }
    let events = server.get("/v1/users/ann/events").ok()["events"].clone();
    let mut ids: Vec<_> =
        events.as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["after the lock", "first", "locked", "silent"]);
}

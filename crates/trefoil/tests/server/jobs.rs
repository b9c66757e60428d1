//! Requests whose results are fetched later.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::try_send;
use super::process::Server;

/// Waits until a job has ended.
pub(crate) fn wait(server: &Server, id: &str) -> Value {
    let begin = Instant::now();
    loop {
        let job = server.get(&format!("/v1/jobs/{id}")).ok();
        if !["queued", "running"].contains(&job["status"].as_str().unwrap()) {
            return job;
        }
        assert!(begin.elapsed() < Duration::from_mins(1), "{job}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn begin(server: &Server, request: &Value) -> String {
    let answer = server.post("/v1/jobs", &json!({ "task": "generations", "request": request }));
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_job_tells_how_far_it_is_and_has_the_result_of_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path().to_str().unwrap(), &[]);
    let request = json!({ "prompt": "a red apple", "seed": 5, "n": 2, "steps": 30 });
    let id = begin(&server, &request);
    let path = format!("/v1/jobs/{id}/events");
    let stream = try_send(server.address, "GET", &path, &[], &[]).unwrap();
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let text = stream.text();
    let events: Vec<(&str, Value)> = text
        .split("\n\n")
        .filter_map(|event| {
            let name = event.strip_prefix("event: ")?.lines().next()?;
            let data = event.split_once("data: ")?.1;
            Some((name, serde_json::from_str(data).ok()?))
        })
        .collect();
    let (last, rest) = events.split_last().unwrap();
    assert_eq!((last.0, &last.1["status"]), ("end", &json!("succeeded")), "{text}");
    let progress: Vec<f64> =
        rest.iter().map(|(_, data)| data["progress"].as_f64().unwrap()).collect();
    assert!(
        progress.len() > 1 && progress.windows(2).all(|pair| pair[0] <= pair[1]),
        "{progress:?}"
    );
    let previews: Vec<usize> =
        rest.iter().map(|(_, data)| data["previews"].as_array().unwrap().len()).collect();
    assert!(previews.contains(&2), "{previews:?}");
    let result = server.get(&format!("/v1/jobs/{id}/result")).ok();
    assert_eq!(result["data"], server.post("/v1/images/generations", &request).ok()["data"]);
    // Whoever comes later sees the end at once.
    let late = try_send(server.address, "GET", &path, &[], &[]).unwrap().text();
    assert!(late.starts_with("event: end\n"), "{late}");
    assert_eq!(server.get("/v1/jobs").ok()["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(server.delete(&format!("/v1/jobs/{id}")).status, 204);
    assert_eq!(server.get(&format!("/v1/jobs/{id}/result")).status, 404);
}

#[test]
fn a_job_can_be_cancelled_and_what_is_wrong_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path().to_str().unwrap(), &["--batch", "1"]);
    let id = begin(&server, &json!({ "prompt": "slow", "n": 10, "steps": 250 }));
    // Another waits behind it, with other settings.
    let behind = begin(&server, &json!({ "prompt": "slow", "n": 10, "steps": 249 }));
    let clock = Instant::now();
    let cancelled = server.post(&format!("/v1/jobs/{behind}/cancel"), &json!({})).ok();
    assert_eq!(cancelled["status"], "cancelled");
    assert!(clock.elapsed() < Duration::from_secs(5), "{:?}", clock.elapsed());
    assert_eq!(server.get(&format!("/v1/jobs/{id}/result")).status, 409);
    assert_eq!(server.delete(&format!("/v1/jobs/{id}")).status, 409);
    let clock = Instant::now();
    let cancelled = server.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).ok();
    assert_eq!(cancelled["status"], "cancelled");
    assert!(clock.elapsed() < Duration::from_secs(10), "{:?}", clock.elapsed());
    assert_eq!(server.get(&format!("/v1/jobs/{id}/result")).status, 409);
    for (request, part) in [
        (json!({ "task": "paint", "request": {} }), "expected one of `generations`, `variations`"),
        (json!({ "task": "generations", "request": { "prompt": "x", "steps": 0 } }), "`steps`"),
        (json!({ "task": "generations", "request": 7 }), "invalid type"),
    ] {
        let answer = server.post("/v1/jobs", &request);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.message().contains(part), "{}", answer.message());
    }
    for path in ["/v1/jobs/none", "/v1/jobs/none/result", "/v1/jobs/none/events"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

#[test]
fn what_had_not_ended_goes_on_with_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let server = Server::start(state, &[]);
    let requests: Vec<Value> =
        (0..3).map(|seed| json!({ "prompt": "a lamp", "seed": seed, "steps": 120 })).collect();
    let ids: Vec<String> = requests.iter().map(|request| begin(&server, request)).collect();
    server.kill();
    let server = Server::start(state, &[]);
    for (id, request) in ids.iter().zip(&requests) {
        assert_eq!(wait(&server, id)["status"], "succeeded");
        let result = server.get(&format!("/v1/jobs/{id}/result")).ok();
        assert_eq!(result["data"], server.post("/v1/images/generations", request).ok()["data"]);
    }
}

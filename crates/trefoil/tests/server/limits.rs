//! Too much, too slow, and gone.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{read, try_send};
use super::process::Server;

/// Waits for something to become true.
#[track_caller]
fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_true() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn slow() -> Value {
    json!({ "prompt": "slow", "n": 10, "steps": 250 })
}

/// Sends a request and returns the connection without waiting for the answer.
fn begin(server: &Server, path: &str, request: &Value) -> TcpStream {
    let body = request.to_string();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        server.address,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[test]
fn a_full_queue_says_so_and_a_client_that_leaves_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path().to_str().unwrap(), &["--queue", "2", "--batch", "1"]);
    let path = "/v1/images/generations";
    let first = begin(&server, path, &slow());
    eventually("the first runs", || server.metric("trefoil_queue_running") == 1.0);
    // Others that cannot share its batch.
    let others: Vec<TcpStream> = (0..2)
        .map(|n| begin(&server, path, &json!({ "prompt": "x", "n": 10, "steps": 200 + n })))
        .collect();
    eventually("two wait", || server.metric("trefoil_queue_waiting") == 2.0);
    let answer = server.post(path, &json!({ "prompt": "x", "steps": 2 }));
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(
        (&answer.json()["error"]["code"], &answer.json()["error"]["waiting"]),
        (&json!("queue_full"), &json!(2))
    );
    // Searches do not wait behind pictures.
    let clock = Instant::now();
    server.post("/v1/search", &json!({ "query": "guitar" })).ok();
    assert!(clock.elapsed() < Duration::from_secs(2), "{:?}", clock.elapsed());
    drop((first, others));
    let clock = Instant::now();
    eventually("the queue is empty", || {
        server.metric("trefoil_queue_running") == 0.0
            && server.metric("trefoil_queue_waiting") == 0.0
            || server.post(path, &json!({ "prompt": "x", "steps": 2 })).status == 200
    });
    assert!(clock.elapsed() < Duration::from_secs(15), "{:?}", clock.elapsed());
    server.post(path, &json!({ "prompt": "x", "steps": 2 })).ok();
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path().to_str().unwrap(), &["--body", "1"]);
    let long = vec![b' '; (1 << 20) + 1];
    let headers = [("Content-Type", "application/json")];
    let answer = try_send(server.address, "POST", "/v1/search", &headers, &long).unwrap();
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert_eq!(answer.message(), "the body is longer than 1048576 bytes");
    // One that does not say how long it is.
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = format!(
        "POST /v1/search HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        server.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..20 {
        if stream
            .write_all(b"10000\r\n")
            .and_then(|()| stream.write_all(&vec![b' '; 0x10000]))
            .is_err()
        {
            break;
        }
        let _ = stream.write_all(b"\r\n");
    }
    assert_eq!(read(stream).map_or(413, |answer| answer.status), 413);
    server.post("/v1/search", &json!({ "query": "guitar" })).ok();
}

#[test]
fn slow_and_silent_clients_do_not_keep_others_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path().to_str().unwrap(), &["--connections", "60"]);
    // Half a head, nothing at all, a closed half, and half a body.
    let mut silent = Vec::new();
    for n in 0..40 {
        let mut stream = TcpStream::connect(server.address).unwrap();
        match n % 4 {
            0 => stream.write_all(b"POST /v1/search HTTP/1.1\r\nHost: localho").unwrap(),
            1 => {}
            2 => stream.shutdown(Shutdown::Write).unwrap(),
            _ => stream
                .write_all(b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
                .unwrap(),
        }
        silent.push(stream);
    }
    let clock = Instant::now();
    for _ in 0..20 {
        server.post("/v1/search", &json!({ "query": "guitar" })).ok();
    }
    assert!(clock.elapsed() < Duration::from_secs(10), "{:?}", clock.elapsed());
    // Who sent no whole head is cut off.
    let mut first = silent.remove(0);
    first.set_read_timeout(Some(Duration::from_secs(25))).unwrap();
    let mut rest = Vec::new();
    let _ = first.read_to_end(&mut rest);
    let waited = clock.elapsed();
    assert!(waited > Duration::from_secs(5) && waited < Duration::from_secs(24), "{waited:?}");
    eventually("those without a head are gone", || server.metric("trefoil_connections") < 15.0);
}

#[test]
fn a_body_that_comes_too_slowly_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path().to_str().unwrap(), &["--body-timeout", "1"]);
    let clock = Instant::now();
    for (kind, path, pause) in [
        ("application/json", "/v1/search", 0),
        ("application/json", "/v1/events", 150),
        ("multipart/form-data; boundary=b", "/v1/captions", 150),
    ] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n{{",
            server.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A sign of life now and then makes it no better.
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(pause));
            let _ = stream.write_all(b" ");
        }
        let answer = read(stream).unwrap();
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (408, Some("slow_body"))
        );
    }
    assert!(clock.elapsed() < Duration::from_secs(10), "{:?}", clock.elapsed());
}

#[test]
fn who_does_not_read_answers_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path().to_str().unwrap(), &["--connections", "40"]);
    // More than the buffers of both sides hold, asked for and never read.
    let greedy: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
            for _ in 0..400 {
                let head =
                    format!("GET /openapi.json HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
                if stream.write_all(head.as_bytes()).is_err() {
                    break;
                }
            }
            stream
        })
        .collect();
    let clock = Instant::now();
    for _ in 0..20 {
        server.post("/v1/search", &json!({ "query": "guitar" })).ok();
    }
    assert!(clock.elapsed() < Duration::from_secs(5), "{:?}", clock.elapsed());
    assert!(server.metric("trefoil_process_resident_memory_bytes") < 1e9);
    drop(greedy);
    eventually("they are gone", || server.metric("trefoil_connections") < 3.0);
}

#[test]
fn what_takes_too_long_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        Server::start(folder.path().to_str().unwrap(), &["--timeout", "1", "--batch", "1"]);
    let clock = Instant::now();
    let answer = server.post("/v1/images/generations", &slow());
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(clock.elapsed() < Duration::from_secs(6), "{:?}", clock.elapsed());
    eventually("it has stopped", || server.metric("trefoil_queue_running") == 0.0);
}

#[test]
fn a_server_that_stops_finishes_what_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path().to_str().unwrap(), &[]);
    let request = json!({ "prompt": "a lamp", "seed": 3, "steps": 60 });
    let expected = server.post("/v1/images/generations", &request).ok()["data"].clone();
    let stream = begin(&server, "/v1/images/generations", &request);
    eventually("it runs", || {
        server.metric("trefoil_queue_running") == 1.0
            || server.metric("trefoil_samples_total") > 1.0
    });
    server.signal("TERM");
    let answer = read(stream).unwrap();
    assert_eq!(answer.ok()["data"], expected);
    let mut server = server;
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(server.address).is_err());
}

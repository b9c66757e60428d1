//! Tokens, scopes, rates, origins.

use std::fs;

use serde_json::json;

use super::client::{Answer, try_send};
use super::process::{Server, program};

const READ: &str = "0123456789abcdef-read";
const WRITE: &str = "0123456789abcdef-write";

fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut all = vec![("Content-Type", "application/json")];
    all.extend(headers);
    try_send(server.address, method, path, &all, body.as_bytes()).unwrap()
}

#[test]
fn a_token_opens_what_its_scope_allows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    fs::write(&file, format!("# of the test\nweb read {READ}\nimport read-write {WRITE}\n"))
        .unwrap();
    let state = folder.path().join("state");
    let state = state.to_str().unwrap();
    let made =
        program().args(["state", "token", "add", "kept", "--state", state]).output().unwrap();
    let secret = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert!(secret.starts_with("tf_") && secret.len() == 51, "{secret}");
    let server = Server::start(state, &["--tokens", file.to_str().unwrap()]);
    let bearer = |secret: &str| format!("Bearer {secret}");
    let event = json!({ "user": "u", "item": "1F3B8" }).to_string();
    let search = json!({ "query": "guitar" }).to_string();
    for (secret, method, path, body, status) in [
        ("", "POST", "/v1/search", &search, 401),
        ("wrong", "POST", "/v1/search", &search, 401),
        (READ, "POST", "/v1/search", &search, 200),
        (&*secret, "POST", "/v1/search", &search, 200),
        (READ, "POST", "/v1/events", &event, 403),
        (WRITE, "POST", "/v1/events", &event, 200),
        (READ, "DELETE", "/v1/users/u", &String::new(), 403),
        (READ, "GET", "/v1/users/u/events", &String::new(), 403),
        (READ, "GET", "/v1/backup", &String::new(), 403),
        (WRITE, "GET", "/v1/backup", &String::new(), 200),
        ("", "GET", "/metrics", &String::new(), 401),
        (READ, "GET", "/metrics", &String::new(), 200),
        ("", "GET", "/livez", &String::new(), 200),
        ("", "GET", "/openapi.json", &String::new(), 200),
        ("", "GET", "/", &String::new(), 200),
    ] {
        let header = bearer(secret);
        let headers: &[(&str, &str)] =
            if secret.is_empty() { &[] } else { &[("Authorization", &header)] };
        let answer = ask(&server, method, path, headers, body);
        assert_eq!(answer.status, status, "{secret} {method} {path}: {}", answer.text());
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    // One's own jobs, and all of them for who may write.
    let job =
        json!({ "task": "generations", "request": { "prompt": "x", "steps": 2 } }).to_string();
    let read = bearer(READ);
    let made = ask(&server, "POST", "/v1/jobs", &[("Authorization", &read)], &job).json();
    let path = format!("/v1/jobs/{}", made["id"].as_str().unwrap());
    for (secret, status) in [(READ, 200), (&*secret, 404), (WRITE, 200)] {
        let answer = ask(&server, "GET", &path, &[("Authorization", &bearer(secret))], "");
        assert_eq!(answer.status, status);
    }
    server.kill();
    let list = program().args(["state", "token", "list", "--state", state]).output().unwrap();
    assert_eq!(String::from_utf8(list.stdout).unwrap(), "kept\tread\n");
    let removed = program().args(["state", "token", "remove", "kept", "--state", state]).status();
    assert_eq!(removed.unwrap().code(), Some(0));
    let again = program().args(["state", "token", "remove", "kept", "--state", state]).status();
    assert_eq!(again.unwrap().code(), Some(1));
    // No secret is anywhere on the disk.
    let bytes = fs::read(folder.path().join("state/state.redb")).unwrap();
    assert!(!bytes.windows(20).any(|window| window == &secret.as_bytes()[3..23]));
}

#[test]
fn an_address_that_others_can_reach_needs_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let args = ["serve", "--bind", "0.0.0.0:0", "--state", state];
    let refused = Server::try_start(program().args(args)).err().unwrap();
    assert!(
        refused.contains("can be reached from other machines, and there is no token"),
        "{refused}"
    );
    assert!(
        refused.contains("--allow-everybody") && refused.contains("exit status: 2"),
        "{refused}"
    );
    let server =
        Server::try_start(program().args(args).env("TREFOIL_TOKENS", format!("web read {READ}")));
    assert_eq!(ask(&server.unwrap(), "GET", "/v1/models", &[], "").status, 401);
    let server = Server::try_start(program().args(args).arg("--allow-everybody"));
    assert_eq!(ask(&server.unwrap(), "GET", "/v1/models", &[], "").status, 200);
    let bad = Server::try_start(
        program().args(args).env("TREFOIL_TOKENS", "web all secret-secret-secret"),
    );
    let bad = bad.err().unwrap();
    assert!(bad.contains("line 1") && !bad.contains("secret-secret"), "{bad}");
}

#[test]
fn who_asks_too_often_waits() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let command = ["serve", "--bind", "127.0.0.1:0", "--state", state, "--rate", "3"];
    let server = Server::try_start(program().args(command)).unwrap();
    let statuses: Vec<u16> = (0..12).map(|_| server.get("/v1/models").status).collect();
    assert_eq!(statuses[..6], [200; 6], "{statuses:?}");
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!(refused >= 3, "{statuses:?}");
    let answer =
        (0..20).map(|_| server.get("/v1/models")).find(|answer| answer.status == 429).unwrap();
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.json()["error"]["code"], "rate_limit");
    assert_eq!(server.get("/livez").status, 200, "health is not counted");
}

#[test]
fn pages_of_others_may_not_ask() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let server = Server::start(state, &["--cors", "https://shop.example"]);
    let host = server.address.to_string();
    for (headers, status) in [
        (vec![("Origin", "https://evil.example")], 403),
        (vec![("Origin", "https://shop.example")], 200),
        (vec![("Host", "rebound.example")], 403),
        (vec![("Host", "localhost:1234")], 200),
        (vec![("Host", &*host)], 200),
        (vec![("Host", "[::1]:8080")], 200),
    ] {
        let answer = ask(&server, "GET", "/v1/models", &headers, "");
        assert_eq!(answer.status, status, "{headers:?}");
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed.is_some(), headers[0].1 == "https://shop.example", "{headers:?}");
    }
    let own = format!("http://{host}");
    assert_eq!(ask(&server, "GET", "/v1/models", &[("Origin", &own)], "").status, 200);
    let preflight =
        ask(&server, "OPTIONS", "/v1/search", &[("Origin", "https://shop.example")], "");
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, POST, DELETE"));
}

#[test]
fn the_log_has_no_prompts_and_no_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let log = folder.path().join("log");
    let mut command = program();
    command.args(["serve", "--bind", "127.0.0.1:0", "--state", state]);
    command.env("TREFOIL_TOKENS", format!("web read-write {WRITE}")).env("RUST_LOG", "debug");
    command.stdout(std::process::Stdio::piped()).stderr(fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    let address = line.trim().strip_prefix("http://").unwrap().parse().unwrap();
    let bearer = format!("Bearer {WRITE}");
    let headers = [
        ("Content-Type", "application/json"),
        ("Authorization", &*bearer),
        ("X-Request-Id", "the-id-9"),
    ];
    for (path, body) in [
        ("/v1/images/generations", "{\"prompt\":\"confidential apple\",\"steps\":2}"),
        ("/v1/search", "{\"query\":\"confidential guitar\"}"),
        ("/v1/search", "{\"query\":7,\"confidential\":1}"),
    ] {
        try_send(address, "POST", path, &headers, body.as_bytes()).unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("the-id-9") && text.contains("/v1/images/generations"), "{text}");
    assert!(!text.contains("confidential") && !text.contains(WRITE), "{text}");
}

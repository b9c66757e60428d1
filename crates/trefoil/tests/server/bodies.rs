//! Bodies that are not what they should be, at every address that takes one.

use serde_json::{Value, json};

use super::client::try_send;
use super::process::Server;

const JSON: &str = "application/json";
const FORM: &str = "multipart/form-data; boundary=b";

/// Bodies with their types.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let deep = [b"[".repeat(50_000), b"]".repeat(50_000)].concat();
    let wide = format!("{{\"{}\":1}}", "k".repeat(1 << 18));
    let mut bodies: Vec<(&str, Vec<u8>)> = [
        &b""[..],
        b"{",
        b"null",
        b"true",
        b"7",
        b"[]",
        b"[{}]",
        b"\"x\"",
        b"{}}",
        b"\0",
        b"\xff\xfe",
        b"{\"prompt\":\"\xff\"}",
        b"{\"n\":1e999}",
        b"{\"n\":-1,\"k\":-1}",
        b"{\"\":\"\"}",
        b"{\"unknown\":1}",
        b"{\"k\":18446744073709551616}",
        b"{\"prompt\":\"\\ud800\"}",
        b"{\"prompt\":\"a\\u0000b\",\"n\":0}",
    ]
    .iter()
    .map(|body| (JSON, body.to_vec()))
    .collect();
    bodies.push((JSON, deep));
    bodies.push((JSON, wide.into_bytes()));
    let fields = [
        "prompt",
        "query",
        "user",
        "item",
        "image",
        "images",
        "mask",
        "input",
        "events",
        "items",
        "task",
        "request",
        "n",
        "k",
        "steps",
        "seed",
        "guidance",
        "filter",
        "history",
        "diversity",
        "weights",
        "id",
        "folder",
    ];
    // Each field that there is, as what it is not.
    for value in [
        json!(null),
        json!(true),
        json!(-1e300),
        json!({ "a": [{}] }),
        json!([[[]]]),
        json!("\u{0}"),
    ] {
        let all: serde_json::Map<String, Value> =
            fields.iter().map(|field| ((*field).to_owned(), value.clone())).collect();
        bodies.push((JSON, Value::Object(all).to_string().into_bytes()));
        for field in fields {
            bodies.push((JSON, json!({ field: value }).to_string().into_bytes()));
        }
    }
    bodies.extend([
        ("", b"{}".to_vec()),
        ("text/plain", b"{}".to_vec()),
        ("application/json; charset=", b"{".to_vec()),
        ("multipart/form-data", b"--b--".to_vec()),
        (FORM, Vec::new()),
        (
            FORM,
            b"--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"x\"\r\n\r\nhalf"
                .to_vec(),
        ),
        (FORM, b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n".to_vec()),
        (
            FORM,
            b"--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n\xff\r\n--b--\r\n"
                .to_vec(),
        ),
        (FORM, b"--b\r\n\r\n\r\n--b\r\n--b--\r\n".to_vec()),
    ]);
    bodies
}

#[test]
fn malformed_bodies_are_the_fault_of_who_sent_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path().to_str().unwrap(), &[]);
    let api = server.get("/openapi.json").ok();
    let (mut asked, mut refused, mut addresses) = (0, 0, 0);
    for (path, methods) in api["paths"].as_object().unwrap() {
        for (method, about) in methods.as_object().unwrap() {
            if about.get("requestBody").is_none() {
                continue;
            }
            addresses += 1;
            let path = path.replace("{name}", "recommender").replace("{id}", "x");
            for (kind, body) in bodies() {
                // It would load the recommender again, again and again.
                if path.ends_with("/load") && body == b"{}" {
                    continue;
                }
                let kinds = [("Content-Type", kind)];
                let headers = if kind.is_empty() { &[][..] } else { &kinds[..] };
                let method = method.to_ascii_uppercase();
                let answer = try_send(server.address, &method, &path, headers, &body).unwrap();
                let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
                assert!(answer.status < 500, "{path} {kind} {shown}: {}", answer.text());
                asked += 1;
                if answer.status >= 400 {
                    refused += 1;
                    assert!(!answer.message().is_empty(), "{path} {kind} {shown}");
                }
            }
        }
    }
    assert!(
        addresses >= 14 && refused > 2000,
        "{addresses} addresses, {refused} of {asked} refused"
    );
    server.post("/v1/search", &json!({ "query": "guitar" })).ok();
    eprintln!("{refused} of {asked} bodies at {addresses} addresses were refused");
}

//! Drawing, captioning and embedding.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use trefoil_core::{Picture, png};

use super::client::{form, try_send};
use super::process::{Server, program, shared};

/// The picture of a result.
fn picture(result: &Value) -> (Picture, Vec<u8>) {
    let bytes = STANDARD.decode(result["b64_json"].as_str().unwrap()).unwrap();
    (Picture::decode(&bytes, "result").unwrap(), bytes)
}

fn draw(server: &Server, request: &Value) -> Value {
    server.post("/v1/images/generations", request).ok()
}

/// A picture with something to see, as PNG.
fn sample(colour: [u8; 3]) -> Vec<u8> {
    let pixels = (0..32 * 32).flat_map(|p| if p % 32 < 16 { colour } else { [250, 250, 250] });
    png::encode(&Picture::new(32, 32, pixels.collect()).unwrap(), &[]).unwrap()
}

#[test]
fn a_picture_is_that_of_the_command_line_and_carries_its_settings() {
    let server: &Server = &shared();
    let request = json!({ "prompt": "a red apple", "seed": 7, "n": 2, "steps": 4, "negative_prompt": "blue" });
    let drawn = draw(server, &request);
    assert_eq!((drawn["seed"].clone(), drawn["data"][1]["index"].clone()), (json!(7), json!(1)));
    let folder = tempfile::tempdir().unwrap();
    let mut command: Command = program();
    let args = [
        "generate",
        "a red apple",
        "--seed",
        "7",
        "-n",
        "2",
        "--steps",
        "4",
        "--negative",
        "blue",
        "-o",
        "x.png",
    ];
    assert!(command.current_dir(folder.path()).args(args).status().unwrap().success());
    for index in 0..2 {
        let path = folder.path().join(format!("x-{index:03}.png"));
        let expected = Picture::open(&path).unwrap();
        let (found, bytes) = picture(&drawn["data"][index]);
        assert_eq!(found, expected, "sample {index}");
        let texts = png::texts(&bytes, "result").unwrap();
        let record = &texts.iter().find(|(key, _)| key == "trefoil").unwrap().1;
        let record: Value = serde_json::from_str(record).unwrap();
        assert_eq!(record["prompt"], "a red apple");
        assert_eq!((record["seed"].clone(), record["index"].clone()), (json!(7), json!(index)));
    }
}

#[test]
fn company_changes_nobodys_picture() {
    let server: &Server = &shared();
    let request = |i: u64| json!({ "prompt": format!("thing number {i}"), "seed": i, "n": 1 + i % 3, "steps": 5 });
    let alone: Vec<Value> = (0..6).map(|i| draw(server, &request(i))["data"].clone()).collect();
    let before = server.metric("trefoil_batch_rows_count");
    let together: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|i| scope.spawn(move || draw(server, &request(i))["data"].clone()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (alone, together) in alone.iter().zip(&together) {
        for (a, b) in alone.as_array().unwrap().iter().zip(together.as_array().unwrap()) {
            assert_eq!(picture(a).0, picture(b).0);
        }
    }
    let batches = server.metric("trefoil_batch_rows_count") - before;
    assert!(batches < 6.0 || batches.is_nan(), "{batches} batches for six requests");
}

#[test]
fn pictures_go_in_as_files_and_as_base64() {
    let server: &Server = &shared();
    let (red, blue) = (sample([200, 20, 20]), sample([20, 20, 200]));
    let fields = [("n", "2"), ("seed", "3"), ("steps", "3")];
    let as_file = server.post_form("/v1/captions", form(&fields, &[("image", &red)])).ok();
    let request = json!({ "image": STANDARD.encode(&red), "n": 2, "seed": 3, "steps": 3 });
    let as_text = server.post("/v1/captions", &request).ok();
    assert_eq!(as_file["data"], as_text["data"]);
    assert!(
        as_text["data"][1]["caption"].is_string() && as_text["data"][1].get("b64_json").is_none()
    );
    let url = format!("data:image/png;base64,{}", STANDARD.encode(&red));
    let request = json!({ "image": url, "n": 2, "seed": 3, "steps": 3 });
    assert_eq!(server.post("/v1/captions", &request).ok()["data"], as_text["data"]);

    let varied = server.post_form("/v1/images/variations", form(&fields, &[("image", &red)])).ok();
    assert_eq!(varied["data"].as_array().unwrap().len(), 2);
    let fields = [("weights", "[0,0.5,1]"), ("seed", "3"), ("steps", "3")];
    let files: [(&str, &[u8]); 2] = [("images[]", &red), ("images[]", &blue)];
    let blended = server.post_form("/v1/images/blends", form(&fields, &files)).ok();
    let weights: Vec<f64> =
        blended["data"].as_array().unwrap().iter().map(|d| d["weight"].as_f64().unwrap()).collect();
    assert_eq!(weights, [0.0, 0.5, 1.0]);
    let pairs = server.post("/v1/pairs", &json!({ "seed": 1, "steps": 3 })).ok();
    assert!(pairs["data"][0]["caption"].is_string() && pairs["data"][0]["b64_json"].is_string());
}

#[test]
fn an_edit_keeps_what_the_mask_keeps() {
    let server: &Server = &shared();
    let red = sample([200, 20, 20]);
    // The left half is made anew.
    let half = |left, right| {
        let pixels = (0..32 * 32).flat_map(|p| if p % 32 < 16 { [left; 3] } else { [right; 3] });
        png::encode(&Picture::new(32, 32, pixels.collect()).unwrap(), &[]).unwrap()
    };
    let fields = [("prompt", "a worm"), ("seed", "3"), ("steps", "3")];
    let files: [(&str, &[u8]); 2] = [("image", &red), ("mask", &half(255, 0))];
    let edited = server.post_form("/v1/images/edits", form(&fields, &files)).ok();
    let (edited, _) = picture(&edited["data"][0]);
    let original = Picture::decode(&red, "original").unwrap();
    let (mut kept, mut changed) = (0, 0);
    for (place, (a, b)) in
        original.pixels().chunks_exact(3).zip(edited.pixels().chunks_exact(3)).enumerate()
    {
        if place % 32 >= 16 {
            assert_eq!(a, b, "pixel {place}");
            kept += 1;
        } else {
            changed += usize::from(a != b);
        }
    }
    assert!(kept == 512 && changed > 256, "{kept} {changed}");
}

#[test]
fn embeddings_have_length_one_and_both_forms_agree() {
    let server: &Server = &shared();
    let request = json!({ "input": ["a red apple", "a guitar"], "image": STANDARD.encode(sample([1, 2, 3])) });
    let found = server.post("/v1/embeddings", &request).ok();
    let vectors: Vec<Vec<f32>> = found["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| serde_json::from_value(one["embedding"].clone()).unwrap())
        .collect();
    assert_eq!(vectors.len(), 3);
    // The towers end in spaces of their own, as those of the published model do.
    let widths: Vec<usize> = vectors.iter().map(Vec::len).collect();
    assert_eq!(widths, [48, 48, 20]);
    for vector in &vectors {
        let square: f32 = vector.iter().map(|v| v * v).sum();
        assert!((square - 1.0).abs() < 1e-5, "{square}");
    }
    let request =
        json!({ "input": "a guitar", "encoding_format": "base64", "model": "unidiffuser" });
    let coded = server.post("/v1/embeddings", &request).ok();
    let bytes = STANDARD.decode(coded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let numbers: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    for (a, b) in numbers.iter().zip(&vectors[1]) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let server: &Server = &shared();
    let huge = "word ".repeat(200);
    for (path, request, status, part) in [
        (
            "/v1/images/generations",
            json!({ "prompt": "x", "quality": "hd" }),
            400,
            "unknown field `quality`, expected one of `prompt`, `negative_prompt`, `size`, `model`",
        ),
        ("/v1/images/generations", json!({}), 400, "missing field `prompt`"),
        ("/v1/images/generations", json!({ "prompt": " " }), 400, "`prompt`: it is empty"),
        ("/v1/images/generations", json!({ "prompt": huge }), 400, "tokens"),
        (
            "/v1/images/generations",
            json!({ "prompt": "x", "n": 11 }),
            400,
            "`n`: expected 1 to 10, found 11",
        ),
        (
            "/v1/images/generations",
            json!({ "prompt": "x", "steps": 0 }),
            400,
            "`steps`: expected 1 to 250, found 0",
        ),
        ("/v1/images/generations", json!({ "prompt": "x", "size": "7x7" }), 400, "`size`"),
        (
            "/v1/images/generations",
            json!({ "prompt": "x", "model": "dall-e-3" }),
            400,
            "expected one of `unidiffuser`",
        ),
        (
            "/v1/images/generations",
            json!({ "prompt": "x", "response_format": "url" }),
            400,
            "expected `b64_json`, found `url`",
        ),
        (
            "/v1/images/generations",
            json!({ "prompt": "x", "one_step": true }),
            400,
            "start the server with `--one-step DIR`",
        ),
        (
            "/v1/images/generations",
            json!({ "prompt": "x", "n": "2" }),
            400,
            "`n`: invalid type: string",
        ),
        (
            "/v1/captions",
            json!({ "image": "https://example.com/x.png" }),
            400,
            "addresses are not followed",
        ),
        ("/v1/captions", json!({ "image": "?" }), 400, "expected base64"),
        ("/v1/captions", json!({ "image": "AAAA" }), 400, "not a readable picture"),
        ("/v1/images/blends", json!({ "images": ["AAAA"] }), 400, "expected two pictures, found 1"),
        ("/v1/embeddings", json!({}), 400, "`input`: expected 1 to 256, found 0"),
        ("/v1/nothing", json!({}), 404, "there is nothing at /v1/nothing"),
        ("/v1/models", json!({}), 405, "the method POST"),
    ] {
        let answer = server.post(path, &request);
        assert_eq!(answer.status, status, "{path} {request}: {}", answer.text());
        assert!(answer.message().contains(part), "{path} {request}: {}", answer.message());
        assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
    }
    let headers = [("Content-Type", "text/plain"), ("X-Request-Id", "mine-7")];
    let answer = try_send(server.address, "POST", "/v1/search", &headers, b"{}").unwrap();
    assert_eq!((answer.status, answer.header("x-request-id")), (415, Some("mine-7")));
    let headers = [("Content-Type", "application/json")];
    let answer = try_send(server.address, "POST", "/v1/search", &headers, b"{\"query\":").unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.message().starts_with("the body is not JSON"), "{}", answer.message());
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    // 60000 x 60000 pixels in a few bytes: a header and nothing else.
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    let mut header = b"IHDR".to_vec();
    for side in [60_000u32, 60_000] {
        bytes.extend(side.to_be_bytes());
        header.extend(side.to_be_bytes());
    }
    bytes.extend([8, 2, 0, 0, 0]);
    header.extend([8, 2, 0, 0, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    bytes.extend(crc.sum().to_be_bytes());
    let answer = shared().post("/v1/captions", &json!({ "image": STANDARD.encode(bytes) }));
    assert_eq!(answer.status, 400, "{}", answer.text());
}

#[test]
fn the_description_has_every_address_and_the_pages_need_nobody_else() {
    let server: &Server = &shared();
    let api = server.get("/openapi.json").ok();
    let paths: Vec<&String> = api["paths"].as_object().unwrap().keys().collect();
    for path in [
        "/v1/images/generations",
        "/v1/images/variations",
        "/v1/images/edits",
        "/v1/images/blends",
        "/v1/captions",
        "/v1/pairs",
        "/v1/embeddings",
        "/v1/search",
        "/v1/recommend",
        "/v1/similar",
        "/v1/explain",
        "/v1/events",
        "/v1/items",
        "/v1/items/{id}",
        "/v1/items/{id}/picture",
        "/v1/users/{id}",
        "/v1/users/{id}/events",
        "/v1/jobs",
        "/v1/jobs/{id}",
        "/v1/jobs/{id}/events",
        "/v1/jobs/{id}/result",
        "/v1/jobs/{id}/cancel",
        "/v1/models",
        "/v1/models/{name}/load",
        "/v1/backup",
        "/livez",
        "/readyz",
        "/healthz",
        "/metrics",
    ] {
        assert!(paths.iter().any(|found| *found == path), "{path}");
    }
    assert_eq!(api["openapi"].as_str().unwrap().split('.').next(), Some("3"));
    for page in ["/", "/docs"] {
        let answer = server.get(page);
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with("text/html"));
        let text = answer.text();
        assert!(!text.contains("src=\"http") && !text.contains("href=\"http"), "{page}");
    }
    for address in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(server.get(address).ok(), json!({ "status": "ok" }));
    }
}

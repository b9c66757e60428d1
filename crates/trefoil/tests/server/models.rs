//! Other models while it runs, and two side by side.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use unidiffuser::record::Record;

use super::process::{Server, shop_model, tiny_model};

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).map(drop).unwrap();
        }
    }
}

#[test]
fn a_model_is_swapped_under_load_and_a_bad_one_stays_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    copy(&shop_model(), &path("models/shop"));
    copy(&tiny_model(), &path("models/tiny"));
    // Cut in the middle of its weights.
    for (good, bad, file) in
        [("shop", "shop-cut", "model/model.safetensors"), ("tiny", "tiny-cut", "")]
    {
        copy(&path("models").join(good), &path("models").join(bad));
        let file = if file.is_empty() {
            let unet = path("models").join(bad).join("unet");
            let mut files = fs::read_dir(unet).unwrap().map(|entry| entry.unwrap().path());
            files
                .find(|file| file.extension().is_some_and(|e| e == "safetensors" || e == "bin"))
                .unwrap()
        } else {
            path("models").join(bad).join(file)
        };
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    }
    let models = path("models");
    let server =
        Server::start(path("state").to_str().unwrap(), &["--models", models.to_str().unwrap()]);
    let before = server.get("/v1/models").ok();
    let request = json!({ "prompt": "a lamp", "seed": 3, "steps": 3 });
    let expected = server.post("/v1/images/generations", &request).ok()["data"][0].clone();
    let is_over = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..2)
            .map(|n| {
                let (server, is_over, request) = (&server, &is_over, &request);
                scope.spawn(move || {
                    let mut count = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        match n {
                            0 => server.post("/v1/images/generations", request).ok(),
                            _ => server.post("/v1/search", &json!({ "query": "guitar" })).ok(),
                        };
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for (name, folder, status) in [
            ("recommender", "shop", 200),
            ("unidiffuser", "tiny", 200),
            ("recommender", "shop-cut", 409),
            ("unidiffuser", "tiny-cut", 409),
            ("recommender", "none", 400),
            ("recommender", "../../etc", 400),
            ("recommender", "tiny", 409),
            ("recommender-b", "shop", 404),
        ] {
            let answer =
                server.post(&format!("/v1/models/{name}/load"), &json!({ "folder": folder }));
            assert_eq!(answer.status, status, "{name} {folder}: {}", answer.text());
            if status == 409 {
                let message = answer.message();
                assert!(message.contains("the old one stays"), "{message}");
                let named = models.canonicalize().unwrap().join(folder);
                assert!(message.contains(named.to_str().unwrap()), "{message}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
        askers.into_iter().map(|asker| asker.join().unwrap()).collect::<Vec<usize>>()
    });
    assert!(asked.iter().all(|count| *count > 2), "{asked:?}");
    let after = server.get("/v1/models").ok();
    assert_eq!(after["data"][0]["fingerprint"], before["data"][0]["fingerprint"]);
    assert_eq!(
        (&after["data"][0]["name"], &after["data"][1]["name"]),
        (&json!("tiny"), &json!("shop"))
    );
    let same = server.post("/v1/images/generations", &request).ok()["data"][0].clone();
    assert_eq!(same.as_object().unwrap().len(), expected.as_object().unwrap().len());
    assert_eq!(server.metric("trefoil_model_loads_total{status=\"succeeded\"}"), 2.0);
    assert_eq!(server.metric("trefoil_model_loads_total{status=\"failed\"}"), 3.0);
    server.signal("HUP");
    for _ in 0..500 {
        if server.metric("trefoil_model_loads_total{status=\"succeeded\"}") == 4.0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the signal had no effect");
}

#[test]
fn events_and_erasures_are_known_to_a_model_that_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path().to_str().unwrap(), &[]);
    server.post("/v1/events", &json!({ "user": "ann", "item": "1F3B8" })).ok();
    server.post("/v1/items", &json!({ "items": [{ "id": "drawn", "title": "zeppelin" }] })).ok();
    server.delete("/v1/users/user-7").ok();
    let ask = |user: &str| server.post("/v1/recommend", &json!({ "user": user })).ok();
    let before = [ask("ann"), ask("user-7"), ask("user-8")];
    server.post("/v1/models/recommender/load", &json!({})).ok();
    assert_eq!([ask("ann"), ask("user-7"), ask("user-8")], before);
    assert_eq!(ask("user-7")["user"], "stranger");
    let found = server.post("/v1/search", &json!({ "query": "zeppelin" })).ok();
    assert_eq!(found["hits"][0]["item"], "drawn");
}

#[test]
fn two_recommenders_share_the_users_and_are_counted_apart() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let shop = shop_model();
    let args = ["--recommender-b", shop.to_str().unwrap(), "--split", "0.3"];
    let server = Server::start(state, &args);
    let model = |server: &Server, user: &str| {
        let answer = server.post("/v1/recommend", &json!({ "user": user, "k": 2 })).ok();
        answer["model"].as_str().unwrap().to_owned()
    };
    let users: Vec<String> = (0..200).map(|n| format!("visitor-{n}")).collect();
    let first: Vec<String> = users.iter().map(|user| model(&server, user)).collect();
    let second = first.iter().filter(|name| *name == "recommender-b").count();
    // Binomial with p = 0.3: a standard deviation of 6.5.
    assert!((40..=80).contains(&second), "{second}");
    let asked = |name: &str| {
        server.metric(&format!("trefoil_answers_total{{model=\"{name}\",kind=\"recommend\"}}"))
    };
    assert_eq!(
        (asked("recommender-b"), asked("recommender")),
        (second as f64, (200 - second) as f64)
    );
    // A click on the second item of the last answer.
    let user = &users[first.iter().position(|name| name == "recommender-b").unwrap()];
    let answer = server.post("/v1/recommend", &json!({ "user": user, "k": 2 })).ok();
    server.post("/v1/events", &json!({ "user": user, "item": answer["hits"][1]["item"] })).ok();
    let clicks = |what: &str| {
        server.metric(&format!("trefoil_answer_{what}_total{{model=\"recommender-b\"}}"))
    };
    assert_eq!((clicks("clicks"), clicks("click_reciprocal_rank")), (1.0, 0.5));
    drop(server);
    let server = Server::start(state, &args);
    let again: Vec<String> = users.iter().take(50).map(|user| model(&server, user)).collect();
    assert_eq!(again, first[..50]);
}

#[test]
fn runs_are_shown_while_they_grow_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("runs/mine/joint");
    fs::create_dir_all(run.join("samples")).unwrap();
    fs::write(run.join("config.toml"), "seed = 1\n").unwrap();
    fs::write(run.join("metrics.jsonl"), "{\"loss\":2.5}\n{\"loss\":1.5}\n{\"lo").unwrap();
    fs::write(run.join("samples/a.png"), [1, 2, 3]).unwrap();
    fs::write(folder.path().join("secret.png"), "secret").unwrap();
    let runs = folder.path().join("runs");
    let state = folder.path().join("state");
    let server = Server::start(state.to_str().unwrap(), &["--runs", runs.to_str().unwrap()]);
    assert_eq!(server.get("/v1/runs").ok()["runs"][0]["name"], "mine/joint");
    let shown = server.get("/v1/runs/mine%2Fjoint").ok();
    assert_eq!(shown["metrics"], json!([{ "loss": 2.5 }, { "loss": 1.5 }]));
    assert_eq!((&shown["config"], &shown["samples"]), (&json!("seed = 1\n"), &json!(["a.png"])));
    fs::write(run.join("metrics.jsonl"), "{\"loss\":2.5}\n{\"loss\":1.5}\n{\"loss\":1.0}\n")
        .unwrap();
    let later = server.get("/v1/runs/mine%2Fjoint?after=2").ok();
    assert_eq!((&later["metrics"], &later["next"]), (&json!([{ "loss": 1.0 }]), &json!(3)));
    assert_eq!(server.get("/v1/runs/mine%2Fjoint/samples/a.png").body, [1, 2, 3]);
    for path in [
        "/v1/runs/none",
        "/v1/runs/..",
        "/v1/runs/%2E%2E%2F%2E%2E",
        "/v1/runs/mine%2Fjoint/samples/..%2F..%2F..%2F..%2Fsecret.png",
        "/v1/runs/%2Fetc/samples/passwd",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

#[test]
fn the_generator_of_a_model_draws_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("tiny");
    copy(&tiny_model(), &model);
    // The network of a model stands in for a generator that was distilled from it.
    copy(&model.join("unet"), &model.join("one_step/unet"));
    let about = json!({ "level": 5.0, "tasks": ["text-to-image", "joint"] });
    fs::write(model.join("one_step/one_step.json"), about.to_string()).unwrap();
    let state = folder.path().join("state");
    let server = Server::start(state.to_str().unwrap(), &["--model", model.to_str().unwrap()]);
    let models = server.get("/v1/models").ok();
    let listed: Vec<_> = models["data"].as_array().unwrap().iter().map(|m| &m["id"]).collect();
    assert_eq!(listed, ["unidiffuser", "one-step", "recommender"]);
    assert_eq!(models["data"][1]["tasks"], json!(["text-to-image", "joint"]));

    let draw = |request| server.post("/v1/images/generations", &request);
    let once = draw(json!({ "prompt": "x", "seed": 3, "one_step": true })).ok();
    let picture = once["data"][0]["b64_json"].as_str().unwrap();
    let png = STANDARD.decode(picture).unwrap();
    let record = Record::of_png(&png, "answer").unwrap().unwrap();
    assert!(record.settings.one_step);
    assert_eq!(record.settings.steps, 1);
    let named = draw(json!({ "prompt": "x", "seed": 3, "model": "one-step" })).ok();
    assert_eq!(named["data"], once["data"], "its name among the models asks for it too");
    let many = draw(json!({ "prompt": "x", "seed": 3, "steps": 3 })).ok();
    assert_ne!(many["data"], once["data"]);
    // Requests of both kinds that wait together are not one batch.
    let together = std::thread::scope(|scope| {
        let draw = &draw;
        let ask = |place: usize| {
            let request = json!({ "prompt": "x", "seed": 3, "one_step": place.is_multiple_of(2) });
            scope.spawn(move || draw(request).ok()["data"].clone())
        };
        let asked: Vec<_> = (0..6).map(ask).collect();
        asked.into_iter().map(|answer| answer.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(together.iter().step_by(2).all(|data| *data == once["data"]));
    assert!(together.iter().skip(1).step_by(2).all(|data| *data != once["data"]));

    for (path, request, part) in [
        ("images/generations", json!({ "prompt": "x", "steps": 3 }), "`steps`: it has no meaning"),
        (
            "images/generations",
            json!({ "prompt": "x", "negative_prompt": "y" }),
            "`negative_prompt`",
        ),
        (
            "captions",
            json!({ "image": picture }),
            "made for text-to-image, joint, not for image-to",
        ),
        ("images/edits", json!({ "image": picture, "prompt": "x" }), "needs several steps"),
    ] {
        let mut request = request;
        request["one_step"] = true.into();
        let answer = server.post(&format!("/v1/{path}"), &request);
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(answer.message().contains(part), "{path}: {}", answer.message());
    }
    // Loaded again with all that it has.
    server.post("/v1/models/unidiffuser/load", &json!({})).ok();
    let again = draw(json!({ "prompt": "x", "seed": 3, "one_step": true })).ok();
    assert_eq!(again["data"], once["data"]);
}

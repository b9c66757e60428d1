//! Search, recommendation, events and items.

use serde_json::{Value, json};

use super::process::Server;

fn items(answer: &Value) -> Vec<&str> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["item"].as_str().unwrap()).collect()
}

#[test]
fn a_click_changes_the_feed_and_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let server = Server::start(state, &[]);
    let found = server.post("/v1/search", &json!({ "query": "guitar", "k": 3 })).ok();
    assert_eq!(items(&found)[0], "1F3B8", "{found}");
    assert_eq!(
        (&found["model"], &found["hits"][0]["title"]),
        (&json!("recommender"), &json!("guitar"))
    );
    let recommend =
        |server: &Server| server.post("/v1/recommend", &json!({ "user": "ann", "k": 10 })).ok();
    let before = recommend(&server);
    assert_eq!((&before["user"], &before["order"]), (&json!("stranger"), &json!("popularity")));

    let click =
        json!({ "id": "c1", "user": "ann", "item": "1F3B8", "query": "music", "time": 1000 });
    let taken = server.post("/v1/events", &click).ok();
    assert_eq!(taken, json!({ "events": [{ "id": "c1", "number": 1, "is_duplicate": false }] }));
    let again = server.post("/v1/events", &click).ok();
    assert_eq!(again, json!({ "events": [{ "id": "c1", "number": 1, "is_duplicate": true }] }));
    let after = recommend(&server);
    assert_eq!(
        (&after["user"], &after["order"]),
        (&json!("recorded"), &json!("model-and-neighbours"))
    );
    assert_ne!(items(&before), items(&after));
    assert!(!items(&after).contains(&"1F3B8"), "what was clicked is left out");
    let history = server.get("/v1/users/ann/events").ok();
    assert_eq!(
        history["events"],
        json!([{ "number": 1, "id": "c1", "item": "1F3B8", "query": "music", "time": 1000 }])
    );
    // All or nothing.
    let batch = json!({ "events": [{ "user": "ann", "item": "1F3B9" }, { "user": "ann", "item": "no such thing" }] });
    let refused = server.post("/v1/events", &batch);
    assert_eq!(
        (refused.status, refused.message()),
        (400, "`item`: `no such thing` is not in the catalogue".into())
    );
    assert_eq!(recommend(&server), after);

    server.kill();
    let server = Server::start(state, &[]);
    assert_eq!(recommend(&server), after, "the same answer after a kill");
    assert_eq!(server.post("/v1/events", &click).ok()["events"][0]["is_duplicate"], true);

    let erased = server.delete("/v1/users/ann").ok();
    assert_eq!(erased, json!({ "events": 1 }));
    assert_eq!(recommend(&server), before, "as if nothing had been");
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(state, &[]);
    assert_eq!(recommend(&server), before);
    let bytes = std::fs::read(folder.path().join("state.redb")).unwrap();
    drop(server);
    assert!(!bytes.is_empty());
}

#[test]
fn users_of_the_training_are_forgotten_too() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let server = Server::start(state, &[]);
    let ask =
        |server: &Server| server.post("/v1/recommend", &json!({ "user": "user-7", "k": 5 })).ok();
    assert_eq!(ask(&server)["user"], "trained");
    server.delete("/v1/users/user-7").ok();
    assert_eq!(ask(&server)["user"], "stranger");
    server.kill();
    assert_eq!(ask(&Server::start(state, &[]))["user"], "stranger");
}

#[test]
fn a_drawn_item_joins_the_catalogue_changes_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let server = Server::start(state, &[]);
    let search = |server: &Server, query: &str| {
        let found = server.post("/v1/search", &json!({ "query": query, "k": 5 })).ok();
        items(&found).into_iter().map(String::from).collect::<Vec<_>>()
    };
    let count = server.get("/v1/items?limit=1").ok()["count"].as_u64().unwrap();
    assert_eq!(count, 846);
    assert!(!search(&server, "zeppelin").contains(&"drawn-1".to_owned()));
    let picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
    let item = json!({ "id": "drawn-1", "title": "zeppelin", "tags": ["drawn"], "caption": "a silver airship", "picture": picture });
    let put = server.post("/v1/items", &json!({ "items": [item] })).ok();
    assert_eq!(put, json!({ "changed": 1, "unchanged": 0 }));
    assert_eq!(search(&server, "zeppelin"), ["drawn-1"]);
    let shown = server.get("/v1/items/drawn-1").ok();
    assert_eq!((&shown["title"], &shown["has_picture"]), (&json!("zeppelin"), &json!(true)));
    let png = server.get("/v1/items/drawn-1/picture");
    assert_eq!((png.status, png.header("content-type")), (200, Some("image/png")));
    assert_eq!(
        server.get("/v1/items/1F3B8/picture").status,
        200,
        "those that came along have pictures"
    );

    let changed = json!({ "id": "drawn-1", "title": "dirigible", "tags": ["drawn"] });
    server.post("/v1/items", &json!({ "items": [changed] })).ok();
    assert_eq!(search(&server, "dirigible"), ["drawn-1"]);
    assert!(!search(&server, "zeppelin").contains(&"drawn-1".to_owned()));
    let same = server.post("/v1/items", &json!({ "items": [changed] })).ok();
    assert_eq!(same, json!({ "changed": 0, "unchanged": 1 }));
    // One of the training gets another title, and keeps what its events say.
    server.post("/v1/items", &json!({ "items": [{ "id": "1F3B8", "title": "banjo" }] })).ok();
    assert!(search(&server, "banjo").contains(&"1F3B8".to_owned()));
    server.kill();
    let server = Server::start(state, &[]);
    assert_eq!(search(&server, "dirigible"), ["drawn-1"]);
    assert_eq!(server.get("/v1/items?limit=1").ok()["count"], count + 1);

    let similar = server.post("/v1/similar", &json!({ "item": "1F3B9", "k": 20 })).ok();
    let first = items(&similar)[0].to_owned();
    assert_eq!(server.delete(&format!("/v1/items/{first}")).status, 204);
    let similar = server.post("/v1/similar", &json!({ "item": "1F3B9", "k": 20 })).ok();
    assert!(!items(&similar).contains(&&*first));
    assert_eq!(server.delete(&format!("/v1/items/{first}")).status, 404);
    let gone = server.post("/v1/events", &json!({ "user": "u", "item": first }));
    assert_eq!(gone.status, 400);
    assert_eq!(server.get("/v1/items/none").status, 404);
    // Page by page, each item once.
    let (mut seen, mut after) = (std::collections::HashSet::new(), String::new());
    loop {
        let page = server.get(&format!("/v1/items?limit=100{after}")).ok();
        for item in page["items"].as_array().unwrap() {
            assert!(seen.insert(item["id"].as_str().unwrap().to_owned()));
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len() as u64, count);
}

#[test]
fn an_explanation_adds_up() {
    let server = super::process::shared();
    let why = server
        .post("/v1/explain", &json!({ "item": "1F3B8", "user": "user-7", "query": "music" }))
        .ok();
    let part = |name: &str| why[name].as_f64().unwrap();
    assert!((part("head") + part("translation") - part("score")).abs() < 1e-6, "{why}");
    let request = json!({ "query": "music", "user": "user-7", "k": 3, "explain": true });
    let found = server.post("/v1/search", &request).ok();
    // A search is ordered by the ranks in the model and in the words together; the parts explain the model's.
    for hit in found["hits"].as_array().unwrap() {
        let part = |name: &str| hit["why"][name].as_f64().unwrap();
        assert!((part("head") + part("translation") - part("score")).abs() < 1e-5, "{hit}");
        let request = json!({ "item": hit["item"], "user": "user-7", "query": "music" });
        let alone = server.post("/v1/explain", &request).ok();
        assert!((alone["score"].as_f64().unwrap() - part("score")).abs() < 1e-5, "{hit}");
    }
    let filtered = json!({ "user": "user-7", "k": 3, "filter": { "all_tags": ["music"] } });
    let filtered = server.post("/v1/recommend", &filtered).ok();
    for item in items(&filtered) {
        let tags = server.get(&format!("/v1/items/{item}")).ok()["tags"].clone();
        assert!(tags.as_array().unwrap().contains(&json!("music")), "{item} {tags}");
    }
}

//! The page for people: what the server sends to a browser. What the page does there, `reference/studio` tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::process::{Server, program, shared};

/// Files that a text of the page names.
fn named(text: &str) -> BTreeSet<String> {
    let quoted = text.split(['"', '\'']);
    let is_file = |part: &&str| {
        [".js", ".css", ".svg"].iter().any(|end| part.ends_with(end)) && !part.contains(' ')
    };
    let name = |part: &str| part.rsplit('/').next().unwrap_or_default().to_owned();
    quoted.filter(is_file).map(name).collect()
}

#[test]
fn every_file_of_the_page_is_there_and_nothing_comes_from_elsewhere() {
    let server: &Server = &shared();
    let page = server.get("/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.text().contains("style=\"") && !page.text().contains("onclick"));

    let (mut open, mut seen) = (named(&page.text()), BTreeSet::new());
    assert!(open.contains("main.js"), "{open:?}");
    while let Some(name) = open.pop_first() {
        let file = server.get(&format!("/studio/{name}"));
        assert_eq!(file.status, 200, "{name}");
        assert_eq!(file.header("content-security-policy"), Some(policy), "{name}");
        let text = file.text();
        assert!(!text.contains("innerHTML") && !text.contains("eval("), "{name}");
        let elsewhere = text.replace("http://www.w3.org/", "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"), "{name}");
        seen.insert(name);
        open.extend(named(&text).into_iter().filter(|name| !seen.contains(name)));
    }
    // What the repository has and the page does not name would be dead weight in the program.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../trefoil-server/assets/studio");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut files: BTreeSet<String> = files.map(|name| name.into_string().unwrap()).collect();
    assert!(files.remove("index.html"));
    assert_eq!(seen, files);
}

#[test]
fn the_page_needs_no_token_and_what_it_asks_for_does() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let mut command = program();
    command.args(["serve", "--bind", "127.0.0.1:0", "--state", state]);
    let server =
        Server::try_start(command.env("TREFOIL_TOKENS", "web read secret-of-web-0123456789"))
            .unwrap();
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.get("/studio/main.js").status, 200);
    assert_eq!(server.get("/v1/models").status, 401);
    assert_eq!(server.get("/studio/nothing.js").status, 401);
}

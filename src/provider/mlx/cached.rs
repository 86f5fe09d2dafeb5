//! Models of the Hugging Face Hub that mlx-lm finds on this machine without fetching them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::provider::ListedModel;
use crate::provider::listing::of_bytes;

/// The models of this user's cache that have what mlx-lm reads, in name order.
pub(super) fn models() -> Vec<ListedModel> {
    folder(|name| std::env::var_os(name)).map(|folder| models_in(&folder)).unwrap_or_default()
}

/// Where the hub's own libraries keep what they fetch.
fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let in_home = || set("HF_HOME").map(|home| home.join("hub"));
    let in_cache = || set("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub"));
    let user = || set("HOME").or_else(|| set("USERPROFILE"));
    let usual = || user().map(|home| home.join(".cache/huggingface/hub"));
    set("HF_HUB_CACHE").or_else(in_home).or_else(in_cache).or_else(usual)
}

fn models_in(cache: &Path) -> Vec<ListedModel> {
    let folders = fs::read_dir(cache).into_iter().flatten().flatten();
    let mut models: Vec<ListedModel> = folders
        .filter_map(|folder| {
            let name = folder.file_name().into_string().ok()?;
            let name = name.strip_prefix("models--")?.replacen("--", "/", 1);
            let bytes = newest_snapshot(&folder.path()).and_then(|path| weights_of(&path))?;
            ListedModel::new(&name, [of_bytes(bytes)])
        })
        .collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    models
}

/// The snapshot that `refs/main` names, else any.
fn newest_snapshot(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.join("snapshots");
    let main = fs::read_to_string(folder.join("refs/main")).ok();
    let named = main.map(|revision| snapshots.join(revision.trim())).filter(|path| path.is_dir());
    named.or_else(|| fs::read_dir(&snapshots).ok()?.flatten().map(|entry| entry.path()).next())
}

/// Bytes of the weights in a model's folder; none where it is not one that mlx-lm reads.
pub(super) fn weights_of(folder: &Path) -> Option<u64> {
    if !folder.join("config.json").is_file() {
        return None;
    }
    let files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let weights = files.filter(|path| path.extension().is_some_and(|end| end == "safetensors"));
    // follows links: the cache keeps the files elsewhere
    let bytes: u64 = weights.filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum();
    (bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, bytes: usize) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![b'1'; bytes]).unwrap();
    }

    #[test]
    fn only_what_mlx_can_read_is_listed() {
        let cache = tempfile::tempdir().unwrap();
        let model = |name: &str| cache.path().join(format!("models--{name}/snapshots/1"));
        put(&model("mlx-community--b--4bit").join("config.json"), 2);
        put(&model("mlx-community--b--4bit").join("model.safetensors"), 3_000_000);
        put(&model("a--gguf").join("model.gguf"), 9);
        put(&model("a--part").join("config.json"), 9);
        put(&cache.path().join("datasets--a--d/snapshots/1/config.json"), 9);
        let expected =
            ListedModel { name: "mlx-community/b--4bit".into(), facts: vec![of_bytes(3_000_000)] };
        assert_eq!(models_in(cache.path()), [expected]);
        assert_eq!(models_in(&cache.path().join("missing")), []);
    }

    #[test]
    fn the_revision_that_main_names_counts() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("models--a--m");
        for revision in ["old", "new"] {
            put(&folder.join("snapshots").join(revision).join("config.json"), 1);
        }
        put(&folder.join("snapshots/new/w.safetensors"), 5);
        put(&folder.join("snapshots/old/w.safetensors"), 7);
        fs::create_dir_all(folder.join("refs")).unwrap();
        fs::write(folder.join("refs/main"), "new\n").unwrap();
        assert_eq!(models_in(cache.path())[0].facts, [of_bytes(5)]);
    }

    #[test]
    fn the_hubs_own_variables_say_where_the_cache_is() {
        let of = |set: &[(&str, &str)]| {
            let set: Vec<_> =
                set.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            let find = move |name: &str| {
                set.iter().find(|(known, _)| known == name).map(|(_, value)| value.into())
            };
            folder(find)
        };
        assert_eq!(of(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]), Some("/c".into()));
        assert_eq!(of(&[("HF_HOME", "/h"), ("HOME", "/u")]), Some("/h/hub".into()));
        assert_eq!(of(&[("HOME", "/u")]), Some("/u/.cache/huggingface/hub".into()));
        assert_eq!(of(&[]), None);
    }
}

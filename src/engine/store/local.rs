//! Models that are files of the user: a folder, or one GGUF file.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::weights::{self, INDEX, LARGEST_INDEX};
use crate::engine::{EngineError, ModelSource, Weights};

/// A folder with more entries than this is not a model's.
const MOST_ENTRIES: usize = 10_000;

/// The model at `path`, called `name` in messages.
pub(super) fn open(name: &str, path: &Path) -> Result<ModelSource, EngineError> {
    let fail = |problem: String| EngineError::model(format!("{}: {problem}", path.display()));
    let meta = std::fs::metadata(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let (folder, weights) = if meta.is_dir() {
        (path, weights_of_folder(path).map_err(fail)?)
    } else if meta.is_file() && path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("gguf"))
    {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        weights::only_gguf(&[file]).map_err(fail)?;
        (path.parent().unwrap_or(Path::new("")), Weights::Gguf(path.to_owned()))
    } else {
        let instead = "give a .gguf file, or a folder with config.json and *.safetensors";
        return Err(fail(format!("is not a model; {instead}")));
    };
    let beside = |file: &str| Some(folder.join(file)).filter(|path| path.is_file());
    Ok(ModelSource {
        name: name.to_owned(),
        weights,
        tokenizer: beside("tokenizer.json"),
        tokenizer_config: beside("tokenizer_config.json"),
        chat_template: beside("chat_template.jinja"),
        generation_config: beside("generation_config.json"),
        sha256: None,
    })
}

/// Bytes of the weight files.
pub(super) fn weight_bytes(weights: &Weights) -> Option<u64> {
    let size = |path: &PathBuf| std::fs::metadata(path).ok().map(|meta| meta.len());
    match weights {
        Weights::Gguf(path) => size(path),
        Weights::Safetensors { shards, .. } => shards.iter().map(size).sum(),
    }
}

fn weights_of_folder(folder: &Path) -> Result<Weights, String> {
    let names = file_names(folder)?;
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let shards = if has(INDEX) {
        let json = read_limited(&folder.join(INDEX), LARGEST_INDEX)?;
        Some(weights::shards_of_index(&json)?)
    } else {
        weights::shards_of_names(&names)?
    };
    if let Some(shards) = shards {
        if !has("config.json") {
            return Err("config.json is missing beside the safetensors files".to_owned());
        }
        if let Some(missing) = shards.iter().find(|shard| !has(shard)) {
            return Err(format!("{missing} is missing, which {INDEX} names"));
        }
        let config = folder.join("config.json");
        let shards = shards.into_iter().map(|shard| folder.join(shard)).collect();
        return Ok(Weights::Safetensors { config, shards });
    }
    match weights::only_gguf(&names)? {
        Some(file) => Ok(Weights::Gguf(folder.join(file))),
        None if names.iter().any(|name| name.ends_with(".bin") || name.ends_with(".pth")) => {
            Err("the weights are PyTorch files: convert them to safetensors or GGUF".to_owned())
        }
        None => Err("has neither *.safetensors nor a .gguf file".to_owned()),
    }
}

fn file_names(folder: &Path) -> Result<Vec<String>, String> {
    let entries =
        std::fs::read_dir(folder).map_err(|error| format!("cannot be listed: {error}"))?;
    let mut names = Vec::new();
    for (at, entry) in entries.enumerate() {
        if at == MOST_ENTRIES {
            return Err(format!("has more than {MOST_ENTRIES} entries: not a model's folder"));
        }
        let entry = entry.map_err(|error| format!("cannot be listed: {error}"))?;
        if entry.path().is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// A file's bytes, if there are at most `limit` of them.
pub(super) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let fail = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let file = std::fs::File::open(path).map_err(|error| fail(&error))?;
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
    if read as u64 > limit {
        return Err(fail(&format!("is larger than {limit} bytes")));
    }
    Ok(bytes)
}

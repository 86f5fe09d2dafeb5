//! Which files of a folder or a repository are the weights of one model.
//!
//! Works on file names alone; it reads no weights.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;

use super::name::is_plain_file;

/// The file that maps tensors to shards.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// An index larger than this is refused, in bytes.
pub(super) const LARGEST_INDEX: u64 = 64 << 20;

/// Shards beyond this number are no language model.
const MOST_SHARDS: usize = 1_000;

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// The shards that an index names, in name order.
pub(super) fn shards_of_index(json: &[u8]) -> Result<Vec<String>, String> {
    let index: Index =
        serde_json::from_slice(json).map_err(|error| format!("{INDEX} is damaged: {error}"))?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    if let Some(bad) = shards.iter().find(|shard| !is_plain_file(shard) || !is_safetensors(shard)) {
        return Err(format!("{INDEX} names {bad:?}, which is not a shard beside it"));
    }
    if shards.is_empty() || shards.len() > MOST_SHARDS {
        return Err(format!("{INDEX} names {} shards", shards.len()));
    }
    Ok(shards.into_iter().collect())
}

/// The shards among `names` where there is no index, in name order; `None` where there are no
/// safetensors files at all.
pub(super) fn shards_of_names(names: &[String]) -> Result<Option<Vec<String>>, String> {
    if names.iter().any(|name| name == "model.safetensors") {
        return Ok(Some(vec!["model.safetensors".to_owned()]));
    }
    let mut shards: Vec<String> = names
        .iter()
        .filter(|name| is_safetensors(name) && !name.starts_with("adapter_"))
        .cloned()
        .collect();
    shards.sort();
    if shards.is_empty() {
        return Ok(None);
    }
    let whole = shards.len() == 1 && part_of(&shards[0], ".safetensors").is_none();
    if whole || is_complete_set(&shards) {
        return Ok(Some(shards));
    }
    Err(format!(
        "it is not clear which weights belong together ({}): {INDEX} is missing or a shard is",
        listed(&shards)
    ))
}

/// The one GGUF file of a folder; `None` where there is none.
pub(super) fn only_gguf(names: &[String]) -> Result<Option<String>, String> {
    let files: Vec<String> = ggufs(names);
    match &files[..] {
        [] => Ok(None),
        [file] => whole_gguf(file).map(Some),
        [first, ..] if part_of(first, ".gguf").is_some() => whole_gguf(first).map(Some),
        several => {
            Err(format!("there are several GGUF files ({}): name one of them", listed(several)))
        }
    }
}

/// The GGUF file that `choice` means: its path, its file name or a word of it such as `Q4_K_M`.
pub(super) fn chosen_gguf(names: &[String], choice: &str) -> Result<String, String> {
    let files = ggufs(names);
    let lower = choice.to_lowercase();
    let exact = files
        .iter()
        .find(|file| file.to_lowercase() == lower || file_name(file).to_lowercase() == lower);
    if let Some(file) = exact {
        return whole_gguf(file);
    }
    let matching: Vec<String> =
        files.iter().filter(|file| has_word(&file.to_lowercase(), &lower)).cloned().collect();
    match &matching[..] {
        [] if files.is_empty() => Err("there are no GGUF files".to_owned()),
        [] => Err(format!("no GGUF file is called {choice:?}; there are {}", listed(&files))),
        [file] => whole_gguf(file),
        [first, ..] if part_of(first, ".gguf").is_some() => whole_gguf(first),
        several => Err(format!("{choice:?} fits several GGUF files: {}", listed(several))),
    }
}

/// The GGUF file of a repository when the user named none: the only one, else the `Q4_K_M`.
pub(super) fn default_gguf(names: &[String]) -> Result<Option<String>, String> {
    let several = match only_gguf(names) {
        Ok(found) => return Ok(found),
        Err(several) => several,
    };
    chosen_gguf(names, "Q4_K_M").map(Some).map_err(|_| several)
}

/// Whether it is a file of the format.
pub(super) fn is_gguf(name: &str) -> bool {
    name.to_lowercase().ends_with(".gguf")
}

/// The last part of a repository path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_safetensors(name: &str) -> bool {
    name.ends_with(".safetensors")
}

/// GGUF files that are language models; projectors and importance matrices are not.
fn ggufs(names: &[String]) -> Vec<String> {
    let mut files: Vec<String> = names
        .iter()
        .filter(|name| is_gguf(name))
        .filter(|name| {
            let lower = file_name(name).to_lowercase();
            !lower.contains("mmproj") && !lower.contains("imatrix")
        })
        .cloned()
        .collect();
    files.sort();
    files
}

fn whole_gguf(file: &str) -> Result<String, String> {
    match part_of(file, ".gguf") {
        Some((_, total)) if total > 1 => Err(format!(
            "{file:?} is one of {total} parts of a split GGUF file, which cannot be read: join them with llama-gguf-split --merge"
        )),
        Some(_) | None => Ok(file.to_owned()),
    }
}

/// `(number, total)` of a name like `model-00001-of-00002.gguf`.
fn part_of(name: &str, extension: &str) -> Option<(usize, usize)> {
    let stem = name.strip_suffix(extension)?;
    let (rest, total) = stem.rsplit_once("-of-")?;
    let (_, number) = rest.rsplit_once('-')?;
    Some((number.parse().ok()?, total.parse().ok()?))
}

fn is_complete_set(shards: &[String]) -> bool {
    let parts: Option<Vec<_>> = shards.iter().map(|shard| part_of(shard, ".safetensors")).collect();
    parts.is_some_and(|parts| {
        parts.iter().enumerate().all(|(at, part)| *part == (at + 1, shards.len()))
    })
}

/// Whether `word` stands in `text` with no letter or digit on either side, so that `q4_k` is not
/// found in `q4_k_m`.
fn has_word(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(inside) && !after.is_some_and(inside)
    })
}

fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown = names.iter().take(SHOWN).map(|name| name.escape_debug().to_string());
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_index_gives_each_shard_once_and_in_order() {
        let json = br#"{"metadata":{},"weight_map":{"b":"m-2.safetensors","a":"m-1.safetensors","c":"m-2.safetensors"}}"#;
        assert_eq!(shards_of_index(json).unwrap(), names(&["m-1.safetensors", "m-2.safetensors"]));
    }

    #[test]
    fn an_index_that_points_elsewhere_or_nowhere_is_refused() {
        for json in [
            r#"{"weight_map":{"a":"../m.safetensors"}}"#,
            r#"{"weight_map":{"a":"/m.safetensors"}}"#,
            r#"{"weight_map":{"a":"m.bin"}}"#,
            r#"{"weight_map":{}}"#,
            r#"{"weight_map":3}"#,
            "",
        ] {
            assert!(shards_of_index(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn shards_without_an_index_must_be_one_file_or_a_complete_set() {
        let set = names(&["m-00002-of-00002.safetensors", "m-00001-of-00002.safetensors"]);
        let mut sorted = set.clone();
        sorted.sort();
        assert_eq!(shards_of_names(&set).unwrap(), Some(sorted));
        assert_eq!(
            shards_of_names(&names(&["consolidated.safetensors", "model.safetensors"])).unwrap(),
            Some(names(&["model.safetensors"]))
        );
        assert_eq!(shards_of_names(&names(&["x.bin"])).unwrap(), None);
        assert!(shards_of_names(&set[..1]).is_err());
        assert!(shards_of_names(&names(&["a.safetensors", "b.safetensors"])).is_err());
    }

    #[test]
    fn a_gguf_is_chosen_by_path_name_or_word() {
        let files =
            names(&["q/M-Q4_K_M.gguf", "q/M-Q4_K_S.gguf", "M-Q8_0.gguf", "mmproj-f16.gguf"]);
        assert_eq!(chosen_gguf(&files, "q4_k_m").unwrap(), "q/M-Q4_K_M.gguf");
        assert_eq!(chosen_gguf(&files, "M-Q8_0.gguf").unwrap(), "M-Q8_0.gguf");
        assert_eq!(chosen_gguf(&files, "q/M-Q4_K_S.gguf").unwrap(), "q/M-Q4_K_S.gguf");
        assert_eq!(default_gguf(&files).unwrap().unwrap(), "q/M-Q4_K_M.gguf");
        let error = chosen_gguf(&files, "Q4_K").unwrap_err();
        assert!(error.contains("M-Q8_0.gguf"), "{error}");
        assert!(only_gguf(&files).is_err());
        assert_eq!(only_gguf(&files[2..]).unwrap().unwrap(), "M-Q8_0.gguf");
    }

    #[test]
    fn a_split_gguf_is_refused_with_what_to_do() {
        let files = names(&["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
        for error in [
            only_gguf(&files).unwrap_err(),
            chosen_gguf(&files, "m-00001-of-00002.gguf").unwrap_err(),
        ] {
            assert!(error.contains("llama-gguf-split --merge"), "{error}");
        }
    }
}

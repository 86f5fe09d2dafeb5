//! A scripted helper that crashes, lies and sends damaged lines: typed failures, never a hang.

use std::path::{Path, PathBuf};
use std::process::Command;

use batchgen::provider::{Failure, FailureKind, FinishReason};

use super::support::{Outcome, batch, greedy, open, requests, runtime};
use crate::servers::target;

fn fake() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mlx/fake.py")
}

/// What comes of a call with one row.
fn run(how: &str) -> (Outcome, Result<(), Failure>) {
    runtime().block_on(async {
        let provider = open(&format!("fake/{how}"), &fake()).await.unwrap();
        batch(&*provider, requests(&["a prompt"], &greedy(4)), 2).await
    })
}

fn failure_of(how: &str) -> Failure {
    let failure = run(how).1.unwrap_err();
    assert!(!failure.message.contains(char::is_control), "{failure:?}");
    failure
}

fn refusal(how: &str, python: &Path) -> Failure {
    runtime().block_on(async { open(how, python).await.err().unwrap() })
}

#[test]
fn a_crash_of_the_helper_fails_the_call_with_its_last_words_and_every_later_call() {
    runtime().block_on(async {
        let provider = open("fake/crash", &fake()).await.unwrap();
        let one = || batch(&*provider, requests(&["a prompt"], &greedy(4)), 2);
        let (outcome, result) = one().await;
        assert_eq!(outcome.texts(), ["seven"]);
        let failure = result.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Server);
        for part in ["exit status: 3", "Traceback:", r"\u{1b}[31mRuntimeError: the GPU is gone"] {
            assert!(failure.message.contains(part), "{}", failure.message);
        }
        assert_eq!(one().await.1.unwrap_err(), failure);
    });
}

#[test]
fn damaged_lines_and_lies_are_failures_of_the_protocol() {
    for (how, part) in [
        ("garbage", "damaged line"),
        ("long", "more than 4194304 bytes"),
        ("stranger", "spoke of row 100"),
        ("twice", "spoke of row 1,"),
        ("unfinished", "left 1 rows without an end"),
    ] {
        let failure = failure_of(how);
        assert_eq!(failure.kind, FailureKind::Protocol, "{how}: {failure:?}");
        assert!(failure.message.contains(part), "{how}: {failure:?}");
    }
}

#[test]
fn what_is_told_about_other_calls_changes_nothing() {
    let (outcome, result) = run("other-calls");
    assert_eq!(result, Ok(()));
    assert_eq!(outcome.texts(), ["seven!"]);
    assert_eq!(outcome.rows[&0].reason(), FinishReason::Length);
}

#[test]
fn want_of_memory_is_told_from_a_bad_model() {
    assert_eq!(failure_of("memory").kind, FailureKind::OutOfMemory);
    let damaged = refusal("fake/damaged-model", &fake());
    assert_eq!(damaged.kind, FailureKind::Model);
    assert!(damaged.message.contains("fake/damaged-model"), "{damaged}");
    let unbatched = refusal("fake/llama4", &fake());
    assert_eq!(unbatched.kind, FailureKind::Unsupported);
    assert!(unbatched.message.contains("mlx_lm.server"), "{unbatched}");
}

#[test]
fn what_is_missing_is_said_with_the_command_that_installs_it() {
    let nowhere = refusal("fake/any", Path::new("/nowhere/python"));
    assert_eq!(nowhere.kind, FailureKind::Unsupported);
    assert!(nowhere.message.contains("/nowhere/python is not there"), "{nowhere}");
    assert!(nowhere.message.contains("pip install 'mlx-lm"), "{nowhere}");
    let broken = refusal("fake/import", &fake());
    assert!(broken.message.contains("libmlx.so is missing"), "{broken}");
    assert!(broken.message.contains("pip install 'mlx-lm"), "{broken}");
}

#[test]
fn a_python_without_mlx_lm_says_so_itself() {
    let venv = tempfile::tempdir_in(target()).unwrap();
    let made = Command::new("python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(venv.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let failure = refusal("fake/any", venv.path());
    assert_eq!(failure.kind, FailureKind::Unsupported);
    let python = venv.path().join("bin/python").display().to_string();
    let command = format!("{python} -m pip install 'mlx-lm");
    assert!(failure.message.contains(&command), "{failure}");
}

#[test]
fn models_that_mlx_cannot_read_are_refused_before_python_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    std::fs::write(&file, "").unwrap();
    for (model, part) in [
        (folder.path().to_str().unwrap(), "no config.json"),
        (file.to_str().unwrap(), "use --provider local"),
        ("./nothing", "there is no folder ./nothing"),
        ("", "mlx needs a model"),
        ("smollm2-135m-instruct", "mlx needs a model"),
    ] {
        let failure = refusal(model, Path::new("/nowhere/python"));
        assert_eq!(failure.kind, FailureKind::Model, "{model}: {failure:?}");
        assert!(failure.message.contains(part), "{model}: {failure:?}");
    }
}

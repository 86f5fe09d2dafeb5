//! The composite action of docs/continuous-integration.md: its shell steps are taken out of the
//! page and run as a runner would, with the real program.

#![cfg(unix)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::headless::workplace;

const PAGE: &str = include_str!("../../docs/continuous-integration.md");
const ARGUMENTS: &str = "--model ./model --prompts words.txt --raw --max-tokens 5 \
                         --lanes sequential,batched:2";

/// The shell scripts of the action's steps, in their order.
fn scripts() -> Vec<String> {
    let action = PAGE.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut scripts = Vec::new();
    let mut lines = action.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() != "run: |" {
            continue;
        }
        let mut script = String::new();
        while let Some(next) = lines.next_if(|next| next.is_empty() || indent(next) > indent(line))
        {
            script += next.get(indent(line) + 2..).unwrap_or_default();
            script.push('\n');
        }
        scripts.push(script);
    }
    scripts
}

/// Runs a step as a runner does: `bash`, ending at the first error.
fn step(home: &Path, script: &str, claims: &str, baseline: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_batchgen-tui")).parent().unwrap();
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        [program.to_owned()].into_iter().chain(std::env::split_paths(&folders)),
    );
    Command::new("bash")
        .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
        .current_dir(home)
        .env("PATH", path.unwrap())
        .env("BATCHGEN_HOME", home)
        .env("ARGUMENTS", ARGUMENTS)
        .env("CLAIMS", claims)
        .env("BASELINE", baseline)
        .env("TOLERANCE", "99%")
        .env("GITHUB_STEP_SUMMARY", home.join("summary.md"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_action_gates_keeps_the_reports_and_shows_the_comparison() {
    let scripts = scripts();
    let [gate, show] = &scripts[..] else { panic!("two shell steps, not {}", scripts.len()) };
    let home = workplace();
    let held = step(home.path(), gate, "integrity\nagreement\nsequential.output_tokens >= 1\n", "");
    assert_eq!(held.status.code(), Some(0), "{}{}", text(&held.stdout), text(&held.stderr));
    assert_eq!(step(home.path(), show, "", "").status.code(), Some(0));
    let summary = std::fs::read_to_string(home.path().join("summary.md")).unwrap();
    assert!(summary.contains("batched 2"), "{summary}");

    std::fs::rename(home.path().join("batchgen.json"), home.path().join("main.json")).unwrap();
    let broken = step(home.path(), gate, "sequential.rows_failed >= 1\n", "main.json");
    assert_eq!(broken.status.code(), Some(1), "{}", text(&broken.stderr));
    assert!(text(&broken.stdout).contains("fails:"), "{}", text(&broken.stdout));
    let shown = step(home.path(), show, "", "main.json");
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    let both = std::fs::read_to_string(home.path().join("summary.md")).unwrap();
    assert!(both.len() > 2 * summary.len(), "the report and the comparison follow: {both}");
    for kept in ["batchgen.json", "batchgen.html", "batchgen.md"] {
        assert!(home.path().join(kept).exists(), "{kept}");
    }
}

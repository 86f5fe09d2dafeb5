//! Keys: every artefact of real runs is searched for them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::wire::answer;
use crate::wire::scripted::{Recorded, Script, Scripted};

const KEY: &str = "sk-test-1f4a9c27b8d3e650";
const HEADER: &str = "hdr-77aa-secret-value";

/// A server that quotes what it was sent wherever it can: in errors, in streams, in redirects.
fn tactless(request: &Recorded) -> Script {
    let sent = request.header("authorization").or(request.header("x-api-key"));
    let sent = format!("{} {}", sent.unwrap_or("no key"), request.header("x-team").unwrap_or(""));
    let prompt = request.body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    let path = request.path.as_str();
    match prompt.as_str() {
        "refuse" => {
            Script::json(400, &json!({"error": {"message": format!("bad request with {sent}")}}))
        }
        "limit" => {
            Script::json(429, &json!({"error": {"message": format!("too much from {sent}")}}))
        }
        "break" => {
            let error = json!({"error": {"message": format!("failed for {sent}")}}).to_string();
            Script::sse(&[&error])
        }
        "garble" => Script::sse(&[&format!("{{no json for {sent}")]),
        "move" => Script::answer(302, &[("location", KEY)], ""),
        _ if path.starts_with("/api/") => Script::answer(404, &[], ""),
        _ => answer(path),
    }
}

fn run(home: &Path, address: &str, provider: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchgen-tui"));
    command.args(["run", "--preset", "mine", "--provider", provider, "--model", "m"]);
    command.args(["--base-url", address, "--api-key-env", "BATCHGEN_SECRET_KEY"]);
    command.args(["--lanes", "sequential,async:2,batched:2", "--on-error", "continue"]);
    command.args(["--prompts", "words.txt", "--retries", "1"]);
    for format in ["json", "csv", "md"] {
        command.args(["--report", &format!("r.{format}")]);
    }
    command.current_dir(home).env("BATCHGEN_HOME", home).env("BATCHGEN_SECRET_KEY", KEY);
    command.env("BATCHGEN_TEAM", HEADER).stdin(Stdio::null());
    command.output().unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn no_artefact_of_a_run_holds_a_key_whatever_the_server_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for provider in ["openai", "anthropic"] {
        let home = tempfile::tempdir().unwrap();
        let prompts = "hi\nrefuse\nlimit\nbreak\ngarble\nmove\nhello\n";
        std::fs::write(home.path().join("words.txt"), prompts).unwrap();
        let presets = home.path().join("config").join("presets");
        std::fs::create_dir_all(&presets).unwrap();
        let preset = format!(
            "[provider]\nprovider = \"{provider}\"\nserver.header_env = {{ x-team = \
             \"BATCHGEN_TEAM\" }}\n"
        );
        std::fs::write(presets.join("mine.toml"), preset).unwrap();
        let server = runtime.block_on(Scripted::start(tactless));
        let output = run(home.path(), &server.address, provider);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        let heard = server.requests();
        let keyed = |request: &&Recorded| request.header("x-team") == Some(HEADER);
        assert!(heard.iter().filter(keyed).count() > 20, "the keys were not even sent");
        let files = files(home.path());
        let reports = files.iter().filter(|path| path.to_string_lossy().contains("/r."));
        assert_eq!(reports.count(), 3);
        assert!(files.len() >= 6, "a journal, reports, a preset, prompts: {files:?}");
        let printed = [("stdout", output.stdout), ("stderr", output.stderr)];
        let read = |path: &PathBuf| (path.display().to_string(), std::fs::read(path).unwrap());
        let printed = printed.map(|(name, bytes)| (name.to_owned(), bytes));
        for (name, bytes) in files.iter().map(read).chain(printed) {
            let text = String::from_utf8_lossy(&bytes);
            for secret in [KEY, HEADER] {
                assert!(!text.contains(secret), "{name} of {provider} holds a key:\n{text}");
            }
        }
        let report = std::fs::read_to_string(home.path().join("r.json")).unwrap();
        assert!(report.contains("[BATCHGEN_SECRET_KEY]"), "the errors were not even quoted");
    }
}

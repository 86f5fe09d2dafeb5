//! Batch files through the real binary: exported, answered by a real server, imported; and
//! results that are damaged.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::servers::{LlamaServer, quickstart_model, require_or_skip};

const PROMPTS: &str = "Name the capital of France.\nWhat is 7 times 8?\nName a river.\n";

fn workplace() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("questions.txt"), PROMPTS).unwrap();
    home
}

fn run(home: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchgen-tui"));
    command.args(line.split_whitespace()).current_dir(home).env("BATCHGEN_HOME", home);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The exported requests.
fn export(home: &Path, flags: &str) -> Vec<Value> {
    let line = format!("export-batch --prompts questions.txt --model m {flags} batch.jsonl");
    let output = run(home, &line);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let file = std::fs::read_to_string(home.join("batch.jsonl")).unwrap();
    file.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Imports results; the status and the report.
fn import(home: &Path, prompts: &str, results: &str) -> (Option<i32>, Value) {
    std::fs::write(home.join("results.jsonl"), results).unwrap();
    let line = format!("import-batch --prompts {prompts} results.jsonl --report r.json --quiet");
    let output = run(home, &line);
    let report = std::fs::read(home.join("r.json"));
    let report = report.map(|bytes| serde_json::from_slice(&bytes).unwrap());
    (output.status.code(), report.unwrap_or_else(|_| panic!("{}", text(&output.stderr))))
}

fn answer(id: &str, content: &str) -> String {
    let body = json!({
        "model": "m",
        "choices": [{"index": 0, "message": {"content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    });
    let response = json!({"status_code": 200, "request_id": "r", "body": body});
    json!({"id": "b", "custom_id": id, "response": response, "error": null}).to_string()
}

#[test]
fn what_a_real_server_answers_comes_back_in_prompt_order() {
    let Some(model) = require_or_skip(quickstart_model()) else { return };
    let Some(server) = require_or_skip(LlamaServer::start(&model, &["-c", "1024"])) else { return };
    let home = workplace();
    let requests = export(home.path(), "--max-tokens 12 --stop Berlin");
    assert_eq!(requests.len(), 3);
    let results = requests.iter().rev().map(|request| {
        let body = server.post(request["url"].as_str().unwrap(), &request["body"]);
        let response = json!({"status_code": 200, "request_id": "r", "body": body});
        json!({"id": "b", "custom_id": request["custom_id"], "response": response}).to_string()
    });
    let results = results.collect::<Vec<_>>().join("\n");
    for prompts in ["questions.txt", "batch.jsonl"] {
        let (status, report) = import(home.path(), prompts, &results);
        assert_eq!(status, Some(0), "{report}");
        let lane = &report["lanes"][0];
        assert_eq!((&lane["rows_ok"], &lane["integrity"]["passed"]), (&json!(3), &json!(true)));
        assert!(lane["rows"][0]["text"].as_str().unwrap().contains("Paris"), "{lane}");
        assert_eq!(lane["rows"][0]["prompt"], "Name the capital of France.");
        assert!(lane["rows"][0]["output_tokens"].as_u64().unwrap() > 0);
        // times and parameters that nobody measured are not there
        for unknown in ["wall_s", "ttft_s", "e2e_s", "itl_s", "output_tokens_per_s", "device"] {
            assert_eq!(lane[unknown], Value::Null, "{unknown}");
        }
        assert_eq!(report["run"]["plan"]["sampling"], Value::Null);
    }
}

#[test]
fn damaged_missing_doubled_and_unknown_results_fail_the_import_and_are_named() {
    let home = workplace();
    let failed = json!({"custom_id": "row-3", "error": null, "response": {"status_code": 400,
        "body": {"error": {"message": "too long", "code": "context_length_exceeded"}}}});
    let lines = [
        answer("row-1", "Paris"),
        answer("row-1", "Paris again"),
        answer("row-9", "nobody asked"),
        "{\"custom_id\": \"row-2\", \"respo".to_owned(),
        failed.to_string(),
    ];
    let (status, report) = import(home.path(), "questions.txt", &lines.join("\n"));
    assert_eq!(status, Some(1));
    let lane = &report["lanes"][0];
    assert_eq!((&lane["rows_ok"], &lane["rows_failed"]), (&json!(1), &json!(1)));
    assert_eq!(lane["rows"][0]["text"], "Paris");
    assert_eq!(lane["rows"][2]["error_kind"], "invalid_request");
    let violations = lane["integrity"]["violations"].to_string();
    for part in [
        "results.jsonl:2: \\\"row-1\\\" came before, in results.jsonl:1",
        "results.jsonl:3: no prompt has the custom_id \\\"row-9\\\"",
        "results.jsonl:4: not valid JSON: EOF",
        "1 of 3 rows never ended: 2",
    ] {
        assert!(violations.contains(part), "{part} is not in {violations}");
    }
}

#[test]
fn an_output_file_and_an_error_file_are_one_batch() {
    let home = workplace();
    std::fs::write(home.path().join("errors.jsonl"), answer("row-2", "56")).unwrap();
    let ok = [answer("row-3", "Nile"), answer("row-1", "Paris")].join("\n");
    std::fs::write(home.path().join("out.jsonl"), ok).unwrap();
    let output = run(home.path(), "import-batch --prompts questions.txt out.jsonl errors.jsonl");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("verified"), "{}", text(&output.stdout));
}

#[test]
fn bad_usage_is_told_and_nothing_is_written() {
    let home = workplace();
    let chat = r#"{"messages":[{"role":"user","content":"x"}]}"#;
    std::fs::write(home.path().join("chat.jsonl"), chat).unwrap();
    std::fs::write(home.path().join("none.txt"), "").unwrap();
    let export = "export-batch --model m out.jsonl --prompts";
    for (line, part) in [
        (format!("{export} chat.jsonl --endpoint completions"), "prompt 1 is a conversation"),
        (format!("{export} none.txt"), "nothing to export"),
        (format!("{export} questions.txt --endpoint odd"), "chat or completions"),
        (format!("{export} questions.txt --max-tokens 0"), "max_tokens is 0"),
        ("import-batch --prompts questions.txt nothing.jsonl".into(), "nothing.jsonl"),
        (
            "import-batch --prompts questions.txt questions.txt --assert=batched.speedup>=2".into(),
            "there is no such lane",
        ),
    ] {
        let output = run(home.path(), &line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(part), "{line}: {}", text(&output.stderr));
    }
    assert!(!home.path().join("out.jsonl").exists());
}

#[test]
fn the_file_goes_to_standard_output_too_and_is_a_prompt_list_itself() {
    let home = workplace();
    let line = "export-batch --prompts questions.txt --model m --temperature 0.5 --top-k 3 -";
    let output = run(home.path(), line);
    assert!(text(&output.stderr).contains("OpenAI does not take top_k"));
    let first: Value = serde_json::from_str(text(&output.stdout).lines().next().unwrap()).unwrap();
    assert_eq!(first["body"]["temperature"], 0.5);
    assert_eq!(first["body"]["messages"][0]["content"], "Name the capital of France.");
}

//! The real binary without a screen, on a model of random weights: statuses, what is printed,
//! killing it and going on.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::tiny_models::Tiny;
use crate::tiny_tokenizer;

/// A folder with a tiny model and three prompts.
pub fn workplace() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let model = home.path().join("model");
    std::fs::create_dir(&model).unwrap();
    Tiny::llama(2, true).write_safetensors(&model);
    tiny_tokenizer::write(&model);
    std::fs::write(home.path().join("words.txt"), "w1 w2\nw3\nw4 w5 w6\n").unwrap();
    home
}

/// The program with these arguments, at home in this folder.
pub fn command(home: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchgen-tui"));
    command.args(line.split_whitespace()).current_dir(home).env("BATCHGEN_HOME", home);
    command.stdin(Stdio::null());
    command
}

/// The report of a run in `home`, which ends well.
pub fn run_report(home: &Path, arguments: &[&str]) -> Value {
    let mut command = command(home, "run --report r.json");
    let output = command.args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    serde_json::from_slice(&std::fs::read(home.join("r.json")).unwrap()).unwrap()
}

const RUN: &str = "run --model ./model --prompts words.txt --raw --max-tokens 5";

fn run(home: &Path, line: &str) -> Output {
    command(home, line).output().unwrap()
}

/// What the program said on standard error.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_run_ends_0_and_its_report_has_every_row_of_every_lane() {
    let home = workplace();
    let lanes = "--lanes sequential,async:2,batched:2,batched_async:1x2 --report r.json";
    let output = run(home.path(), &format!("{RUN} {lanes}"));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("verified"));
    let report = std::fs::read(home.path().join("r.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    for lane in report["lanes"].as_array().unwrap() {
        assert_eq!(lane["rows_ok"], 3, "{}", lane["label"]);
        assert_eq!(lane["integrity"]["passed"], true);
    }
    let compared = run(home.path(), "compare r.json r.json");
    assert_eq!(compared.status.code(), Some(0), "{}", errors(&compared));
}

#[test]
fn a_report_is_written_again_from_its_json_or_from_the_run_on_the_disk() {
    let home = workplace();
    let run_line = format!("{RUN} --lanes sequential,batched:2 --report r.json --report r.html");
    let output = run(home.path(), &run_line);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let read = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();

    let output = run(home.path(), "report r.json --report again.html --report again.json");
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("verified"));
    assert_eq!(read("again.html"), read("r.html"));
    assert_eq!(read("again.json"), read("r.json"));

    let id = std::fs::read_dir(home.path().join("data/runs")).unwrap().next().unwrap().unwrap();
    let id = id.file_name().into_string().unwrap();
    let output = run(home.path(), &format!("report {id} --report past.json"));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let (live, past): (Value, Value) = (
        serde_json::from_str(&read("r.json")).unwrap(),
        serde_json::from_str(&read("past.json")).unwrap(),
    );
    for key in ["id", "started_at", "version", "host", "plan"] {
        assert_eq!(past["run"][key], live["run"][key], "{key}");
    }
    assert!(past["run"]["finished_at"].is_string());
    for (past, live) in
        past["lanes"].as_array().unwrap().iter().zip(live["lanes"].as_array().unwrap())
    {
        for key in ["label", "rows_ok", "output_tokens", "rows", "integrity", "agreement"] {
            assert_eq!(past[key], live[key], "{key}");
        }
        let apart = past["wall_s"].as_f64().unwrap() - live["wall_s"].as_f64().unwrap();
        assert!(apart.abs() < 1e-6, "{apart}");
    }
}

#[test]
fn a_report_written_again_is_judged_by_new_claims() {
    let home = workplace();
    run(home.path(), &format!("{RUN} --lanes sequential,batched:2 --report r.json"));
    let output = run(home.path(), "report r.json --quiet --assert sequential.rows_failed>=1");
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains("fails:"), "{}", errors(&output));
    for (line, why) in [
        ("report none.json", "none.json"),
        ("report 20200101-000000", "no run"),
        ("report words.txt", "no run"),
        ("report r.json --report r.pdf", ".json"),
    ] {
        let output = run(home.path(), line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", errors(&output));
        assert!(errors(&output).contains(why), "{line}: {}", errors(&output));
    }
}

#[test]
fn bad_usage_ends_2_says_why_and_leaves_no_run_behind() {
    let home = workplace();
    for (line, why) in [
        ("--lanes batched:0", "batch size is 0"),
        ("--lanes sequential,sequential", "two lanes are labelled"),
        ("--lanes offline", "no batch API"),
        ("--batch-route", "batch_route is for vLLM"),
        ("--job-requests 5", "batch jobs of openai and anthropic"),
        ("--runner abacus", "no runner"),
        ("--runner cpu:abacus", "sets: amx, avx512"),
        ("--model ./nothing.gguf", "nothing.gguf"),
        ("--provider abacus", "no provider"),
        ("--preset abacus", "abacus"),
        ("--prompts nothing.txt", "nothing.txt"),
        ("--report nowhere/r.json", "nowhere"),
        ("--report r.pdf", ".json"),
    ] {
        // a later flag of the same name is refused by the parser, so leave ours out
        let own = line.split_whitespace().next().unwrap();
        let base = match own {
            "--model" => RUN.replace("--model ./model", ""),
            "--prompts" => RUN.replace("--prompts words.txt", ""),
            _ => RUN.to_owned(),
        };
        let output = run(home.path(), &format!("{base} {line}"));
        assert_eq!(output.status.code(), Some(2), "{line}: {}", errors(&output));
        assert!(errors(&output).contains(why), "{line}: {}", errors(&output));
    }
    assert!(!home.path().join("data").join("runs").exists());
}

#[test]
fn quiet_prints_errors_and_nothing_else() {
    let home = workplace();
    let output = run(home.path(), &format!("{RUN} --quiet"));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert_eq!(errors(&output), "");
    std::fs::write(home.path().join("model").join("model.safetensors"), b"damaged").unwrap();
    let output = run(home.path(), &format!("{RUN} --quiet"));
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("model.safetensors"), "{}", errors(&output));
}

#[test]
fn an_empty_list_is_nothing_to_do() {
    let home = workplace();
    std::fs::write(home.path().join("words.txt"), "\n\n").unwrap();
    let output = run(home.path(), RUN);
    assert_eq!(output.status.code(), Some(0));
    assert!(errors(&output).contains("nothing to run"), "{}", errors(&output));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = workplace();
    let mut child =
        command(home.path(), RUN).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
}

/// Starts a run that takes long enough to be killed in the middle.
fn long_run(home: &Path) -> Child {
    let prompts: String = (0..4000).map(|row| format!("w{} w{}\n", row % 40, row % 37)).collect();
    std::fs::write(home.join("words.txt"), prompts).unwrap();
    let line = RUN.replace("--max-tokens 5", "--max-tokens 20 --lanes sequential --quiet");
    command(home, &line).stderr(Stdio::null()).spawn().unwrap()
}

/// The journal of the only run, once it has some rows.
fn journal_with_rows(home: &Path) -> (String, usize) {
    let runs = home.join("data").join("runs");
    let started = Instant::now();
    loop {
        let folder = std::fs::read_dir(&runs).ok().and_then(|mut runs| runs.next());
        if let Some(Ok(folder)) = folder {
            let text = std::fs::read_to_string(folder.path().join("journal.jsonl"));
            let rows = text.unwrap_or_default().matches("{\"row\":").count();
            if rows > 20 {
                return (folder.file_name().into_string().unwrap(), rows);
            }
        }
        assert!(started.elapsed() < Duration::from_secs(60), "no rows in the journal");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_killed_run_loses_no_finished_row_and_resume_goes_on_while_a_live_one_is_left_alone() {
    let home = workplace();
    let mut child = long_run(home.path());
    let (id, rows) = journal_with_rows(home.path());
    let refused = run(home.path(), &format!("resume {id}"));
    assert_eq!(refused.status.code(), Some(2), "{}", errors(&refused));
    assert!(errors(&refused).contains("still under way"), "{}", errors(&refused));
    child.kill().unwrap();
    child.wait().unwrap();

    let output = run(home.path(), &format!("resume {id} --report r.json"));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let report = std::fs::read(home.path().join("r.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["lanes"][0]["rows_ok"], 4000);
    let journal = home.path().join("data").join("runs").join(&id).join("journal.jsonl");
    let text = std::fs::read_to_string(journal).unwrap();
    assert_eq!(text.matches("{\"row\":").count(), 4000, "no row ran twice, {rows} were kept");
}

#[test]
fn a_crash_leaves_a_report_of_the_lanes_that_finished() {
    let home = workplace();
    let prompts: String = (0..400).map(|row| format!("w{} w{}\n", row % 40, row % 37)).collect();
    std::fs::write(home.path().join("words.txt"), prompts).unwrap();
    let lanes =
        "--lanes batched:8,second=sequential,third=sequential --report r.json --report r.md";
    let line = format!("{} {lanes}", RUN.replace("--max-tokens 5", "--max-tokens 20 --quiet"));
    let mut child = command(home.path(), &line).spawn().unwrap();
    let path = home.path().join("r.json");
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "no report after the first lane");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(report["lanes"][0]["rows_ok"], 400);
    assert_eq!(report["lanes"][2]["state"], "waiting");
    assert_eq!(report["verdict"]["outcome"], "incomplete");
    assert!(report["run"].get("finished_at").is_none());
}

#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_while_the_journal_grows_fails_the_run_and_resuming_goes_on() {
    let home = workplace();
    let prompts: String = (0..400).map(|row| format!("w{} w{}\n", row % 40, row % 37)).collect();
    std::fs::write(home.path().join("words.txt"), prompts).unwrap();
    // a limit on the size of files stands in for a full disk; blocks are of 512 or 1024 bytes
    let line = format!("{RUN} --lanes sequential,batched:4 --quiet");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 128; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_batchgen-tui"))
        .args(line.split_whitespace())
        .current_dir(home.path())
        .env("BATCHGEN_HOME", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let told = errors(&output);
    assert!(told.contains("the run's journal cannot be written"), "{told}");
    assert!(told.contains("free some space and resume the run"), "{told}");

    let runs = std::fs::read_dir(home.path().join("data").join("runs")).unwrap();
    let id = runs.last().unwrap().unwrap().file_name().into_string().unwrap();
    let output = run(home.path(), &format!("resume {id} --report r.json"));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let report = std::fs::read(home.path().join("r.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    for lane in report["lanes"].as_array().unwrap() {
        assert_eq!((lane["rows_ok"].as_u64(), &lane["state"]), (Some(400), &"done".into()));
    }
}

#[test]
fn claims_are_judged_at_the_end_and_decide_the_status() {
    let home = workplace();
    let lanes = "--lanes sequential,batched:2 --report r.json";
    let good = run(home.path(), &format!("{RUN} {lanes} --assert integrity --assert agreement"));
    let out = String::from_utf8_lossy(&good.stdout).into_owned();
    assert_eq!(good.status.code(), Some(0), "{}", errors(&good));
    assert!(out.contains("holds: integrity: 0 violations, 0 rows did not end"), "{out}");
    let claim = "--assert=batched.speedup>=1000 --quiet";
    let bad = run(home.path(), &format!("{RUN} {lanes} {claim}"));
    assert_eq!((bad.status.code(), bad.stdout.len()), (Some(1), 0));
    assert!(errors(&bad).starts_with("fails: batched.speedup>=1000: "), "{}", errors(&bad));
    for (claim, why) in [
        ("--assert=async.speedup>=2", "there is no such lane"),
        ("--assert=nonsense", "batched.speedup >= 2"),
        ("--baseline nothing.json", "nothing.json"),
    ] {
        let refused = run(home.path(), &format!("{RUN} {lanes} {claim}"));
        assert_eq!(refused.status.code(), Some(2), "{claim}: {}", errors(&refused));
        assert!(errors(&refused).contains(why), "{claim}: {}", errors(&refused));
    }
    let path = home.path().join("r.json");
    let text = std::fs::read(&path).unwrap();
    // a baseline that any run is better than, and one that none is as good as
    for (factor, status, word) in [(1e-6, 0, "holds"), (1e6, 1, "fails")] {
        let mut baseline: Value = serde_json::from_slice(&text).unwrap();
        let lane = &mut baseline["lanes"][1];
        lane["output_tokens_per_s"] =
            (lane["output_tokens_per_s"].as_f64().unwrap() * factor).into();
        for times in ["ttft_s", "itl_s"] {
            lane[times]["p50"] = (lane[times]["p50"].as_f64().unwrap() / factor).into();
        }
        baseline["lanes"].as_array_mut().unwrap().remove(0);
        std::fs::write(home.path().join("b.json"), baseline.to_string()).unwrap();
        let output = run(home.path(), &format!("{RUN} {lanes} --baseline b.json --tolerance 5%"));
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(status), "{out}");
        assert!(out.contains(&format!("{word}: baseline: batched 2 throughput: ")), "{out}");
    }
}

#[test]
fn the_manual_page_and_the_completions_know_every_command() {
    let home = tempfile::tempdir().unwrap();
    let man = run(home.path(), "man");
    let page = String::from_utf8_lossy(&man.stdout).into_owned();
    assert!(page.starts_with(".ie") || page.contains(".TH batchgen-tui"), "{page}");
    let shells = ["bash", "zsh", "fish", "elvish", "powershell"];
    let all = shells.map(|shell| run(home.path(), &format!("completions {shell}")).stdout);
    for command in ["run", "sweep", "compare", "resume", "models", "presets", "completions"] {
        assert!(page.contains(command), "{command}");
        for (shell, text) in shells.iter().zip(&all) {
            assert!(String::from_utf8_lossy(text).contains(command), "{shell}: {command}");
        }
    }
}

//! The real program beside a stand-in for NVIDIA's driver: memory and energy of GPUs.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::headless::{command, errors, workplace};
use crate::wire::scripted::{Script, Scripted};

const GIB: u64 = 1 << 30;
/// What the first of the driver's GPUs draws.
const WATTS: f64 = 50.0;
/// How long the server takes for an answer.
const ANSWER: Duration = Duration::from_millis(200);

/// Builds the driver's library in a folder; any C compiler that builds the program builds it too.
fn put_driver(folder: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/nvidia/driver.c");
    let library = folder.join("libnvidia-ml.so.1");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
}

/// Runs the program where the system has this driver.
fn run(home: &Path, line: &str) -> Value {
    put_driver(home);
    let mut command = command(home, &format!("run --report r.json {line}"));
    let output = command.env("LD_LIBRARY_PATH", home).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    serde_json::from_slice(&std::fs::read(home.join("r.json")).unwrap()).unwrap()
}

#[test]
fn a_run_on_the_cpu_names_the_gpus_and_counts_none_of_their_memory() {
    let home = workplace();
    let line = "--model ./model --prompts words.txt --raw --lanes batched:2 --max-tokens 40";
    let report = run(home.path(), line);
    let gpus = report["run"]["host"]["gpus"].as_array().unwrap();
    for bytes in [24 * GIB, 8 * GIB] {
        let gpu = json!({"name": "Stand-in 9000", "memory_bytes": bytes});
        assert!(gpus.contains(&gpu), "{gpus:?}");
    }
    let lane = &report["lanes"][0];
    assert_eq!(lane["device"], "cpu");
    assert!(lane["peak_memory_bytes"]["process"].is_u64(), "{lane}");
    assert_eq!(lane["peak_memory_bytes"]["gpu"], Value::Null, "what other programs use");
    let source = lane["memory_source"].as_str().unwrap();
    assert!(!source.contains("nvml"), "{source}");
}

#[test]
fn a_server_on_this_machine_is_told_with_the_gpus_memory_and_energy() {
    let home = workplace();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Scripted::start(|request| match request.path.as_str() {
        "/v1/models" => Script::json(200, &json!({"data": [{"id": "m"}]})),
        "/v1/chat/completions" => Script::sse(&[
            r#"{"choices":[{"index":0,"delta":{"content":"yes"},"finish_reason":"stop"}]}"#,
            "[DONE]",
        ])
        .after(ANSWER),
        _ => Script::json(404, &json!({})),
    }));
    let line = format!(
        "--provider openai --base-url {} --model m --prompts words.txt --lanes sequential",
        server.address
    );
    let begun = Instant::now();
    let report = run(home.path(), &line);
    let whole = begun.elapsed().as_secs_f64();
    let lane = &report["lanes"][0];
    // what both GPUs have in use, of which 3 GiB are this program's, and what others have
    let gpu = lane["peak_memory_bytes"]["gpu"].as_u64().unwrap();
    assert!(gpu >= 7 * GIB, "{gpu}");
    assert!(lane["memory_source"].as_str().unwrap().contains("nvml"), "{lane}");
    // the second GPU has no meter
    let energy = &lane["energy"];
    let sources = energy["sources"].as_array().unwrap();
    assert!(sources.contains(&json!("nvml Stand-in 9000 0")), "{energy}");
    // other meters of this machine would be in the sum
    if sources.len() == 1 {
        let joules = energy["joules"].as_f64().unwrap();
        // three answers one after another, of which the meter's first reading may miss some
        let least = WATTS * ANSWER.as_secs_f64();
        assert!((least..=WATTS * whole).contains(&joules), "{joules} J in {whole} s");
    }
}

//! The real program beside a stand-in for NVIDIA's driver: memory and energy of GPUs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::headless::{self, workplace};
use crate::wire::scripted::{Script, Scripted};

const GIB: u64 = 1 << 30;
/// What each of the driver's GPUs draws.
const WATTS: f64 = 50.0;

/// Builds the driver's library; any C compiler that builds the program builds it too.
fn driver(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/nvidia/driver.c");
    let library = folder.join("libnvidia-ml.so.1");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    folder.to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the program where the system has this driver.
fn run(home: &Path, driver: &Path, line: &str) -> Value {
    let mut command = headless::command(home, &format!("run --report r.json {line}"));
    let output: Output = command.env("LD_LIBRARY_PATH", driver).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&std::fs::read(home.join("r.json")).unwrap()).unwrap()
}

#[test]
fn a_run_on_the_cpu_names_the_gpus_and_counts_none_of_their_memory() {
    let home = workplace();
    let driver = driver(home.path());
    let line = "--model ./model --prompts words.txt --raw --lanes batched:2 --max-tokens 40";
    let report = run(home.path(), &driver, line);
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
    let driver = driver(home.path());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Scripted::start(|request| match request.path.as_str() {
        "/v1/models" => Script::json(200, &json!({"data": [{"id": "m"}]})),
        "/v1/chat/completions" => Script::sse(&[
            r#"{"choices":[{"index":0,"delta":{"content":"yes"},"finish_reason":"stop"}]}"#,
            "[DONE]",
        ])
        .after(std::time::Duration::from_millis(200)),
        _ => Script::json(404, &json!({})),
    }));
    let line = format!(
        "--provider openai --base-url {} --model m --prompts words.txt --lanes sequential",
        server.address
    );
    let report = run(home.path(), &driver, &line);
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
        let (joules, wall) = (energy["joules"].as_f64().unwrap(), lane["wall_s"].as_f64().unwrap());
        let watts = joules / wall;
        assert!((0.2 * WATTS..5.0 * WATTS).contains(&watts), "{watts} W over {wall} s");
    }
}

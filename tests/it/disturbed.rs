//! Runs of the real program that something really disturbs: the audit of the report says what.

use std::process::{Child, Command};

use serde_json::Value;

use crate::headless::run_report;
use crate::servers::{LlamaServer, quickstart_model, require_or_skip};

/// What the audit says about this.
fn doubt(report: &Value, kind: &str) -> Option<String> {
    let doubts = report["audit"].as_array()?;
    let found = doubts.iter().find(|doubt| doubt["kind"] == kind)?;
    Some(found["message"].as_str()?.to_owned())
}

/// Programs that do nothing and need a processor each for it.
struct Burners(Vec<Child>);

impl Burners {
    fn start() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let burn = |_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Self((0..processors).map(burn).collect())
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // it may have ended already
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn other_programs_on_the_machine_are_told_with_what_they_may_have_done() {
    let Some(model) = require_or_skip(quickstart_model()) else { return };
    let model = model.display().to_string();
    let home = tempfile::tempdir().unwrap();
    let burners = Burners::start();
    let flags = ["--model", &model, "--lanes", "sequential", "--max-tokens", "48", "--ignore-eos"];
    let report = run_report(home.path(), &flags);
    drop(burners);
    let busy = doubt(&report, "busy_machine").unwrap_or_else(|| panic!("{}", report["audit"]));
    println!("{busy}");
    assert!(busy.contains("throughput may be too low"), "{busy}");
}

#[test]
fn a_server_with_too_few_slots_a_cold_start_and_too_few_rows_are_told() {
    let Some(model) = require_or_skip(quickstart_model()) else { return };
    let server = LlamaServer::start(&model, &["-np", "2", "-c", "1024", "-t", "2"]);
    let Some(server) = require_or_skip(server) else { return };
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("p.txt"), "Count.\nSing.\nGo on.\nName a river.\n").unwrap();
    let url = server.url("");
    let flags = ["--provider", "openai", "--base-url", &url, "--prompts", "p.txt"];
    let lanes = ["--lanes", "async:4", "--max-tokens", "8", "--warmup", "0"];
    let report = run_report(home.path(), &[&flags[..], &lanes[..]].concat());
    let slots = doubt(&report, "few_slots").unwrap_or_else(|| panic!("{}", report["audit"]));
    assert!(slots.contains("4 rows") && slots.contains("2 slots"), "{slots}");
    for (kind, what) in
        [("no_warm_up", "cold caches"), ("few_rows", "4 rows"), ("few_repeats", "repeats")]
    {
        let told = doubt(&report, kind).unwrap_or_else(|| panic!("{kind}: {}", report["audit"]));
        assert!(told.contains(what), "{told}");
    }
}

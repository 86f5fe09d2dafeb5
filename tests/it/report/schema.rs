//! Reports are what docs/report.schema.json says.

use batchgen::bench::event::RunEvent;
use batchgen::probe::Sample;
use batchgen::provider::{Event, Failure, FailureKind, FinishReason, TokenCounts, Usage};
use batchgen::report::{Report, Slo};
use serde_json::Value;

use super::run::{Told, eventful};

pub(super) fn check(report: &Report) -> Value {
    let schema: Value =
        serde_json::from_str(include_str!("../../../docs/report.schema.json")).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let text = serde_json::to_string(report).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let wrong: Vec<String> = validator
        .iter_errors(&value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let read: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(&read, report, "a report is the same after it was written and read");
    value
}

#[test]
fn the_schema_itself_is_valid_and_refuses_what_is_no_report() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../docs/report.schema.json")).unwrap();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    let mut report = serde_json::to_value(eventful().report()).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&report));
    report["lanes"][0]["rows"][0]["ttft_s"] = Value::from("soon");
    assert!(!validator.is_valid(&report));
}

#[test]
fn an_eventful_run_has_a_valid_report() {
    let value = check(&eventful().report());
    assert_eq!(value["verdict"]["outcome"], "failed");
    assert_eq!(value["lanes"][2]["state"], "cancelled");
    assert_eq!(value["lanes"][1]["batch_size_changes"][0]["batch_size"], 4);
}

#[test]
fn one_row_has_a_valid_report_without_what_it_cannot_know() {
    let mut told = Told::new(&["sequential"], &["hi"]);
    told.pass(0, 0, &["yes"]);
    let value = check(&told.report());
    let lane = value["lanes"][0].as_object().unwrap();
    assert_eq!(lane["rows"][0]["error"], Value::Null);
    // one token has no time between tokens; nothing was read of memory or steps; no lane to
    // agree with
    for unknown in ["itl_s", "peak_memory_bytes", "occupancy", "agreement", "cost_usd", "repeats"] {
        assert!(!lane.contains_key(unknown), "{unknown}");
    }
}

#[test]
fn a_plan_that_has_not_begun_and_an_empty_list_have_valid_reports() {
    check(&Told::new(&["sequential", "async:8", "batched_async:4x2"], &["a", "b"]).report());
    let mut told = Told::new(&["sequential"], &[]);
    told.pass(0, 0, &[]);
    let report = told.report();
    check(&report);
    assert_eq!(report.verdict.unwrap().outcome, batchgen::bench::verify::Outcome::Verified);
}

#[test]
fn a_run_under_way_has_a_valid_report() {
    let mut told = Told::new(&["sequential", "batched:2"], &["a", "b"]);
    told.event(0, RunEvent::WarmUp { lane: 0 });
    check(&told.report());
    told.start(0, 0);
    told.submit(0);
    told.provider(3, Event::Tokens { row: 0, count: 1, ids: vec![], text: "x".into() });
    let value = check(&told.report());
    assert_eq!(value["verdict"]["outcome"], "incomplete");
    assert_eq!(value["lanes"][0]["integrity"]["passed"], true);
}

#[test]
fn a_lane_that_could_not_begin_has_a_valid_report() {
    let mut told = Told::new(&["batched:2"], &["a"]);
    told.event(0, RunEvent::LaneStarted { lane: 0, repeat: 0 });
    told.end(Some(Failure::new(FailureKind::Unsupported, "phi3 cannot batch; use async")));
    let value = check(&told.report());
    assert_eq!(value["lanes"][0]["failure"]["kind"], "unsupported");
    assert_eq!(value["lanes"][0]["model"], "smollm2-135m-instruct");
    assert_eq!(value["verdict"]["outcome"], "failed");
}

#[test]
fn estimated_counts_and_foreign_finish_reasons_have_valid_reports() {
    let mut told = Told::new(&["async:2"], &["a", "b"]);
    told.info.token_counts = TokenCounts::Estimated;
    told.info.model_sha256 = None;
    told.start(0, 0);
    for row in 0..2 {
        told.submit(row);
        told.provider(5, Event::Tokens { row, count: 1, ids: vec![], text: "x".into() });
        let reason = FinishReason::Other("pause_turn".into());
        told.provider(5, Event::Finished { row, usage: Usage::default(), reason });
    }
    told.end(None);
    let value = check(&told.report());
    assert_eq!(value["lanes"][0]["token_counts"], "estimated");
    assert_eq!(value["lanes"][0]["rows"][1]["finish_reason"], "pause_turn");
    assert!(value["lanes"][0].get("prompt_tokens").is_none());
}

#[test]
fn repeats_canaries_and_swaps_have_valid_reports() {
    let mut told = Told::canary(&["sequential", "batched:2"], &["amber", "basalt"]).repeats(2);
    for repeat in 0..2 {
        told.pass(0, repeat, &["amber", "basalt"]);
    }
    told.pass(1, 0, &["amber", "basalt"]);
    told.pass(1, 1, &["basalt", "amber"]);
    let value = check(&told.report());
    let lane = &value["lanes"][1];
    assert_eq!(lane["repeats"][1]["rows_ok"], 2);
    assert_eq!(lane["agreement"]["swapped"][0]["repeat"], 1);
    assert_eq!(lane["canary"]["own"], 2);
    let violation = "repeat 2: the output of row 1 contains the word of row 2 and not its own";
    assert_eq!(lane["integrity"]["violations"][0], violation);
}

#[test]
fn repeats_limits_energy_and_doubts_have_valid_reports() {
    let mut told = Told::new(&["sequential", "batched:1", "batched:2", "batched:4"], &["a", "b"]);
    told.plan.repeats = 5;
    for repeat in 0..5 {
        for lane in 0..4 {
            told.start(lane, repeat);
            for joules in [1.0, 6.0] {
                let (name, source) = ("package-0".to_owned(), "rapl".to_owned());
                let reading =
                    batchgen::probe::EnergyReading { name, joules, wraps_at: None, source };
                let sample = Sample { energy: vec![reading], ..Sample::default() };
                told.event(1, RunEvent::Probe(sample));
            }
            for row in 0..2 {
                told.submit(row);
                told.output(row, "one two three");
            }
            told.end(None);
        }
    }
    let slo = Slo { ttft_s: Some(0.5), e2e_s: None };
    let value = check(&told.report().within(slo));
    let lane = &value["lanes"][1];
    assert_eq!(lane["spread"]["speedup"]["basis"], "bootstrap_95");
    assert_eq!(lane["spread"]["against_sequential"], "same");
    assert_eq!(lane["energy"]["joules"], 5.0);
    assert_eq!(lane["slo"]["share"], 1.0);
    assert_eq!(value["run"]["slo"]["ttft_s"], 0.5);
    assert_eq!(value["batch_sizes"]["largest_within_slo"], 4);
    assert_eq!(value["audit"][0]["kind"], "short_pass");
}

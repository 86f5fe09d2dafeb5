//! Batch jobs through the real binary: llmock and aimock speak the vendors' APIs, a scripted
//! server does what no vendor should.

mod outcomes;
mod parts;
mod resume;
mod support;
#[cfg(unix)]
mod workbench;
mod wrong;

use serde_json::{Value, json};
use support::{BOTH, Place, assert_answers_are_in_order, text};

use crate::mocks::Mock;

#[test]
fn a_list_is_one_job_and_its_results_come_back_in_prompt_order_at_half_the_price() {
    for provider in BOTH {
        let Some(mock) = Mock::llmock(&["--response-style", "echo"]) else { return };
        let place = Place::new(provider, &mock, 25);
        let output = place.run("--lanes offline --report r.json --report r.md");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let lane = &place.report()["lanes"][0];
        assert_eq!((&lane["rows_ok"], &lane["integrity"]["passed"]), (&json!(25), &json!(true)));
        let rows = lane["rows"].as_array().unwrap();
        assert_answers_are_in_order(lane);
        for row in rows {
            // all rows have the job's time, and nobody knows when their tokens came
            assert!(row["e2e_s"].as_f64().unwrap() >= 3.0, "{row}");
            assert_eq!(row.get("ttft_s"), None, "{row}");
        }
        assert_eq!((lane.get("ttft_s"), lane.get("itl_s")), (None, None));
        assert_eq!(lane["batching"], "offline");
        let jobs = lane["jobs"].as_array().unwrap();
        assert_eq!(jobs.len(), 1);
        assert_eq!((&jobs[0]["requests"], &jobs[0]["completed"]), (&json!(25), &json!(25)));
        assert_eq!(jobs[0]["over"], true);
        assert_eq!(place.jobs().as_slice(), [jobs[0]["id"].as_str().unwrap()]);
        half_the_price(lane);
        let told = text(&output.stderr);
        assert!(told.contains("25/25") && told.contains(jobs[0]["id"].as_str().unwrap()), "{told}");
        let page = std::fs::read_to_string(place.path("r.md")).unwrap();
        assert!(page.contains("e2e is the job's time"), "{page}");
    }
}

/// A dollar a prompt token and two an output token, and half of that in a job.
fn half_the_price(lane: &Value) {
    let count = |name: &str| lane[name].as_f64().unwrap();
    let full = (count("prompt_tokens") + 2.0 * count("output_tokens")) / 1e6;
    let cost = count("cost_usd");
    assert!((cost - full / 2.0).abs() < full * 1e-9, "{cost} is not half of {full}");
}

#[test]
fn a_job_is_not_submitted_if_it_may_pass_the_spending_limit_and_settles_at_what_it_cost() {
    let Some(mock) = Mock::llmock(&[]) else { return };
    let place = Place::new("openai", &mock, 4);
    let refused = place.run("--lanes offline --max-cost 0.000001");
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("the spending limit of $"), "{}", text(&refused.stderr));
    assert_eq!(place.jobs().len(), 0, "nothing may be submitted");
    // a job may cost 4 rows of some 300 prompt and 2000 output tokens at half the price: 0.0086;
    // two of them pass the limit unless the first is settled at what it cost
    let line = "--lanes first=offline,second=offline --max-tokens 2000 --max-cost 0.012";
    let output = place.run(&format!("{line} --report r.json"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(place.jobs().len(), 2);
}

#[test]
fn a_preset_and_other_lanes_go_with_it() {
    let Some(mock) = Mock::llmock(&[]) else { return };
    let place = Place::new("openai", &mock, 3);
    let preset = "lanes = [\"async:2\", \"offline\"]\n";
    std::fs::write(place.path("both.toml"), preset).unwrap();
    let output = place.run("--preset both.toml --report r.json");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report = place.report();
    assert_eq!(report["lanes"][0]["mode"], "async");
    assert!(report["lanes"][0]["rows"][0]["ttft_s"].is_number());
    assert_eq!(
        (&report["lanes"][1]["mode"], &report["lanes"][1]["rows_ok"]),
        (&json!("offline"), &json!(3))
    );
    assert!(report["lanes"][0]["jobs"].is_null());
}

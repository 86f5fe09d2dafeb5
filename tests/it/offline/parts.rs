//! A list that is more than one job.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::{BOTH, Place, assert_answers_are_in_order, text};
use crate::mocks::Mock;

/// The requests of the jobs in a lane's report.
fn requests(lane: &Value) -> Vec<u64> {
    let jobs = lane["jobs"].as_array().unwrap().iter();
    jobs.map(|job| job["requests"].as_u64().unwrap()).collect()
}

#[test]
fn a_list_over_the_limit_is_several_jobs_side_by_side_and_comes_back_in_order() {
    for provider in BOTH {
        let Some(mock) = Mock::llmock(&["--response-style", "echo"]) else { return };
        let place = Place::new(provider, &mock, 25);
        let line = "--lanes offline --job-requests 10 --max-cost 1 --report r.json";
        let output = place.run(line);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        let lane = &place.report()["lanes"][0];
        assert_eq!((&lane["rows_ok"], &lane["integrity"]["passed"]), (&json!(25), &json!(true)));
        assert_answers_are_in_order(lane);
        assert_eq!(requests(lane), [10, 10, 5]);
        let mut there = place.jobs();
        let jobs = lane["jobs"].as_array().unwrap().iter();
        let mut ids: Vec<_> = jobs.map(|job| job["id"].as_str().unwrap().to_owned()).collect();
        there.sort();
        ids.sort();
        assert_eq!(there, ids);
        assert!(told.contains("3 jobs "), "{told}");
    }
}

#[test]
fn killed_between_two_jobs_it_submits_only_what_is_in_none() {
    for provider in BOTH {
        let Some(mock) = Mock::llmock(&["--response-style", "echo"]) else { return };
        let place = Place::new(provider, &mock, 40);
        place.kill_when("--lanes offline --job-requests 1", "{\"created\":", 1);
        std::thread::sleep(Duration::from_secs(4));
        let before = place.jobs().len();
        assert!((1..40).contains(&before), "{before}");
        let output = place.resume("--report r.json");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let lane = &place.report()["lanes"][0];
        assert_eq!(lane["rows_ok"], 40);
        assert_answers_are_in_order(lane);
        assert_eq!(place.jobs().len(), 40, "{provider}: a row was submitted twice");
    }
}

#[test]
fn a_list_of_more_than_the_vendor_takes_needs_no_flag() {
    let Some(mock) = Mock::llmock(&["--response-style", "echo"]) else { return };
    let place = Place::new("openai", &mock, 50_001);
    let output = place.run("--lanes offline --report r.json");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lane = &place.report()["lanes"][0];
    assert_eq!((&lane["rows_ok"], &lane["integrity"]["passed"]), (&json!(50_001), &json!(true)));
    assert_eq!(requests(lane), [50_000, 1]);
    assert_answers_are_in_order(lane);
}

#[cfg(unix)]
#[test]
fn ctrl_c_cancels_every_job_and_resuming_submits_what_is_left() {
    for provider in BOTH {
        let Some(mock) = Mock::llmock(&[]) else { return };
        let place = Place::new(provider, &mock, 6);
        let line = "--lanes offline --job-requests 2 --report r.json";
        let output = place.interrupt_when(line, "{\"created\":", 3);
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr).matches("cancelling job").count(), 3);
        let lane = &place.report()["lanes"][0];
        assert!(lane["jobs"].as_array().unwrap().iter().all(|job| job["over"] == true), "{lane}");
        let output = place.resume("--report r.json");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(place.report()["lanes"][0]["rows_ok"], 6);
    }
}

#[test]
fn a_lost_job_of_a_vendor_without_names_is_not_looked_for_among_the_runs_own() {
    let Some(mock) = Mock::llmock(&["--response-style", "echo"]) else { return };
    let place = Place::new("anthropic", &mock, 4);
    place.kill_when("--lanes offline --job-requests 2", "{\"created\":", 2);
    let jobs = place.jobs();
    assert_eq!(jobs.len(), 2);
    place.forget_last("{\"created\":");
    let output = place.resume("--report r.json");
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("1 jobs at"), "the other job is known: {told}");
    assert_eq!(place.jobs().len(), 2, "a job was submitted twice");
    let lane = &place.report()["lanes"][0];
    assert_eq!(lane["rows_ok"], 4);
    assert_answers_are_in_order(lane);
}

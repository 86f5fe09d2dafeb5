//! A job outlives the program: killed and resumed, its id lost, never created, cancelled.

use std::time::Duration;

use serde_json::json;

use super::support::{BOTH, KEY, Place, text};
use crate::mocks::{Mock, block_on};
use crate::servers::http_client;

#[test]
fn a_program_killed_after_submitting_goes_on_with_its_job_and_submits_no_second_one() {
    for provider in BOTH {
        let Some(mock) = Mock::llmock(&["--response-style", "echo"]) else { return };
        let place = Place::new(provider, &mock, 12);
        place.kill_when("--lanes offline", "{\"created\":", 1);
        let jobs = place.jobs();
        assert_eq!(jobs.len(), 1);
        std::thread::sleep(Duration::from_secs(4));
        let output = place.resume("--report r.json");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(place.jobs(), jobs, "a second job was submitted");
        assert!(text(&output.stderr).contains("going on with job"), "{}", text(&output.stderr));
        let lane = &place.report()["lanes"][0];
        assert_eq!(lane["rows_ok"], 12);
        assert!(lane["rows"][7]["text"].as_str().unwrap().contains("number 7."), "{lane}");
        // the job's time and not that of the session that took its results
        let took = lane["e2e_s"]["p50"].as_f64().unwrap();
        assert!((0.0..6.0).contains(&took), "{took}");
        let again = place.resume("");
        assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
        assert_eq!(place.jobs(), jobs);
    }
}

#[test]
fn a_job_whose_id_was_lost_is_found_at_the_vendor_also_beside_one_that_looks_like_it() {
    for provider in BOTH {
        let Some(mock) = Mock::llmock(&[]) else { return };
        // another run of the same list, at the same time
        let other = Place::new(provider, &mock, 5);
        let place = Place::new(provider, &mock, 5);
        let mut children = [other.start("--lanes offline"), place.start("--lanes offline")];
        other.until_journal_has("{\"created\":");
        place.until_journal_has("{\"created\":");
        children.iter_mut().for_each(|child| {
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let own = place.journal();
        place.forget("{\"created\":");
        let jobs = place.jobs();
        assert_eq!(jobs.len(), 2);
        let output = place.resume("--report r.json");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(place.jobs(), jobs, "{provider}: another job was submitted");
        let report = place.report();
        let found = report["lanes"][0]["jobs"][0]["id"].as_str().unwrap();
        assert!(own.contains(found), "{provider}: {found} is not this run's job");
        assert_eq!(report["lanes"][0]["rows_ok"], 5);
    }
}

#[test]
fn a_job_that_was_planned_and_never_created_is_submitted_once() {
    for provider in BOTH {
        let Some(mock) = Mock::llmock(&[]) else { return };
        let place = Place::new(provider, &mock, 3);
        let path = if provider == "anthropic" { "*/messages/batches" } else { "/v1/batches" };
        let fail = json!({"behaviors": [{"type": "fail", "status": 529, "times": null,
            "match": {"path": path}}]});
        scenario(&mock, Some(fail));
        let mut child = place.start("--lanes offline --retries 9");
        place.until_journal_has("{\"planned\":");
        std::thread::sleep(Duration::from_secs(1));
        child.kill().unwrap();
        child.wait().unwrap();
        scenario(&mock, None);
        assert_eq!(place.jobs().len(), 0);
        let output = place.resume("--report r.json");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("was never created"), "{}", text(&output.stderr));
        assert_eq!(place.jobs().len(), 1);
        assert_eq!(place.report()["lanes"][0]["rows_ok"], 3);
    }
}

fn scenario(mock: &Mock, behaviors: Option<serde_json::Value>) {
    let url = format!("{}/_llmock/scenario", mock.address);
    block_on(async {
        let client = http_client().build().unwrap();
        let request = match &behaviors {
            Some(behaviors) => client.post(url).body(behaviors.to_string()),
            None => client.delete(url),
        };
        assert!(request.send().await.unwrap().status().is_success());
    });
}

#[cfg(unix)]
#[test]
fn ctrl_c_cancels_the_job_at_the_vendor_and_resuming_submits_what_is_left() {
    for provider in BOTH {
        let Some(mock) = Mock::llmock(&[]) else { return };
        let place = Place::new(provider, &mock, 4);
        let line = "--lanes offline --report r.json";
        let output = place.interrupt_when(line, "{\"created\":", 1);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{told}");
        assert!(told.contains("cancelling job"), "{told}");
        let jobs = place.jobs();
        assert_eq!(jobs.len(), 1);
        let path = match provider {
            "anthropic" => format!("/anthropic/v1/messages/batches/{}", jobs[0]),
            _ => format!("/v1/batches/{}", jobs[0]),
        };
        let state = block_on(mock.get(&path));
        let asked = if provider == "anthropic" { "cancel_initiated_at" } else { "cancelling_at" };
        assert!(!state[asked].is_null(), "{state}");
        let lane = &place.report()["lanes"][0];
        assert_eq!((&lane["state"], &lane["rows_failed"]), (&json!("cancelled"), &json!(0)));
        assert_eq!(lane["jobs"][0]["over"], true);
        let output = place.resume("--report r.json");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(place.report()["lanes"][0]["rows_ok"], 4);
        assert_eq!(place.jobs().len(), 2);
    }
}

#[test]
fn no_artefact_of_a_job_holds_the_key() {
    for provider in BOTH {
        let Some(mock) = Mock::llmock(&[]) else { return };
        let place = Place::new(provider, &mock, 2);
        let output = place.run("--lanes offline --report r.json --report r.csv --report r.html");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let files = place.files();
        assert!(files.len() >= 5, "{files:?}");
        let read = |path: &std::path::PathBuf| text(&std::fs::read(path).unwrap());
        let all = files.iter().map(read).chain([text(&output.stdout), text(&output.stderr)]);
        for artefact in all {
            assert!(!artefact.contains(KEY), "{artefact}");
        }
    }
}

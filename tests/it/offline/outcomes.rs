//! Every way a job can end, forced at aimock, which ends a job at its second question.

use serde_json::{Value, json};

use super::support::{Place, text};
use crate::mocks::Mock;

fn aimock() -> Option<(tempfile::TempDir, Mock)> {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = folder.path().join("fixtures.json");
    let fixture = json!({"match": {"userMessage": "say"}, "response": {"content": "text"}});
    std::fs::write(&fixtures, json!({"fixtures": [fixture]}).to_string()).unwrap();
    Some((folder, Mock::aimock(fixtures)?))
}

/// A preset by which the mock is told how the job is to end.
fn preset(place: &Place) {
    let text = "[provider]\nprovider = \"openai\"\nserver.header_env = { x-aimock-batch-outcome = \
                \"BATCHGEN_OUTCOME\" }\n";
    std::fs::write(place.path("forced.toml"), text).unwrap();
}

#[test]
fn a_job_that_fails_expires_or_is_cancelled_elsewhere_gives_every_row_its_failure() {
    let Some((_folder, mock)) = aimock() else { return };
    for (outcome, status, part) in [
        ("completed", 0, ""),
        ("failed", 1, "Mock batch failure"),
        ("expired", 1, "expired before this row was run"),
        ("cancelled", 1, "was cancelled at the vendor before this row was run"),
    ] {
        let place = Place::new("openai", &mock, 6);
        preset(&place);
        let line = "--preset forced.toml --lanes offline --on-error continue --report r.json";
        // in capitals: a header's value is a secret and taken out of what the server says
        let forced = outcome.to_uppercase();
        let output = place.command(line).env("BATCHGEN_OUTCOME", forced).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{outcome}: {told}");
        let lane = &place.report()["lanes"][0];
        assert_eq!(lane["state"], "done", "{outcome}: {lane}");
        assert_eq!(lane["integrity"]["passed"], true, "{outcome}: {lane}");
        assert_eq!(lane["jobs"][0]["status"], outcome);
        let rows = lane["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 6);
        for row in rows {
            match row["error"].as_str() {
                None => assert_eq!(
                    (outcome, &row["text"]),
                    ("completed", &json!("Mock batch completion"))
                ),
                Some(error) => {
                    assert!(error.contains(part), "{outcome}: {error}");
                    assert_eq!(row["error_kind"], "server", "{outcome}: {row}");
                    assert_eq!(row["ttft_s"], Value::Null);
                }
            }
        }
    }
}

#[test]
fn under_fail_fast_a_failed_job_fails_its_lane_and_is_over() {
    let Some((_folder, mock)) = aimock() else { return };
    let place = Place::new("openai", &mock, 3);
    preset(&place);
    let line = "--preset forced.toml --lanes offline --report r.json";
    let output = place.command(line).env("BATCHGEN_OUTCOME", "EXPIRED").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let lane = &place.report()["lanes"][0];
    assert_eq!(lane["state"], "failed");
    assert!(lane["failure"]["message"].as_str().unwrap().starts_with("row 1: "), "{lane}");
    assert_eq!(lane["jobs"][0]["over"], true);
}

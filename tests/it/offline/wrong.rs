//! What no vendor should do and some server will: results shuffled, doubled, foreign, damaged or
//! gone; requests that break after they arrived; texts that hold the key.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::support::{KEY, Place, text};
use crate::wire::scripted::{Recorded, Script, Scripted};

/// How the job ends, for its requests in the order they came.
type Ending = dyn Fn(&[String]) -> End + Send + Sync;

/// What the server says in the end.
#[derive(Default)]
struct End {
    job: Value,
    /// None: the file is named and not there.
    output: Option<String>,
    errors: Option<String>,
}

/// What the server was given.
#[derive(Default)]
struct Given {
    /// The `custom_id`s of each file.
    files: Vec<Vec<String>>,
    /// The body of each create request.
    jobs: Vec<Value>,
    asked: usize,
}

struct Vendor {
    server: Scripted,
    given: Arc<Mutex<Given>>,
    runtime: tokio::runtime::Runtime,
}

impl Vendor {
    fn start(ending: impl Fn(&[String]) -> End + Send + Sync + 'static) -> Self {
        Self::with(ending, |_, _| None)
    }

    /// `before` may answer instead, and is told what came before.
    fn with(
        ending: impl Fn(&[String]) -> End + Send + Sync + 'static,
        before: impl Fn(&Recorded, &mut Given) -> Option<Script> + Send + Sync + 'static,
    ) -> Self {
        let given = Arc::new(Mutex::new(Given::default()));
        let kept = given.clone();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(Scripted::start(move |request| {
            let mut given = kept.lock().unwrap();
            let instead = before(request, &mut given);
            instead.unwrap_or_else(|| vendor(request, &mut given, &ending))
        }));
        Self { server, given, runtime }
    }

    fn place(&self, rows: usize) -> Place {
        Place::at("openai", &self.server.address, rows)
    }

    fn jobs(&self) -> usize {
        self.given.lock().unwrap().jobs.len()
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
    }
}

fn vendor(request: &Recorded, given: &mut Given, ending: &Ending) -> Script {
    let path = request.path.split('?').next().unwrap();
    let content = |text: &Option<String>| match text {
        Some(text) => Script::answer(200, &[("content-type", "application/jsonl")], text),
        None => Script::json(404, &json!({"error": {"message": "no such file"}})),
    };
    let ids = given.files.last().cloned().unwrap_or_default();
    match (request.method.as_str(), path) {
        ("GET", "/v1/models") => Script::json(200, &json!({"data": [{"id": "gpt-4o"}]})),
        ("POST", "/v1/files") => {
            let lines = request.text.lines().filter(|line| line.starts_with('{'));
            let id = |line: &str| {
                let line: Value = serde_json::from_str(line).unwrap();
                line["custom_id"].as_str().unwrap().to_owned()
            };
            given.files.push(lines.map(id).collect());
            Script::json(200, &json!({"id": "file-in", "object": "file"}))
        }
        ("POST", "/v1/batches") => {
            given.jobs.push(request.body.clone());
            Script::json(200, &job(given, "validating"))
        }
        ("GET", "/v1/batches") => {
            let jobs: Vec<Value> = given.jobs.iter().map(|_| job(given, "in_progress")).collect();
            Script::json(200, &json!({"object": "list", "data": jobs, "has_more": false}))
        }
        ("GET", "/v1/batches/batch_1") => {
            let mut end = ending(&ids).job;
            end["id"] = "batch_1".into();
            Script::json(200, &end)
        }
        ("GET", "/v1/files/out/content") => content(&ending(&ids).output),
        ("GET", "/v1/files/err/content") => content(&ending(&ids).errors),
        _ => Script::json(404, &json!({"error": {"message": "not found"}})),
    }
}

fn job(given: &Given, status: &str) -> Value {
    let metadata = given.jobs.last().map(|job| job["metadata"].clone());
    json!({"id": "batch_1", "status": status, "created_at": 4_000_000_000_i64,
        "metadata": metadata})
}

fn completed() -> Value {
    json!({"status": "completed", "created_at": 10, "completed_at": 20,
        "output_file_id": "out", "error_file_id": "err"})
}

/// Every request has the answer "yes".
fn all_answered(ids: &[String]) -> End {
    let lines: Vec<_> = ids.iter().map(|id| answer(id, "yes")).collect();
    End { job: completed(), output: Some(lines.join("\n")), errors: Some(String::new()) }
}

fn answer(id: &str, content: &str) -> String {
    let body = json!({
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    });
    let response = json!({"status_code": 200, "request_id": "r", "body": body});
    json!({"id": "b", "custom_id": id, "response": response, "error": null}).to_string()
}

fn refused(id: &str, message: &str) -> String {
    let body = json!({"error": {"message": message, "code": "context_length_exceeded"}});
    let response = json!({"status_code": 400, "request_id": "r", "body": body});
    json!({"id": "b", "custom_id": id, "response": response, "error": null}).to_string()
}

fn run(place: &Place, line: &str, status: i32) -> (Value, String) {
    let output = place.run(&format!("--lanes offline --report r.json {line}"));
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{told}");
    (place.report()["lanes"][0].clone(), told)
}

#[test]
fn shuffled_results_find_their_prompts() {
    let vendor = Vendor::start(|ids| {
        let lines = ids.iter().enumerate().map(|(row, id)| answer(id, &format!("of {row}")));
        let mut lines: Vec<_> = lines.collect();
        lines.reverse();
        lines.swap(3, 8);
        End { job: completed(), output: Some(lines.join("\n")), errors: Some(String::new()) }
    });
    let place = vendor.place(20);
    let (lane, _) = run(&place, "", 0);
    for (row, found) in lane["rows"].as_array().unwrap().iter().enumerate() {
        assert_eq!(found["text"], format!("of {row}"), "{found}");
    }
}

#[test]
fn doubled_foreign_damaged_and_missing_results_are_found_and_said() {
    let vendor = Vendor::start(|ids| {
        let lines = [
            answer(&ids[0], "first"),
            answer(&ids[0], "first again"),
            answer("stranger\u{1b}[2J", "nobody asked"),
            "{\"custom_id\": \"half".to_owned(),
            "\u{0}\u{7f}[[[[".to_owned(),
            answer(&ids[2], "third"),
        ];
        End { job: completed(), output: Some(lines.join("\n")), errors: Some(String::new()) }
    });
    let place = vendor.place(3);
    let (lane, told) = run(&place, "--on-error continue", 1);
    assert_eq!((&lane["rows_ok"], &lane["rows_failed"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&lane["rows"][0]["text"], &lane["rows"][2]["text"]),
        (&json!("first"), &json!("third"))
    );
    let missing = &lane["rows"][1];
    assert_eq!(missing["error_kind"], "protocol", "{missing}");
    assert!(missing["error"].as_str().unwrap().contains("without a result for this row"));
    let violations = lane["integrity"]["violations"].to_string();
    for part in ["out:2: \\\"row-1-", "came twice", "out:3: ", "stranger", "out:4: ", "out:5: "] {
        assert!(violations.contains(part), "{part} is not in {violations}");
    }
    assert!(!told.contains('\u{1b}'), "{told:?}");
}

#[test]
fn a_bad_row_in_the_middle_fails_alone_and_the_others_are_kept_under_both_policies() {
    let vendor = Vendor::start(|ids| {
        let good = ids.iter().enumerate().filter(|(row, _)| ids.len() == 1 || *row != 2);
        let good: Vec<_> = good.map(|(row, id)| answer(id, &format!("of {row}"))).collect();
        let bad = ids.get(2).map(|id| refused(id, "too long")).unwrap_or_default();
        End { job: completed(), output: Some(good.join("\n")), errors: Some(bad) }
    });
    let place = vendor.place(5);
    let (lane, _) = run(&place, "--on-error continue", 1);
    assert_eq!((&lane["state"], &lane["rows_ok"]), (&json!("done"), &json!(4)));
    assert_eq!(lane["rows"][2]["error_kind"], "invalid_request");

    let place = vendor.place(5);
    let (lane, _) = run(&place, "--on-error stop", 1);
    assert_eq!((&lane["state"], &lane["rows_ok"]), (&json!("failed"), &json!(4)), "{lane}");
    assert!(lane["failure"]["message"].as_str().unwrap().starts_with("row 3: "), "{lane}");
    // going on submits the bad row alone
    let before = vendor.jobs();
    let output = place.resume("--report r.json");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(vendor.jobs(), before + 1);
    assert_eq!(vendor.given.lock().unwrap().files.last().unwrap().len(), 1);
    assert_eq!(place.report()["lanes"][0]["rows_ok"], 5);
}

#[test]
fn what_an_expired_job_had_finished_is_kept() {
    let vendor = Vendor::start(|ids| {
        let expired = json!({"custom_id": ids[1], "response": null,
            "error": {"code": "batch_expired", "message": "too late"}});
        End {
            job: json!({"status": "expired", "output_file_id": "out", "error_file_id": "err"}),
            output: Some(answer(&ids[0], "in time")),
            errors: Some(expired.to_string()),
        }
    });
    let place = vendor.place(3);
    let (lane, _) = run(&place, "--on-error continue", 1);
    assert_eq!(lane["rows"][0]["text"], "in time");
    for (row, part) in [(1, "too late"), (2, "expired before this row was run")] {
        let error = lane["rows"][row]["error"].as_str().unwrap();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn missing_files_of_results_fail_the_rows_and_keep_what_the_other_has() {
    for (job, output) in [
        (json!({"status": "completed", "output_file_id": null, "error_file_id": "err"}), None),
        (completed(), None),
        (json!({"status": "completed", "output_file_id": "out"}), Some("")),
    ] {
        let vendor = Vendor::start(move |ids| End {
            job: job.clone(),
            output: output.map(|_| answer(&ids[1], "kept")),
            errors: Some(refused(&ids[1], "no")),
        });
        let place = vendor.place(2);
        let (lane, _) = run(&place, "--on-error continue", 1);
        assert_eq!(lane["state"], "done");
        assert!(lane["rows"][0]["error"].is_string(), "{lane}");
        let second = &lane["rows"][1];
        assert_eq!(second["text"] == "kept", output.is_some(), "{second}");
        assert_eq!(lane["integrity"]["passed"], true, "{lane}");
    }
}

#[test]
fn a_file_that_the_vendor_refuses_says_which_line_is_to_blame() {
    let vendor = Vendor::start(|_| End {
        job: json!({"status": "failed", "errors": {"data": [
            {"code": "invalid_json_line", "message": "line 2 is odd", "line": 2},
            {"code": "model_mismatch", "message": "all must be one model", "line": null},
        ]}}),
        ..End::default()
    });
    let place = vendor.place(3);
    let (lane, _) = run(&place, "--on-error continue", 1);
    let error = |row: usize| lane["rows"][row]["error"].as_str().unwrap().to_owned();
    assert!(error(1).ends_with("line 2 is odd (invalid_json_line in line 2)"), "{}", error(1));
    assert!(error(0).contains("model_mismatch"), "{}", error(0));
    assert_eq!(lane["rows"][0]["error_kind"], "invalid_request");
}

#[test]
fn a_job_whose_creation_broke_after_it_arrived_is_found_and_not_created_again() {
    let vendor = Vendor::with(all_answered, |request, given| {
        if request.method == "POST" && request.path == "/v1/batches" {
            given.jobs.push(request.body.clone());
            return Some(Script::default().reset());
        }
        // and it is out of reach for a while
        given.asked += usize::from(request.path == "/v1/batches/batch_1");
        let down = (1..3).contains(&given.asked) && request.path == "/v1/batches/batch_1";
        down.then(|| Script::json(503, &json!({"error": {"message": "soon"}})))
    });
    let place = vendor.place(2);
    let (lane, told) = run(&place, "", 0);
    assert_eq!((vendor.jobs(), &lane["rows_ok"]), (1, &json!(2)), "{told}");
    assert!(told.contains("asking again"), "{told}");
    assert_eq!(vendor.server.asked("/v1/batches"), 1);
}

#[test]
fn a_bad_row_of_one_job_cancels_no_other_under_fail_fast() {
    let vendor = Vendor::with(all_answered, |request, given| {
        // the first job ends at once with a refusal, the second a little later and well
        let ids = given.files.clone();
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/v1/batches") if given.jobs.len() == 1 => {
                given.jobs.push(request.body.clone());
                Some(Script::json(
                    200,
                    &json!({"id": "batch_2", "status": "validating",
                        "created_at": 4_000_000_000_i64}),
                ))
            }
            ("GET", "/v1/batches/batch_1") => {
                let mut end = completed();
                (end["id"], end["output_file_id"]) = ("batch_1".into(), Value::Null);
                Some(Script::json(200, &end))
            }
            ("GET", "/v1/batches/batch_2") => {
                given.asked += 1;
                let mut state = completed();
                state["id"] = "batch_2".into();
                state["error_file_id"] = Value::Null;
                if given.asked < 4 {
                    state["status"] = "in_progress".into();
                }
                Some(Script::json(200, &state))
            }
            ("GET", "/v1/files/err/content") => {
                let lines: Vec<_> = ids[0].iter().map(|id| refused(id, "too long")).collect();
                let jsonl = [("content-type", "application/jsonl")];
                Some(Script::answer(200, &jsonl, &lines.join("\n")))
            }
            _ => None,
        }
    });
    let place = vendor.place(2);
    let (lane, told) = run(&place, "--job-requests 1 --on-error stop", 1);
    assert_eq!((&lane["state"], &lane["rows_ok"]), (&json!("failed"), &json!(1)), "{lane}");
    assert_eq!((&lane["rows"][1]["text"], &lane["rows_failed"]), (&json!("yes"), &json!(1)));
    assert!(lane["failure"]["message"].as_str().unwrap().starts_with("row 1: "), "{lane}");
    assert!(!told.contains("cancelling"), "{told}");
}

#[test]
fn a_second_job_that_is_refused_leaves_the_first_and_is_submitted_by_resuming() {
    let vendor = Vendor::with(all_answered, |request, given| {
        let creates = request.method == "POST" && request.path == "/v1/batches";
        given.asked += usize::from(creates);
        let refuse = creates && given.asked == 2;
        refuse.then(|| {
            given.files.pop();
            Script::json(400, &json!({"error": {"message": "too much is under way"}}))
        })
    });
    let place = vendor.place(5);
    let (lane, told) = run(&place, "--job-requests 3", 1);
    assert!(told.contains("job 2 of 2 was not submitted"), "{told}");
    assert_eq!((vendor.jobs(), &lane["rows_ok"]), (1, &json!(3)), "{told}");
    let output = place.resume("--report r.json");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lane = &place.report()["lanes"][0];
    assert_eq!((vendor.jobs(), &lane["rows_ok"]), (2, &json!(5)), "{lane}");
    assert_eq!(vendor.given.lock().unwrap().files.iter().map(Vec::len).sum::<usize>(), 5);
}

#[test]
fn ids_that_lead_elsewhere_are_refused() {
    let vendor = Vendor::start(|_| End {
        job: json!({"status": "completed", "output_file_id": "../../secret"}),
        ..End::default()
    });
    let place = vendor.place(1);
    let (lane, _) = run(&place, "", 1);
    let message = lane["failure"]["message"].as_str().unwrap();
    assert!(message.contains("which is no id"), "{message}");
    assert!(message.contains("go on with it by resuming this run"), "{message}");
}

#[test]
fn a_server_that_quotes_the_key_wherever_it_can_does_not_get_it_into_any_artefact() {
    let vendor = Vendor::start(|ids| {
        let quoted = format!("you sent Bearer {KEY}");
        let lines = [refused(&ids[0], &quoted), answer(&quoted, "x"), format!("{{{quoted}")];
        End {
            job: json!({"status": "failed", "output_file_id": "out", "error_file_id": "err",
                "errors": {"data": [{"code": quoted, "message": quoted}]}}),
            output: Some(lines.join("\n")),
            errors: None,
        }
    });
    let place = vendor.place(2);
    let output = place.run("--lanes offline --on-error continue --report r.json --report r.md");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let read = |path: &std::path::PathBuf| text(&std::fs::read(path).unwrap());
    let files = place.files();
    let all = files.iter().map(read).chain([text(&output.stdout), text(&output.stderr)]);
    for artefact in all {
        assert!(!artefact.contains(KEY), "{artefact}");
    }
    assert!(place.report().to_string().contains("[BATCHGEN_OFFLINE_KEY]"));
}

#[test]
fn a_server_without_jobs_says_so_and_what_to_use() {
    let vendor = Vendor::with(
        |_| End::default(),
        |request, _| match request.path.as_str() {
            "/props" => {
                Some(Script::json(200, &json!({"default_generation_settings": {"n_ctx": 9}})))
            }
            path if path.starts_with("/v1/batches") => {
                Some(Script::json(404, &json!({"error": {"message": "not found"}})))
            }
            _ => None,
        },
    );
    let place = vendor.place(1);
    let (lane, told) = run(&place, "", 1);
    let message = lane["failure"]["message"].as_str().unwrap();
    assert!(message.contains("llama.cpp has no batch jobs; use batched"), "{message}: {told}");
}

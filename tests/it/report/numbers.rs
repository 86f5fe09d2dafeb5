//! The figures of a report.

use batchgen::bench::event::RunEvent;
use batchgen::bench::verify::Outcome;
use batchgen::config::LaneSpec;
use batchgen::provider::{Event, Failure, FinishReason, ProviderSpec, TokenCounts, Usage};
use batchgen::report::{LaneStatus, PeakBytes};

use super::run::{Told, eventful};

fn near(ours: Option<f64>, theirs: f64) {
    let ours = ours.expect("the figure is known");
    assert!((ours - theirs).abs() < 1e-9, "{ours} is not {theirs}");
}

#[test]
fn throughput_is_tokens_from_first_submit_to_last_finish() {
    let mut told = Told::new(&["sequential", "batched:2"], &["a", "b"]);
    told.start(0, 0);
    // what comes before the first submit does not count
    told.event(500, RunEvent::Probe(Default::default()));
    told.submit(0);
    told.output(0, "one two three");
    told.submit(1);
    told.output(1, "four");
    told.event(700, RunEvent::Probe(Default::default()));
    told.end(None);
    told.start(1, 0);
    told.submit(0);
    told.submit(1);
    told.provider(10, Event::Tokens { row: 0, count: 2, ids: vec![], text: "x".into() });
    let usage = Usage { prompt_tokens: Some(3), output_tokens: Some(8) };
    told.provider(10, Event::Finished { row: 0, usage, reason: FinishReason::Length });
    told.output(1, "y");
    told.end(None);

    let report = told.report();
    let (sequential, batched) = (&report.lanes[0], &report.lanes[1]);
    near(sequential.figures.wall_s, 0.040);
    near(sequential.figures.output_tokens_per_s, 100.0);
    near(sequential.figures.rows_per_s, 50.0);
    near(sequential.speedup, 1.0);
    near(sequential.figures.ttft_s.map(|of| of.max), 0.010);
    near(sequential.figures.itl_s.map(|of| of.p50), 0.010);
    near(sequential.rows[1].submitted_s, 0.530);
    assert_eq!(sequential.figures.prompt_tokens, Some(10));
    near(batched.figures.wall_s, 0.030);
    near(batched.figures.output_tokens_per_s, 300.0);
    near(batched.speedup, 3.0);
    near(batched.figures.ttft_s.map(|of| of.max), 0.030);
}

#[test]
fn speedup_is_against_a_sequential_lane_of_the_same_provider_and_model_only() {
    let mut told = Told::new(&["batched:2", "sequential"], &["a"]);
    let other = ProviderSpec { model: "other".into(), ..ProviderSpec::default() };
    told.plan.lanes[1] = LaneSpec { provider: Some(other), ..told.plan.lanes[1].clone() };
    told.pass(0, 0, &["x"]);
    told.info.model = "other".into();
    told.pass(1, 0, &["x"]);
    let report = told.report();
    assert_eq!(report.lanes[0].speedup, None);
    near(report.lanes[1].speedup, 1.0);
    assert_eq!(report.lanes[0].model, "SmolLM2-135M-Instruct");
}

#[test]
fn failed_rows_count_apart_and_keep_their_error() {
    let report = eventful().report();
    let lane = &report.lanes[1];
    let figures = &lane.figures;
    assert_eq!((figures.rows_total, figures.rows_ok, figures.rows_failed), (3, 2, 1));
    assert_eq!(lane.state, LaneStatus::Done);
    let row = &lane.rows[1];
    assert!(row.error.as_deref().unwrap().starts_with("the prompt is longer"));
    assert_eq!((row.text.as_deref(), row.finish_reason.as_deref()), (None, None));
    assert_eq!(
        lane.figures.peak_memory_bytes,
        Some(PeakBytes {
            process: Some(182_000_000),
            engine: Some(102_000_000),
            ..PeakBytes::default()
        })
    );
    assert_eq!(lane.figures.memory_source.as_deref(), Some("VmRSS"));
}

#[test]
fn rows_that_were_not_run_have_neither_text_nor_error() {
    let report = eventful().report();
    let lane = &report.lanes[2];
    assert_eq!(lane.figures.rows_ok, 1);
    assert_eq!(lane.integrity.as_ref().unwrap().rows_missing, 2);
    assert!(lane.integrity.as_ref().unwrap().passed);
    for row in &lane.rows[1..] {
        assert_eq!(
            (&row.text, &row.error, &row.e2e_s, row.output_tokens),
            (&None, &None, &None, None)
        );
    }
}

#[test]
fn occupancy_is_over_the_time_weighted_batch_size() {
    let mut told = Told::new(&["batched:2"], &["a"]);
    told.start(0, 0);
    told.submit(0);
    told.provider(0, Event::Step { rows: 3, prefill_tokens: 0 });
    told.event(30, RunEvent::BatchSize(6));
    told.output(0, "x");
    told.end(None);
    let report = told.report();
    // 30 ms of 2 and 10 ms of 6 are 3 on average
    near(report.lanes[0].figures.mean_rows_per_step, 3.0);
    near(report.lanes[0].figures.occupancy, 1.0);
}

#[test]
fn with_repeats_the_median_pass_is_reported_and_all_are_listed() {
    let mut told = Told::new(&["sequential"], &["a"]).repeats(4);
    for (repeat, wait) in [(0, 90), (1, 0), (2, 30), (3, 10)] {
        told.start(0, repeat);
        told.submit(0);
        told.event(wait, RunEvent::Probe(Default::default()));
        told.output(0, "x");
        told.end(None);
    }
    let report = told.report();
    let lane = &report.lanes[0];
    let reported: Vec<usize> =
        lane.repeats.iter().filter(|pass| pass.reported).map(|pass| pass.repeat).collect();
    // throughputs ascend with repeats 0, 2, 3, 1; the lower median is repeat 2
    assert_eq!(reported, [2]);
    near(lane.figures.wall_s, 0.040);
    assert_eq!(lane.figures, lane.repeats[2].figures);
    assert_eq!(lane.agreement.as_ref().unwrap().same, 1, "repeats of the reference agree");
}

#[test]
fn a_failed_repeat_is_listed_but_not_reported() {
    let mut told = Told::new(&["sequential"], &["a", "b"]).repeats(2);
    told.pass(0, 0, &["x", "y"]);
    told.start(0, 1);
    told.submit(0);
    told.output(0, "x");
    told.end(Some(Failure::cancelled()));
    let report = told.report();
    assert_eq!(report.lanes[0].figures.rows_ok, 2);
    assert!(report.lanes[0].repeats[1].failure.is_some());
    assert_eq!(report.verdict.unwrap().outcome, Outcome::Incomplete);
}

#[test]
fn a_missing_count_makes_the_counts_estimates_and_prompt_tokens_unknown() {
    let mut told = Told::new(&["sequential"], &["a", "b"]);
    told.start(0, 0);
    told.submit(0);
    told.output(0, "x");
    told.submit(1);
    told.provider(10, Event::Tokens { row: 1, count: 1, ids: vec![], text: "y".into() });
    let (usage, reason) = (Usage::default(), FinishReason::Stop);
    told.provider(0, Event::Finished { row: 1, usage, reason });
    told.end(None);
    let figures = &told.report().lanes[0].figures;
    assert_eq!(figures.token_counts, Some(TokenCounts::Estimated));
    assert_eq!((figures.prompt_tokens, figures.output_tokens), (None, 2));
}

#[test]
fn no_secret_of_an_address_enters_a_report() {
    let mut told = Told::new(&["sequential"], &["a"]);
    told.plan.provider.base_url = Some("https://me:s3cret@host/v1?key=s3cret".into());
    let other =
        ProviderSpec { base_url: Some("http://s3cret@h".into()), ..ProviderSpec::default() };
    told.plan.lanes[0].provider = Some(other);
    let mut facts = super::run::facts();
    facts.command = Some("batchgen-tui run --base-url https://me:s3cret@host/v1".into());
    let report = batchgen::report::Report::build(&facts, &told.plan, &told.list, &told.record);
    let text = serde_json::to_string(&report).unwrap();
    assert!(!text.contains("s3cret"), "{text}");
    assert!(text.contains("https://host/v1"));
}

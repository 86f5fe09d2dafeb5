//! Gates: claims about a report, and a stored report as the bound.

use batchgen::report::gate::{Assertion, Tolerance, against};
use batchgen::report::{Report, Slo};

use super::run::{Told, plan};

/// A verified run of two lanes, the second twice as fast, over some repeats.
fn run(repeats: usize, pace: u64) -> Report {
    let mut told = Told::new(&["sequential", "batched:2"], &["a", "b"]).repeats(repeats);
    for repeat in 0..repeats {
        told.pace = pace + repeat as u64 % 3;
        told.pass(0, repeat, &["one two three", "four five six"]);
        told.start(1, repeat);
        told.submit(0);
        told.submit(1);
        told.pace = (pace + repeat as u64 % 3) / 2;
        told.output(0, "one two three");
        told.output(1, "four five six");
        told.end(None);
    }
    told.report()
}

fn judge(claim: &str, report: &Report) -> (bool, String) {
    let verdict = claim.parse::<Assertion>().unwrap().judge(report);
    (verdict.passed, verdict.line)
}

#[test]
fn a_claim_holds_or_fails_with_the_figure_the_bound_and_the_interval() {
    let report = run(1, 100);
    let (passed, line) = judge("batched.speedup >= 1.9", &report);
    assert!(passed, "{line}");
    assert_eq!(line, "holds: batched.speedup >= 1.9: 2.00×");
    let (passed, line) = judge("batched 2.ttft.p95 <= 50ms", &report);
    assert!(!passed, "{line}");
    assert_eq!(line, "fails: batched 2.ttft.p95 <= 50ms: 192 ms");
    let (passed, line) = judge("batched.speedup > 1.9", &run(6, 100));
    assert!(passed && line.contains("95 % interval") && line.ends_with("6 repeats"), "{line}");
}

#[test]
fn integrity_and_agreement_are_claims_about_the_whole_run() {
    let mut report = run(1, 100);
    assert!(judge("integrity", &report).0 && judge("agreement", &report).0);
    let lane = report.lanes[1].integrity.as_mut().unwrap();
    lane.violate("row 1 ended twice".into());
    let (passed, line) = judge("integrity", &report);
    assert!(!passed && line.contains("1 violations"), "{line}");
}

#[test]
fn a_figure_that_is_not_known_does_not_hold() {
    let (passed, line) = judge("batched.memory.gpu <= 8GB", &run(1, 100));
    assert_eq!((passed, line.ends_with("the figure is not known")), (false, true), "{line}");
}

#[test]
fn claims_are_refused_before_the_run_when_they_cannot_be_meant() {
    for (claim, why) in [
        ("fast", "batched.speedup >= 2"),
        ("batched.speed >= 2", "figures are throughput"),
        ("batched.ttft.p95 <= 5", "0.5s or 250ms"),
        ("batched.speedup >= NaN", "no bound"),
        ("\u{1b}[2J.speedup >= x", "no bound"),
    ] {
        let error = claim.parse::<Assertion>().unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains('\u{1b}'), "{claim}: {error}");
    }
    let plan = plan(&["sequential", "batched:2", "batched:4"]);
    for (claim, why) in [
        ("async.speedup >= 2", "there is no such lane; there are sequential, batched 2"),
        ("batched.speedup >= 2", "several lanes are batched"),
        ("speedup >= 2", "say which lane's"),
    ] {
        let error = claim.parse::<Assertion>().unwrap().check(&plan).unwrap_err().to_string();
        assert!(error.contains(why), "{claim}: {error}");
    }
    for claim in ["batched 4.speedup >= 2", "sequential.e2e.max < 9s", "integrity"] {
        claim.parse::<Assertion>().unwrap().check(&plan).unwrap();
    }
}

#[test]
fn a_baseline_fails_what_became_worse_beyond_the_tolerance_and_no_noise() {
    let failed = |before: &Report, after: &Report, tolerance: &str| {
        let tolerance: Tolerance = tolerance.parse().unwrap();
        let verdicts = against(before, after, tolerance);
        let failed = verdicts.iter().filter(|verdict| !verdict.passed);
        failed.map(|verdict| verdict.line.clone()).collect::<Vec<_>>()
    };
    let before = run(6, 100);
    assert_eq!(failed(&before, &before, "0.01"), [""; 0]);
    assert_eq!(failed(&before, &run(6, 104), "10%"), [""; 0]);
    let worse = failed(&before, &run(6, 130), "10%");
    let throughput = "fails: baseline: sequential throughput: ";
    assert!(worse.iter().any(|line| line.starts_with(throughput)), "{worse:?}");
    assert!(worse.iter().all(|line| line.contains("95 % interval")), "{worse:?}");
    assert_eq!(failed(&before, &run(6, 70), "1%"), [""; 0], "better is no failure");
    let mut other = before.clone();
    other.lanes.iter_mut().for_each(|lane| lane.label.push('x'));
    assert_eq!(failed(&other, &before, "10%").len(), 1);
    for odd in ["", "-1%", "100%", "2", "NaN"] {
        assert!(odd.parse::<Tolerance>().is_err(), "{odd}");
    }
}

#[test]
fn goodput_counts_rows_within_every_limit_and_the_largest_batch_that_keeps_them_is_named() {
    let lanes = ["batched:1", "batched:2", "batched:4"];
    let mut told = Told::new(&lanes, &["a", "b", "c", "d"]);
    for (lane, pace) in [(0, 10), (1, 20), (2, 90)] {
        told.pace = pace;
        told.pass(lane, 0, &["one two", "one two", "one two", "one two"]);
    }
    let report = told.report().within(Slo { ttft_s: Some(0.02), e2e_s: Some(0.05) });
    let met: Vec<usize> = report.lanes.iter().map(|lane| lane.slo.unwrap().rows_met).collect();
    assert_eq!(met, [4, 4, 0]);
    assert!((report.lanes[1].slo.unwrap().goodput_rows_per_s - 25.0).abs() < 1e-9);
    assert_eq!(report.batch_sizes.unwrap().largest_within_slo, Some(2));
    // every larger size is slower
    assert_eq!(report.batch_sizes.unwrap().knee, None);
    assert!(judge("batched 4.within_slo >= 95%", &report).1.contains("0 %"));
}

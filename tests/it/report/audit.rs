//! The report's audit of itself.

use batchgen::bench::event::RunEvent;
use batchgen::bench::lag::Lags;
use batchgen::probe::{CpuTimes, Sample};
use batchgen::provider::{Event, ServerEvent};
use batchgen::report::{DoubtKind, Report, Weight};
use std::time::Duration;

use super::run::Told;

fn kinds(report: &Report) -> Vec<DoubtKind> {
    report.audit.iter().map(|doubt| doubt.kind).collect()
}

fn cpu(own: f64, busy: f64, stolen: f64, throttled: u64) -> Sample {
    let cpu = CpuTimes { own, busy, stolen, cores: 2, throttled: Some(throttled) };
    Sample { cpu: Some(cpu), ..Sample::default() }
}

/// A pass of ten seconds between two readings.
fn measured(told: &mut Told, first: Sample, last: Sample) {
    told.start(0, 0);
    told.event(0, RunEvent::Probe(first));
    told.submit(0);
    told.event(10_000, RunEvent::Probe(last));
    told.output(0, "x");
    told.end(None);
}

#[test]
fn a_disturbed_run_says_by_what_and_which_figures_it_touched() {
    let mut told = Told::new(&["sequential"], &["a"]);
    measured(&mut told, cpu(0.0, 0.0, 0.0, 1), cpu(10.0, 16.0, 1.0, 4));
    let report = told.report();
    use DoubtKind::{BusyMachine, FewRepeats, FewRows, StolenTime, Throttled};
    assert_eq!(kinds(&report), [BusyMachine, StolenTime, Throttled, FewRows, FewRepeats]);
    let busy = &report.audit[0];
    assert_eq!((busy.weight, busy.lane.as_deref()), (Weight::Warning, Some("sequential")));
    assert!(busy.message.contains("30.0 %") && busy.message.contains("throughput may be too low"));
}

#[test]
fn a_quiet_run_of_the_local_engine_has_no_warning() {
    let mut told = Told::new(&["sequential"], &["a"]);
    measured(&mut told, cpu(0.0, 0.0, 0.0, 0), cpu(19.0, 19.5, 0.0, 0));
    let report = told.report();
    assert!(report.audit.iter().all(|doubt| doubt.weight == Weight::Note), "{:?}", report.audit);
}

#[test]
fn a_client_that_works_hard_is_told_where_a_server_is_measured() {
    let mut told = Told::new(&["async:8"], &["a"]);
    told.info.provider = "openai".into();
    told.info.details = vec![("slots".into(), "4".into())];
    let mut lags = Lags::default();
    lags.add(Duration::from_millis(2_000));
    told.start(0, 0);
    told.event(0, RunEvent::Probe(cpu(0.0, 0.0, 0.0, 0)));
    told.submit(0);
    told.event(10_000, RunEvent::Probe(cpu(9.0, 9.0, 0.0, 0)));
    told.event(10_000, RunEvent::Lag(lags));
    told.output(0, "x");
    told.end(None);
    let kinds = kinds(&told.report());
    for kind in [DoubtKind::ClientLoad, DoubtKind::ClientLag, DoubtKind::FewSlots] {
        assert!(kinds.contains(&kind), "{kind:?} in {kinds:?}");
    }
}

#[test]
fn lanes_that_did_not_do_the_same_work_are_told() {
    let mut told = Told::new(&["sequential", "batched:2"], &["a"]);
    told.pass(0, 0, &["one two three four"]);
    told.pass(1, 0, &["one"]);
    assert!(kinds(&told.report()).contains(&DoubtKind::UnevenWork));
}

#[test]
fn what_the_users_own_limits_held_back_is_no_latency() {
    let mut told = Told::new(&["sequential"], &["a", "b"]);
    told.start(0, 0);
    told.submit(0);
    told.output(0, "x");
    told.submit(1);
    let wait = Duration::from_secs(30);
    told.provider(30_000, Event::Server(ServerEvent::Held { row: 1, wait }));
    told.output(1, "y");
    told.end(None);
    let report = told.report();
    let rows = &report.lanes[0].rows;
    assert_eq!((rows[0].held_s, rows[1].held_s), (None, Some(30.0)));
    assert_eq!((rows[0].ttft_s, rows[1].ttft_s), (Some(0.01), Some(0.01)));
    assert_eq!((rows[1].submitted_s, rows[1].e2e_s), (Some(30.01), Some(0.01)));
    let held = report.audit.iter().find(|doubt| doubt.kind == DoubtKind::HeldBack).unwrap();
    assert_eq!(held.weight, Weight::Note);
    assert!(held.message.starts_with("the limits a minute held 1 rows back, up to 30"));
}

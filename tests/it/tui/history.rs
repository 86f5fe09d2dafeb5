//! Past runs: what a journal keeps, the screen of them, comparing, deleting, playing again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use batchgen::bench::Job;
use batchgen::bench::journal::{FILE, Recorded};
use batchgen::bench::recorder::{LaneState, Recorder, RowState};
use batchgen::bench::run::{RunHandle, start};
use batchgen::bench::{history, replay};
use batchgen::report::{self, Form};
use batchgen::tui::app::{Effect, Overlay, Purpose, Reply, Screen};
use batchgen::tui::history::{PastFacts, compare, facts};
use batchgen::tui::session::Session;
use batchgen::tui::update;
use crossterm::event::KeyCode;

use super::fixture::{self, Bench};
use super::screens::at_all_sizes;
use super::scripted::Script;
use crate::report::run::Told;

async fn drain(handle: &mut RunHandle) -> Recorder {
    let mut record = handle.recorder.clone();
    while let Some(stamp) = handle.events.recv().await {
        record.apply(stamp);
    }
    record
}

/// A real run over a script: its folder and its record as it was live.
async fn run_in(runs: &Path, lanes: &str) -> (PathBuf, Recorder) {
    let script = Script { words: 6, gap: Duration::from_millis(3), panics: false };
    let job = Job { plan: fixture::plan(lanes), prompts: fixture::prompts(5) };
    let mut handle = start(job, Arc::new(script), runs).unwrap();
    let record = drain(&mut handle).await;
    (handle.folder, record)
}

/// Everything that a screen shows of a record.
fn shown(record: &Recorder) -> String {
    let lanes = record.lanes.iter().map(|lane| {
        let pass = lane.pass().unwrap();
        let rows: Vec<_> = pass
            .rows
            .iter()
            .map(|row| (row.state, &row.text, &row.ids, row.counted, row.same_as_reference))
            .collect();
        let times: Vec<_> =
            pass.rows.iter().map(|row| (row.ttft(), row.e2e(), row.itl())).collect();
        format!(
            "{} {:?} {rows:?} {times:?} {:?} {:?} {:?} {} {} {:?}",
            lane.spec.label,
            lane.state,
            pass.throughput,
            pass.memory,
            pass.batch_sizes,
            pass.done,
            pass.output_tokens,
            pass.peak
        )
    });
    lanes.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_tells_everything_that_the_screen_showed() {
    let home = tempfile::tempdir().unwrap();
    let (folder, live) = run_in(home.path(), "sequential,batched:2").await;
    let recorded = history::read(&folder).unwrap();
    assert_eq!(shown(&recorded.recorder), shown(&live));
    assert!(recorded.recorder.finished && !recorded.under_way);
    assert_eq!(recorded.recorder.last_moment(), live.last_moment());
    let session = Session::of_past(recorded);
    assert_eq!(session.status(), "done");
    assert!(session.figures.iter().all(|figures| figures.tokens_per_s.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_is_read_as_far_as_it_got() {
    let home = tempfile::tempdir().unwrap();
    let (folder, _) = run_in(home.path(), "sequential").await;
    let path = folder.join(FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    // the header, the lane's start, two rows, and half of the third
    let cut = lines[..4].concat() + &lines[4][..lines[4].len() / 2];
    std::fs::write(&path, &cut).unwrap();
    let recorded = history::read(&folder).unwrap();
    let lane = &recorded.recorder.lanes[0];
    let pass = lane.pass().unwrap();
    assert_eq!((pass.done, lane.state.clone()), (2, LaneState::Cancelled));
    assert_eq!(pass.rows[4].state, RowState::NotRun);
    assert!(!pass.throughput.rates(Duration::from_secs(1)).is_empty());
    assert_eq!(Session::of_past(recorded).status(), "broken off");
    // looking at it changed nothing
    assert_eq!(std::fs::read_to_string(&path).unwrap(), cut);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_journals_are_refused_with_file_and_line_and_never_panic() {
    let home = tempfile::tempdir().unwrap();
    let (folder, _) = run_in(home.path(), "sequential,batched:2").await;
    let path = folder.join(FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"row\":1", "\"row\":99", 1)).unwrap();
    let error = format!("{:#}", history::read(&folder).unwrap_err());
    assert!(error.contains("line") && error.contains("no such row"), "{error}");
    for (from, to) in [
        ("\"wall_s\":", "\"wall_s\":1e300,\"x\":"),
        ("\"started_s\":", "\"started_s\":-1,\"x\":"),
        ("\"width_s\":", "\"width_s\":1e-300,\"x\":"),
        ("\"sums\":[", "\"sums\":[1e308,"),
        ("\"finished_s\":", "\"finished_s\":1e18,\"x\":"),
        ("\"batch_sizes\":[", "\"batch_sizes\":[[1e30,4],"),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        if let Ok(recorded) = history::read(&folder) {
            for (place, lane) in recorded.recorder.lanes.iter().enumerate() {
                lane.passes.iter().for_each(|pass| drop(replay::events(place, pass)));
            }
            facts(recorded);
        }
    }
    let error = history::read(home.path()).unwrap_err().to_string();
    assert!(error.contains("no run in"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_ends_with_the_same_rows_and_takes_as_long() {
    let home = tempfile::tempdir().unwrap();
    let (folder, live) = run_in(home.path(), "sequential,batched:2").await;
    let began = std::time::Instant::now();
    let mut handle = replay::start(history::read(&folder).unwrap());
    let again = drain(&mut handle).await;
    assert!(began.elapsed() >= live.last_moment(), "{:?}", began.elapsed());
    assert!(again.finished);
    for (ours, theirs) in again.lanes.iter().zip(&live.lanes) {
        let (ours, theirs) = (ours.pass().unwrap(), theirs.pass().unwrap());
        for (row, other) in ours.rows.iter().zip(&theirs.rows) {
            assert_eq!(
                (&row.text, &row.ids, row.counted),
                (&other.text, &other.ids, other.counted)
            );
            assert_eq!((row.state, row.e2e()), (other.state, other.e2e()));
        }
        assert_eq!(ours.output_tokens, theirs.output_tokens);
        assert_eq!(ours.finished, theirs.finished);
    }
    // and it can be stopped
    let mut handle = replay::start(history::read(&folder).unwrap());
    handle.controls.stop();
    let stopped = drain(&mut handle).await;
    assert!(stopped.finished);
    assert!(stopped.lanes[0].pass().is_none_or(|pass| pass.done < 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_are_compared_and_one_is_not() {
    let home = tempfile::tempdir().unwrap();
    let (a, _) = run_in(home.path(), "sequential,batched:2").await;
    let (b, _) = run_in(home.path(), "sequential,batched:4").await;
    let text = compare(&[a.clone(), b]).unwrap();
    assert!(text.contains("throughput") && text.contains("only in B"), "{text}");
    assert!(compare(&[a]).is_err());
}

fn past(status: &'static str, at: &str) -> PastFacts {
    PastFacts {
        started_at: at.parse().unwrap(),
        name: "quickstart".into(),
        model: "smollm2-135m-instruct".into(),
        rows: 32,
        status,
        took: 57.2,
        lanes: vec![
            ("sequential".into(), Some(53.6), Some(1.0)),
            ("batched 16".into(), Some(326.0), Some(6.07)),
        ],
        differ: 0,
    }
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from("/home/someone/.local/share/batchgen/runs").join(name)
}

pub fn with_history(width: u16, height: u16) -> Bench {
    let mut bench = Bench::ready(width, height);
    bench.press('H');
    let names = ["20261123-202302", "20261122-101500", "20261121-090000", "20261120-080000"];
    let now = bench.app.now;
    let effects = update::reply(&mut bench.app, Reply::Runs(Ok(names.map(folder).to_vec())), now);
    assert!(matches!(&effects[..], [Effect::LookAtRun(first)] if *first == folder(names[0])));
    let known = [
        Ok(past("done", "2026-11-23T20:23:02Z")),
        Ok(past("stopped", "2026-11-22T10:15:00Z")),
        Err("journal.jsonl, line 7: damaged: expected value at line 1 column 4".to_owned()),
    ];
    for (name, facts) in names.iter().zip(known) {
        update::reply(&mut bench.app, Reply::PastRun(folder(name), Box::new(facts)), now);
    }
    bench
}

#[test]
fn past_runs_are_listed_with_their_figures_and_damaged_ones_with_the_reason() {
    at_all_sizes("history", with_history);
}

#[test]
fn deleting_is_asked_about() {
    at_all_sizes("history_deleting", |width, height| {
        let mut bench = with_history(width, height);
        bench.press('d');
        bench
    });
    let mut bench = with_history(80, 24);
    bench.press('d');
    // enter is no answer to this question
    bench.key(KeyCode::Enter);
    assert!(matches!(bench.app.overlay, Some(Overlay::Deleting(_))));
    bench.press('n');
    assert!(bench.app.overlay.is_none());
    bench.press('d');
    let effects = bench.press('y');
    let [Effect::DeleteRun(gone)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*gone, folder("20261123-202302"));
    bench.reply(Reply::Deleted(gone.clone(), Ok(())));
    assert!(!bench.screen().contains("20261123"), "{}", bench.screen());
}

#[test]
fn a_comparison_shows_figures_and_outputs_that_changed() {
    let prompts = ["Name a river", "Name a hill", "Name a town"];
    let mut older = Told::new(&["sequential", "batched:2"], &prompts);
    older.pass(0, 0, &["The Nile", "The Ben", "Rome"]);
    older.pass(1, 0, &["The Nile", "The Ben", "Rome"]);
    let mut newer = Told::new(&["sequential", "batched:2"], &prompts);
    newer.pace = 4;
    newer.pass(0, 0, &["The Rhine runs north", "The Ben", "Oslo"]);
    newer.pass(1, 0, &["The Rhine runs north", "The Ben", "Oslo"]);
    let text = report::compare(&[older.report(), newer.report()]).render(Form::Text);
    at_all_sizes("comparison", |width, height| {
        let mut bench = with_history(width, height);
        bench.reply(Reply::Compared(Ok(text.clone())));
        bench
    });
}

#[test]
fn marked_runs_are_compared_the_older_first() {
    let mut bench = with_history(80, 24);
    bench.press('c');
    assert!(bench.screen().contains("a comparison needs two runs"));
    bench.press(' ');
    bench.press(' ');
    let effects = bench.press('c');
    let [Effect::CompareRuns(folders)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*folders, [folder("20261122-101500"), folder("20261123-202302")]);
    bench.reply(Reply::Compared(Ok("A  2026\nB  2026\n\nsequential\n  throughput  1".into())));
    assert!(bench.screen().contains("throughput"));
    bench.key(KeyCode::Esc);
    assert!(bench.app.overlay.is_none());
}

#[test]
fn enter_opens_and_p_replays_but_not_over_a_run_that_is_under_way() {
    let mut bench = with_history(80, 24);
    let effects = bench.key(KeyCode::Enter);
    assert!(matches!(&effects[..], [Effect::ReadRun(_, Purpose::Open)]), "{effects:?}");
    let effects = bench.press('p');
    assert!(matches!(&effects[..], [Effect::ReadRun(_, Purpose::Replay)]), "{effects:?}");
    bench.key(KeyCode::Esc);
    assert_eq!(bench.app.screen, Screen::Setup);

    let mut bench = Bench::half_way(80, 24);
    bench.press('H');
    let now = bench.app.now;
    update::reply(&mut bench.app, Reply::Runs(Ok(vec![folder("a")])), now);
    assert!(bench.key(KeyCode::Enter).is_empty());
    assert!(bench.screen().contains("a run is under way"), "{}", bench.screen());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opened_run_looks_as_it_did_live() {
    let home = tempfile::tempdir().unwrap();
    let (folder, live) = run_in(home.path(), "sequential,batched:2").await;
    let recorded: Recorded = history::read(&folder).unwrap();
    let mut bench = with_history(120, 40);
    bench.reply(Reply::Read(Purpose::Open, Box::new(Ok(recorded))));
    assert_eq!(bench.app.screen, Screen::Run);
    let opened = bench.screen();
    // the same record, shown as the session that saw it happen
    let session = bench.app.session.as_mut().unwrap();
    session.recorder = live;
    session.refresh(session.recorder.epoch);
    assert_eq!(bench.screen(), opened);
    assert!(opened.contains("✓ done after") && opened.contains("order ✓ 5/5"), "{opened}");
}

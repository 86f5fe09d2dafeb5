//! Looking at outputs: searching, filtering, copying, what differs, other charts.

use batchgen::bench::event::RunEvent;
use batchgen::provider::{Event, Failure, FailureKind};
use batchgen::tui::app::{Effect, Screen};
use batchgen::tui::session::Filter;
use crossterm::event::KeyCode;

use super::fixture::Bench;
use super::screens::at_all_sizes;

fn row(bench: &Bench) -> usize {
    bench.app.session.as_ref().unwrap().row
}

fn search(bench: &mut Bench, text: &str) {
    bench.press('/');
    for c in text.chars() {
        bench.press(c);
    }
    bench.key(KeyCode::Enter);
}

#[test]
fn a_text_is_found_in_prompts_and_outputs_and_n_goes_on_around_the_end() {
    let mut bench = Bench::done(80, 24);
    bench.key(KeyCode::Home);
    // in the second prompt's output and in the sixth prompt
    search(&mut bench, "CAPITAL of");
    assert_eq!(row(&bench), 1);
    bench.press('n');
    assert_eq!(row(&bench), 1);
    search(&mut bench, "");
    bench.press('/');
    for _ in 0.."CAPITAL of".len() {
        bench.key(KeyCode::Backspace);
    }
    for c in "blue".chars() {
        bench.press(c);
    }
    bench.key(KeyCode::Enter);
    let first = row(&bench);
    bench.press('n');
    let second = row(&bench);
    assert_eq!([first, second], [5, 7]);
    bench.press('n');
    assert_eq!(row(&bench), 5);
    bench.press('N');
    assert_eq!(row(&bench), 7);
}

#[test]
fn what_is_not_there_is_said() {
    let mut bench = Bench::done(80, 24);
    search(&mut bench, "zebra");
    assert!(bench.screen().contains("no prompt and no output has \"zebra\""), "{}", bench.screen());
}

#[test]
fn the_table_shows_the_failed_the_diverged_or_the_longest_rows() {
    let mut bench = Bench::done(80, 24);
    let shown = |bench: &Bench| {
        let session = bench.app.session.as_ref().unwrap();
        (0..session.shown_rows()).filter_map(|place| session.row_at(place)).collect::<Vec<_>>()
    };
    assert_eq!(shown(&bench).len(), 8);
    bench.press('F');
    assert_eq!(
        (bench.app.session.as_ref().unwrap().filter, shown(&bench)),
        (Filter::Failed, vec![])
    );
    // nothing is shown, and nothing breaks
    bench.key(KeyCode::Down);
    bench.key(KeyCode::End);
    bench.screen();
    bench.press('F');
    assert_eq!(shown(&bench), [4]);
    assert_eq!(row(&bench), 4);
    bench.press('F');
    assert_eq!(shown(&bench)[0], 0);
    assert_eq!(shown(&bench).len(), 8);
    bench.press('F');
    assert_eq!(bench.app.session.as_ref().unwrap().filter, Filter::All);
}

#[test]
fn the_diverged_rows_alone() {
    at_all_sizes("run_diverged", |width, height| {
        let mut bench = Bench::done(width, height);
        bench.press('F');
        bench.press('F');
        bench
    });
}

#[test]
fn a_failed_row_is_found_by_the_filter() {
    let mut bench = Bench::started(80, 24, "sequential", 8);
    bench.run(10, RunEvent::LaneStarted { lane: 0, repeat: 0 });
    let failure = Failure::new(FailureKind::Protocol, "planted");
    bench.provider(20, Event::Failed { row: 6, failure });
    bench.at(400);
    bench.press('F');
    assert_eq!(row(&bench), 6);
}

#[test]
fn the_output_of_the_lane_in_focus_is_copied() {
    let mut bench = Bench::done(120, 40);
    bench.key(KeyCode::Home);
    bench.key(KeyCode::Enter);
    assert_eq!(bench.app.screen, Screen::Row);
    let effects = bench.press('y');
    let [Effect::Copy(text)] = &effects[..] else { panic!("{effects:?}") };
    assert!(text.starts_with("The Nile, the Amazon"), "{text}");

    // too long for a clipboard
    let mut bench = Bench::started(120, 40, "sequential", 1);
    bench.run(10, RunEvent::LaneStarted { lane: 0, repeat: 0 });
    let text = "x".repeat(80_000);
    bench.provider(20, Event::Tokens { row: 0, count: 1, ids: vec![], text });
    bench.key(KeyCode::Enter);
    assert!(bench.press('y').is_empty());
    assert!(bench.screen().contains("more than a terminal's clipboard takes"));
}

#[test]
fn other_charts_show_ttft_and_occupancy() {
    at_all_sizes("run_charts", |width, height| {
        let mut bench = Bench::started(width, height, "sequential,batched:4", 8);
        bench.ready_providers_of(2);
        bench.sequential_lane();
        bench.run(4_200, RunEvent::LaneStarted { lane: 1, repeat: 0 });
        for row in 0..8 {
            bench.provider(4_200, Event::Submitted { row });
        }
        for step in 0..60 {
            let at = 4_200 + 50 * step;
            let rows = if step < 40 { 4 } else { 2 };
            bench.provider(at, Event::Step { rows, prefill_tokens: 0 });
            let row = (step / 8).min(7) as usize;
            let text = "word ".to_owned();
            bench.provider(at, Event::Tokens { row, count: rows, ids: vec![], text });
        }
        bench.at(7_300);
        bench.press('v');
        bench
    });
}

#[test]
fn a_live_change_of_the_batch_size_states_the_throughput_before_and_after() {
    let mut bench = Bench::started(120, 40, "batched:4", 8);
    bench.ready_providers_of(1);
    bench.run(0, RunEvent::LaneStarted { lane: 0, repeat: 0 });
    bench.provider(0, Event::Submitted { row: 0 });
    for step in 0..80 {
        if step == 40 {
            bench.run(2_000, RunEvent::BatchSize(8));
        }
        let count = if step < 40 { 4 } else { 7 };
        let event = Event::Tokens { row: 0, count, ids: vec![], text: "a".into() };
        bench.provider(step * 50, event);
    }
    bench.at(4_000);
    let screen = bench.screen();
    assert!(screen.contains("batch size 4→8: 80.0→140 tok/s, +75.0 %"), "{screen}");
}

#[test]
fn keys_that_follow_each_other_at_once_are_one_change_of_the_batch_size() {
    let mut bench = Bench::started(120, 40, "batched:4", 8);
    bench.ready_providers_of(1);
    bench.run(0, RunEvent::LaneStarted { lane: 0, repeat: 0 });
    bench.provider(0, Event::Submitted { row: 0 });
    for step in 0..80 {
        // three keys within 200 ms, and the last one is what the throughput after belongs to
        match step {
            36 => bench.run(1_800, RunEvent::BatchSize(5)),
            38 => bench.run(1_900, RunEvent::BatchSize(6)),
            40 => bench.run(2_000, RunEvent::BatchSize(7)),
            _ => {}
        }
        let count = if step < 36 { 4 } else { 7 };
        let event = Event::Tokens { row: 0, count, ids: vec![], text: "a".into() };
        bench.provider(step * 50, event);
    }
    bench.at(4_000);
    let screen = bench.screen();
    assert!(screen.contains("batch size 4→7: 80.0→140 tok/s, +75.0 %"), "{screen}");
}

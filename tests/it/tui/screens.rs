//! A snapshot of every screen at 80×24, 120×40 and 200×60, in two themes.

use batchgen::bench::event::RunEvent;
use batchgen::provider::{Event, Failure, FailureKind};
use batchgen::tui::app::Reply;
use batchgen::tui::form::{Field, ModelFacts};
use batchgen::tui::picker::Entry;
use crossterm::event::KeyCode;
use insta::assert_snapshot;

use super::fixture::Bench;

/// Draws the same thing at all three sizes: its text in the first theme, which has the colours of
/// the terminal, and its styles in one with colours of its own.
pub fn at_all_sizes(name: &str, make: impl Fn(u16, u16) -> Bench) {
    for (width, height) in [(80, 24), (120, 40), (200, 60)] {
        let bench = make(width, height);
        assert_snapshot!(format!("{name}_{width}x{height}"), bench.screen());
        let styles = bench.in_theme("nord").styles();
        assert_snapshot!(format!("{name}_{width}x{height}_nord"), styles);
    }
}

#[test]
fn setup_says_what_will_run() {
    at_all_sizes("setup", Bench::ready);
}

#[test]
fn setup_before_anything_is_known() {
    at_all_sizes("setup_loading", Bench::opened);
}

#[test]
fn setup_shows_the_reason_beside_a_wrong_field() {
    at_all_sizes("setup_wrong_lanes", |width, height| {
        let mut bench = Bench::ready(width, height);
        bench.app.form.focus = Field::Lanes;
        bench.key(KeyCode::Enter);
        for c in ",batched:0".chars() {
            bench.press(c);
        }
        bench
    });
}

#[test]
fn setup_shows_what_is_known_about_the_model() {
    at_all_sizes("setup_model", |width, height| {
        let mut bench = Bench::ready(width, height);
        bench.app.form.focus = Field::Model;
        bench
    });
}

#[test]
fn the_picker_shows_built_in_lists_and_files() {
    at_all_sizes("picker", |width, height| {
        let mut bench = Bench::ready(width, height);
        bench.app.form.focus = Field::Prompts;
        bench.key(KeyCode::Enter);
        let entries = vec![
            Entry::Folder("projects".into()),
            Entry::File { name: "questions.jsonl".into(), size: 48_200 },
        ];
        bench.reply(Reply::Folder("/home/someone".into(), Ok(entries)));
        bench.key(KeyCode::Down);
        bench
    });
}

#[test]
fn a_model_that_is_being_loaded_is_said() {
    at_all_sizes("run_preparing", |width, height| {
        let mut bench = Bench::started(width, height, "sequential,async:4,batched:4", 8);
        bench
            .run(10, RunEvent::Preparing("fetching smollm2-135m-instruct: 45.0 of 98.0 MB".into()));
        bench.at(400);
        bench
    });
}

#[test]
fn a_run_half_way() {
    at_all_sizes("run_half_way", Bench::half_way);
}

#[test]
fn a_finished_run() {
    at_all_sizes("run_done", Bench::done);
}

#[test]
fn a_failed_lane_and_its_notice() {
    at_all_sizes("run_failed", |width, height| {
        let mut bench = Bench::started(width, height, "sequential,batched:4", 8);
        bench.run(100, RunEvent::LaneStarted { lane: 0, repeat: 0 });
        bench.provider(100, Event::Submitted { row: 0 });
        let failure = Failure::new(
            FailureKind::InvalidRequest,
            "row 1 has 3000 tokens and the model's context 2048: shorten the prompt",
        );
        bench.provider(200, Event::Failed { row: 0, failure: failure.clone() });
        bench.run(250, RunEvent::LaneFinished { failure: Some(failure) });
        bench.run(260, RunEvent::RunFinished);
        bench.at(400);
        bench
    });
}

#[test]
fn a_live_change_of_the_batch_size_is_marked() {
    at_all_sizes("run_batch_size", |width, height| {
        let mut bench = Bench::started(width, height, "sequential,async:4,batched:4", 8);
        bench.ready_providers();
        bench.sequential_lane();
        bench.concurrent_lane(2, 6);
        bench.run(10_300, RunEvent::BatchSize(6));
        bench.at(11_500);
        bench
    });
}

#[test]
fn a_row_with_a_difference() {
    at_all_sizes("row", |width, height| {
        let mut bench = Bench::done(width, height);
        bench.key(KeyCode::Home);
        bench.key(KeyCode::Enter);
        bench.press('d');
        bench
    });
}

#[test]
fn help_lists_every_key() {
    at_all_sizes("help", |width, height| {
        let mut bench = Bench::done(width, height);
        bench.press('?');
        bench
    });
}

#[test]
fn help_shows_what_is_looked_for() {
    at_all_sizes("help_search", |width, height| {
        let mut bench = Bench::done(width, height);
        bench.press('?');
        bench.press('/');
        for c in "batch".chars() {
            bench.press(c);
        }
        bench
    });
}

#[test]
fn the_palette_finds_what_can_be_done() {
    at_all_sizes("palette", |width, height| {
        let mut bench = Bench::done(width, height);
        bench.press(':');
        for c in "rep".chars() {
            bench.press(c);
        }
        bench
    });
}

#[test]
fn export_names_the_format_of_the_extension() {
    at_all_sizes("export", |width, height| {
        let mut bench = Bench::done(width, height);
        bench.press('e');
        bench
    });
}

#[test]
fn notices_are_shown_whole() {
    at_all_sizes("notices", |width, height| {
        let mut bench = Bench::started(width, height, "sequential,batched:4", 8);
        let notice = "the tokenizer's pre-tokenizer is not known to this version, so token counts may be \
                      off by a few; \u{1b}[31mthis is not red";
        bench.provider(20, Event::Notice(notice.into()));
        bench.press('!');
        bench
    });
}

#[test]
fn leaving_a_run_is_asked_about() {
    at_all_sizes("quitting", |width, height| {
        let mut bench = Bench::half_way(width, height);
        bench.press('q');
        bench
    });
}

#[test]
fn five_lanes_become_tabs() {
    let mut bench = Bench::started(120, 40, "sequential,async:2,async:4,batched:4,batched:8", 8);
    bench.at(100);
    assert_snapshot!("run_five_lanes_120x40", bench.screen());
}

#[test]
fn a_terminal_that_is_too_small_is_told_so() {
    assert_snapshot!("too_small", Bench::half_way(40, 10).screen());
}

#[test]
fn the_smallest_terminal_shows_everything_that_matters() {
    assert_snapshot!("smallest_run", Bench::half_way(60, 16).screen());
    assert_snapshot!("smallest_setup", Bench::ready(60, 16).screen());
}

#[test]
fn setup_of_a_server_asks_for_its_address_and_shows_what_it_says() {
    let mut bench = Bench::ready(80, 24);
    bench.app.form.focus = Field::Provider;
    bench.key(KeyCode::Right);
    bench.app.form.set(Field::Address, "http://127.0.0.1:8080");
    let lines = ["✓ 127.0.0.1:8080 answers", "model \u{1b}[31mSmolLM2", "server llama.cpp b11434"];
    let facts = ModelFacts { here: true, lines: lines.map(str::to_owned).into() };
    bench.effects(Reply::Model(bench.app.form.provider(), Ok(facts)));
    assert_snapshot!("setup_of_a_server_80x24", bench.screen());
}

//! Odd and small windows: nothing breaks and nothing runs over its border.

use batchgen::tui::app::{Overlay, Reading, Reply};
use batchgen::tui::form::Field;
use batchgen::tui::picker::Entry;
use batchgen::tui::{update, views};
use crossterm::event::{Event, KeyCode};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use unicode_width::UnicodeWidthStr;

use super::fixture::Bench;
use super::history::with_history;

/// Makes a screen of a width and a height.
type Make = fn(u16, u16) -> Bench;

/// Every screen and everything that lies over one.
const SCREENS: [(&str, Make); 18] = [
    ("setup", Bench::ready),
    ("setup_loading", Bench::opened),
    ("wrong field", |width, height| {
        let mut bench = Bench::ready(width, height);
        bench.app.form.focus = Field::Lanes;
        bench.app.form.set(Field::Lanes, "sequential,nonsense:0:1");
        bench.key(KeyCode::Enter);
        bench
    }),
    ("picker", |width, height| {
        let mut bench = Bench::ready(width, height);
        bench.app.form.focus = Field::Prompts;
        bench.key(KeyCode::Enter);
        let file = Entry::File { name: "a-long-name-of-questions.jsonl".into(), size: 48_200 };
        bench.reply(Reply::Folder("/home/someone".into(), Ok(vec![file])));
        bench
    }),
    ("run half way", Bench::half_way),
    ("run done", Bench::done),
    ("five lanes", |width, height| {
        let lanes = "sequential,async:2,async:4,batched:4,batched:8";
        let mut bench = Bench::started(width, height, lanes, 8);
        bench.at(100);
        bench
    }),
    ("other charts", |width, height| pressed(Bench::done(width, height), "v")),
    ("row", |width, height| {
        let mut bench = pressed(Bench::done(width, height), "g");
        bench.key(KeyCode::Enter);
        pressed(bench, "d")
    }),
    ("sweep half way", |width, height| Bench::sweep(width, height, 3)),
    ("sweep with a limit", |width, height| pressed(Bench::sweep(width, height, 5), "m")),
    ("sizes of a sweep", |width, height| pressed(Bench::done(width, height), "s")),
    ("history", with_history),
    ("deleting", |width, height| pressed(with_history(width, height), "d")),
    ("comparison", |width, height| {
        let mut bench = with_history(width, height);
        let text = "lanes\n  batched 16  throughput  326 tok/s  331 tok/s  1.02×\n".repeat(40);
        let title = "comparison".to_owned();
        bench.app.overlay = Some(Overlay::Reading(Reading { title, text, scroll: 3, across: 0 }));
        bench
    }),
    ("export", |width, height| pressed(Bench::done(width, height), "e")),
    ("help", |width, height| pressed(Bench::done(width, height), "?/b")),
    ("palette", |width, height| pressed(Bench::done(width, height), ":the")),
];

fn pressed(mut bench: Bench, keys: &str) -> Bench {
    for key in keys.chars() {
        bench.press(key);
    }
    bench
}

fn resize(bench: &mut Bench, width: u16, height: u16) {
    let now = bench.app.now;
    update::terminal_event(&mut bench.app, Event::Resize(width, height), now);
}

#[test]
fn a_window_that_is_too_small_for_anything_is_told_so() {
    for (name, make) in SCREENS {
        let mut bench = make(80, 24);
        for height in 1..=12 {
            for width in 1..=40 {
                resize(&mut bench, width, height);
                let screen = bench.screen();
                let lines: Vec<&str> = screen.lines().collect();
                assert!(lines.len() <= usize::from(height), "{name} {width}×{height}");
                for line in &lines {
                    assert!(
                        line.width() <= usize::from(width),
                        "{name} {width}×{height}\n{screen}"
                    );
                }
                assert!(lines[0].starts_with('t'), "{name} {width}×{height}\n{screen}");
            }
        }
    }
}

#[test]
fn a_window_that_shrinks_before_its_event_is_here_is_not_drawn_over() {
    for (_, make) in SCREENS {
        let bench = make(120, 40);
        for (width, height) in [(119, 40), (60, 16), (5, 2), (200, 60)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| views::render(frame, &bench.app)).unwrap();
        }
    }
}

/// Every line that begins with a border ends with one at the edge.
#[test]
fn nothing_runs_over_a_border_at_odd_sizes() {
    for (name, make) in SCREENS {
        let mut bench = make(80, 24);
        for (width, height) in
            [(60, 16), (61, 17), (67, 23), (79, 24), (99, 19), (101, 28), (143, 31)]
        {
            resize(&mut bench, width, height);
            let screen = bench.screen();
            for line in screen.lines() {
                assert!(line.width() <= usize::from(width), "{name} {width}×{height}\n{screen}");
                if line.starts_with(['│', '├', '┌', '└']) {
                    let whole = line.width() == usize::from(width);
                    let ends = line.ends_with(['│', '┤', '┐', '┘']);
                    assert!(whole && ends, "{name} {width}×{height}: {line}\n{screen}");
                }
            }
        }
    }
}

//! What drawing and keys cost, 200×60 cells, three lanes: frames of a run with 10,000 rows and with
//! 100,000, keys over 100,000 rows (the end, filters, a search that finds nothing), and a row whose
//! outputs have 10 MB without a space.
//!
//! `cargo bench --bench draw` ends with an error where the median frame takes 2 ms or more, a key
//! with the frame after it 30 ms or more, or a search of all texts 100 ms or more.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use batchgen::bench::event::RunEvent;
use batchgen::bench::recorder::Recorder;
use batchgen::config::{OnError, Plan};
use batchgen::prompts::{Content, Prompt, PromptList};
use batchgen::provider::{Event, ProviderSpec, Stamped};
use batchgen::sampling::Sampling;
use batchgen::tui::app::{App, Opening, Reply};
use batchgen::tui::form::{Preset, PromptQuery};
use batchgen::tui::keymap::Keymap;
use batchgen::tui::session::{RunStart, Session};
use batchgen::tui::{theme, update, views};
use crossterm::event::{Event as TerminalEvent, KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;

const FRAMES: u32 = 300;
const MOST: Duration = Duration::from_millis(2);
/// For a key and the frame after it.
const MOST_KEY: Duration = Duration::from_millis(30);
/// For a search that reads every text.
const MOST_SEARCH: Duration = Duration::from_millis(100);

fn plan() -> Plan {
    let lanes = ["sequential", "async:8", "batched:16"];
    Plan {
        name: "bench".into(),
        prompts: "bench".into(),
        column: None,
        template: None,
        raw: false,
        provider: ProviderSpec::default(),
        sampling: Sampling::default(),
        lanes: lanes.iter().filter_map(|lane| lane.parse().ok()).collect(),
        repeats: 1,
        warmup: 0,
        on_error: OnError::Stop,
        max_cost_usd: None,
    }
}

fn prompts(rows: usize) -> Arc<PromptList> {
    let prompt = |index: usize| {
        let text = format!("prompt {index}: why is the sky blue, and what follows from it?");
        let content = Content::Text(text);
        Arc::new(Prompt { index, id: index.to_string(), content, expect: None })
    };
    Arc::new(PromptList { name: "bench".into(), prompts: (0..rows).map(prompt).collect() })
}

fn app(rows: usize, epoch: Instant) -> App {
    let preset = Preset { name: "bench".into(), plan: plan(), query: PromptQuery::default() };
    let opening = Opening {
        preset,
        presets: Vec::new(),
        providers: vec!["local".into()],
        built_in: Vec::new(),
        keymap: Keymap::default(),
        themes: theme::shipped(),
        theme: 0,
        folder: PathBuf::from("/"),
        warnings: Vec::new(),
    };
    let mut app = App::new(opening, Size { width: 200, height: 60 }, epoch);
    let recorder = Recorder::new(&plan(), rows, epoch);
    let start = RunStart {
        id: "bench".into(),
        folder: PathBuf::from("/runs/bench"),
        started_at: jiff::Timestamp::UNIX_EPOCH,
        recorder,
    };
    let session = Session::new(start, plan(), prompts(rows));
    update::reply(&mut app, Reply::Started(Box::new(session)), epoch);
    app
}

/// Every row of two lanes, and half of the third.
fn fill(app: &mut App, rows: usize, epoch: Instant) {
    let mut at = epoch;
    for lane in 0..3 {
        update::run_event(app, Stamped { at, event: RunEvent::LaneStarted { lane, repeat: 0 } });
        let rows = if lane == 2 { rows / 2 } else { rows };
        for row in 0..rows {
            let text = "because air scatters blue light more than red light ".repeat(3);
            let events = [
                Event::Submitted { row },
                Event::Tokens { row, count: 20, ids: Vec::new(), text },
                Event::Finished {
                    row,
                    usage: batchgen::provider::Usage::default(),
                    reason: batchgen::provider::FinishReason::Stop,
                },
            ];
            for event in events {
                at += Duration::from_micros(700);
                update::run_event(app, Stamped { at, event: RunEvent::Provider(event) });
            }
        }
        if lane < 2 {
            update::run_event(app, Stamped { at, event: RunEvent::LaneFinished { failure: None } });
        }
    }
}

/// A run of this many rows under way.
struct Bench {
    app: App,
    terminal: Terminal<TestBackend>,
    now: Instant,
}

impl Bench {
    fn new(rows: usize) -> Self {
        let epoch = Instant::now();
        let mut app = app(rows, epoch);
        fill(&mut app, rows, epoch);
        let Ok(terminal) = Terminal::new(TestBackend::new(200, 60));
        Self { app, terminal, now: epoch + Duration::from_secs(600) }
    }

    /// As the event loop does it: figures four times a second, a frame every 33 ms.
    fn frame(&mut self) -> Duration {
        self.now += Duration::from_millis(33);
        let began = Instant::now();
        update::refresh(&mut self.app, self.now);
        let Ok(_) = self.terminal.draw(|frame| views::render(frame, &self.app));
        began.elapsed()
    }

    /// Keys and the frame after the last of them.
    fn keys(&mut self, keys: &[KeyCode]) -> Duration {
        let mut longest = Duration::ZERO;
        for code in keys {
            let began = Instant::now();
            let event = TerminalEvent::Key(KeyEvent::new(*code, KeyModifiers::NONE));
            update::terminal_event(&mut self.app, event, self.now);
            let took = began.elapsed();
            longest = longest.max(took + self.frame());
        }
        longest
    }

    /// Tells what the frames cost; whether the median is under the bar.
    fn frames(&mut self, what: &str) -> bool {
        let mut times: Vec<Duration> = (0..FRAMES).map(|_| self.frame()).collect();
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let (median, p95, longest) = (at(0.5), at(0.95), at(1.0));
        println!("a frame of {what}: median {median:.2?}, p95 {p95:.2?}, longest {longest:.2?}");
        median < MOST
    }

    /// Tells what keys cost, the median of nine times; whether it is under the bar.
    fn pressed(&mut self, what: &str, keys: &[KeyCode], back: &[KeyCode]) -> bool {
        self.median_of(what, keys, back) < MOST_KEY
    }

    fn median_of(&mut self, what: &str, keys: &[KeyCode], back: &[KeyCode]) -> Duration {
        let mut times: Vec<Duration> = (0..9)
            .map(|_| {
                let took = self.keys(keys);
                self.keys(back);
                took
            })
            .collect();
        times.sort();
        println!("{what}: median {:.2?}, longest {:.2?}", times[4], times[8]);
        times[4]
    }
}

fn word(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}

fn run_of(rows: usize) -> bool {
    Bench::new(rows).frames(&format!("Run, {rows} rows"))
}

fn keys_over_many_rows() -> bool {
    let mut bench = Bench::new(100_000);
    let key = KeyCode::Char;
    let end = bench.pressed("to the last of 100,000 rows", &[KeyCode::End], &[KeyCode::Home]);
    let all = [key('F'), key('F'), key('F'), key('F')];
    let filters = bench.pressed("filters over 100,000 rows, the slowest of four", &all, &[]);
    let mut search = vec![key('/')];
    search.extend(word("zebra"));
    search.push(KeyCode::Enter);
    let mut back = vec![key('/')];
    back.extend([KeyCode::Backspace; 5]);
    back.push(KeyCode::Enter);
    let what = "a search of 100,000 rows that finds nothing";
    let nothing = bench.median_of(what, &search, &back) < MOST_SEARCH;
    let row = bench.pressed("into a row and back", &[KeyCode::Enter], &[KeyCode::Esc]);
    end && filters && nothing && row
}

/// Outputs of 10 MB that differ in their last byte.
fn huge_row() -> bool {
    let mut bench = Bench::new(3);
    let epoch = bench.now;
    for lane in 0..3 {
        let stamp = |event| Stamped { at: epoch, event };
        update::run_event(&mut bench.app, stamp(RunEvent::LaneStarted { lane, repeat: 1 }));
        let text = "x".repeat(10_000_000) + &lane.to_string();
        let usage = batchgen::provider::Usage::default();
        let reason = batchgen::provider::FinishReason::Length;
        for event in [
            Event::Submitted { row: 0 },
            Event::Tokens { row: 0, count: 1, ids: Vec::new(), text },
            Event::Finished { row: 0, usage, reason },
        ] {
            update::run_event(&mut bench.app, stamp(RunEvent::Provider(event)));
        }
        let ended = RunEvent::LaneFinished { failure: None };
        update::run_event(&mut bench.app, stamp(ended));
    }
    bench.keys(&[KeyCode::Home]);
    let list = bench.frames("Run, a row of 10 MB without a space");
    let open = bench.pressed("into that row and back", &[KeyCode::Enter], &[KeyCode::Esc]);
    bench.keys(&[KeyCode::Enter]);
    let row = bench.frames("that row");
    let page = bench.pressed("a page further", &[KeyCode::PageDown], &[]);
    let end = bench.pressed("to its last line that can be seen", &[KeyCode::End], &[KeyCode::Home]);
    bench.keys(&[KeyCode::End]);
    bench.frames("its end") && list && open && row && page && end
}

fn main() {
    // cargo test runs benches too, to see that they build
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let kept = [run_of(10_000), run_of(100_000), keys_over_many_rows(), huge_row()];
    if kept.contains(&false) {
        eprintln!("a bar was missed: frame {MOST:?}, key {MOST_KEY:?}, search {MOST_SEARCH:?}");
        std::process::exit(1);
    }
}

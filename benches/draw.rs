//! What a frame of the Run screen costs: 200×60 cells, 10,000 rows in three lanes, 300 frames.
//!
//! `cargo bench --bench draw` prints the median, and ends with an error where it is 2 ms or more.

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
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;

const ROWS: usize = 10_000;
const FRAMES: u32 = 300;
const MOST: Duration = Duration::from_millis(2);

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

fn prompts() -> Arc<PromptList> {
    let prompt = |index: usize| {
        let text = format!("prompt {index}: why is the sky blue, and what follows from it?");
        let content = Content::Text(text);
        Arc::new(Prompt { index, id: index.to_string(), content, expect: None })
    };
    Arc::new(PromptList { name: "bench".into(), prompts: (0..ROWS).map(prompt).collect() })
}

fn app(epoch: Instant) -> App {
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
    let recorder = Recorder::new(&plan(), ROWS, epoch);
    let start = RunStart {
        id: "bench".into(),
        folder: PathBuf::from("/runs/bench"),
        started_at: jiff::Timestamp::UNIX_EPOCH,
        recorder,
    };
    let session = Session::new(start, plan(), prompts());
    update::reply(&mut app, Reply::Started(Box::new(session)), epoch);
    app
}

/// Every row of two lanes, and half of the third.
fn fill(app: &mut App, epoch: Instant) {
    let mut at = epoch;
    for lane in 0..3 {
        update::run_event(app, Stamped { at, event: RunEvent::LaneStarted { lane, repeat: 0 } });
        let rows = if lane == 2 { ROWS / 2 } else { ROWS };
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

fn main() {
    // cargo test runs benches too, to see that they build
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let epoch = Instant::now();
    let mut app = app(epoch);
    fill(&mut app, epoch);
    let Ok(mut terminal) = Terminal::new(TestBackend::new(200, 60));
    let mut now = epoch + Duration::from_secs(60);
    let mut times: Vec<Duration> = (0..FRAMES)
        .map(|_| {
            // as the event loop does it: figures four times a second, a frame every 33 ms
            now += Duration::from_millis(33);
            let began = Instant::now();
            update::refresh(&mut app, now);
            let Ok(_) = terminal.draw(|frame| views::render(frame, &app));
            began.elapsed()
        })
        .collect();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "a frame of Run, 200x60, {ROWS} rows: median {:?}, p95 {:?}, longest {:?}",
        at(0.5),
        at(0.95),
        at(1.0)
    );
    if at(0.5) >= MOST {
        eprintln!("the median is not under {MOST:?}");
        std::process::exit(1);
    }
}

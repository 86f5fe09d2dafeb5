//! What the workbench costs, with the real program in a pseudo-terminal of 200×60 cells:
//!
//! * the first frame: launch until the screen says what will run;
//! * idle: processor time and bytes drawn while nothing happens;
//! * keys: a key until its effect is on the screen, while the engine has all cores busy;
//! * the measurement: batched throughput of runs on the screen and of headless runs by turns.
//!
//! ```sh
//! cargo bench --bench workbench -- --model FILE [frame] [idle] [keys] [throughput] [--pairs 8]
//! ```
//!
//! It ends with an error where a bar is missed: 100 ms, 0.5 % of a core and no byte, 30 ms, 98 %.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark may end with a panic")]

#[path = "workbench/screen.rs"]
mod screen;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use batchgen::bench::history;
use portable_pty::CommandBuilder;
use screen::Screen;

const BINARY: &str = env!("CARGO_BIN_EXE_batchgen-tui");

const FIRST_FRAME: Duration = Duration::from_millis(100);
const KEY: Duration = Duration::from_millis(30);
/// Of one core.
const IDLE: f64 = 0.005;
/// Throughput with the screen over throughput without.
const LEAST_RATIO: f64 = 0.98;

/// What is asked for.
struct Bench {
    home: tempfile::TempDir,
    model: PathBuf,
    pairs: usize,
}

/// Measures something; whether the bar was kept.
type Part = fn(&Bench) -> bool;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    // cargo test runs benches too, to see that they build
    if !words.iter().any(|word| word == "--bench") {
        return;
    }
    let after = |name: &str| {
        let place = words.iter().position(|word| word == name)?;
        words.get(place + 1).cloned()
    };
    let Some(model) = after("--model") else { panic!("say which model: --model FILE") };
    let pairs = after("--pairs").and_then(|text| text.parse().ok()).unwrap_or(8);
    let home = tempfile::tempdir().unwrap();
    let prompts: String =
        (1..=96).map(|number| format!("Tell me {number} things about the sea.\n")).collect();
    std::fs::write(home.path().join("prompts.txt"), prompts).unwrap();
    let bench = Bench { home, model: model.into(), pairs };
    let parts: [(&str, Part); 4] = [
        ("frame", Bench::first_frame),
        ("idle", Bench::idle),
        ("keys", Bench::keys),
        ("throughput", Bench::throughput),
    ];
    let named = parts.iter().any(|(name, _)| words.iter().any(|word| word == name));
    let wanted = parts.iter().filter(|(name, _)| !named || words.iter().any(|word| word == name));
    let kept: Vec<bool> = wanted.map(|(_, part)| part(&bench)).collect();
    if kept.contains(&false) {
        eprintln!("a bar was missed");
        std::process::exit(1);
    }
}

impl Bench {
    fn flags(&self, tokens: usize) -> Vec<String> {
        let model = self.model.to_string_lossy();
        let tokens = tokens.to_string();
        let words = [
            "--model",
            &model,
            "--prompts",
            "prompts.txt",
            "--lanes",
            "batched:16",
            "--ignore-eos",
        ];
        words.into_iter().chain(["--max-tokens", &tokens]).map(str::to_owned).collect()
    }

    fn open(&self, tokens: usize) -> Screen {
        let mut command = CommandBuilder::new(BINARY);
        command.args(self.flags(tokens));
        command.env("BATCHGEN_HOME", self.home.path());
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        command.cwd(self.home.path());
        Screen::open(command)
    }

    /// Launches the program 20 times.
    fn first_frame(&self) -> bool {
        let launch = || {
            let start = Instant::now();
            let mut screen = self.open(64);
            let seen = screen.until("what will run", |text| text.contains("what will run"));
            screen.quit();
            seen - start
        };
        launch();
        let times = sorted((0..20).map(|_| launch()));
        tell("launch until the first frame, 20 launches", &times);
        times[times.len() / 2] < FIRST_FRAME
    }

    /// Sits on Setup, and on a run that is over, for 20 seconds each.
    fn idle(&self) -> bool {
        let mut screen = self.open(1);
        screen.until("Setup", |text| text.contains("starts the run"));
        let setup = rest(&mut screen, "on Setup");
        screen.types("r");
        screen.until("end of the run", |text| text.contains("done after"));
        let run = rest(&mut screen, "after a run");
        screen.quit();
        setup && run
    }

    /// Opens and closes the help 60 times during a run.
    fn keys(&self) -> bool {
        let mut screen = self.open(2000);
        screen.until("Setup", |text| text.contains("starts the run"));
        screen.types("r");
        screen.until("rows under way", |text| text.contains("order") && text.contains('█'));
        let times = (0..60).map(|place| {
            // not in step with the frames of the run
            std::thread::sleep(Duration::from_millis(100 + place * 37 % 90));
            let start = Instant::now();
            screen.types("?");
            let seen = screen.until("help", |text| text.contains("Everywhere"));
            std::thread::sleep(Duration::from_millis(60));
            screen.types("q");
            screen.until("run", |text| !text.contains("Everywhere"));
            seen - start
        });
        let times = sorted(times);
        assert!(screen.text().contains("stop"), "the run ended too early:\n{}", screen.text());
        screen.kill();
        tell("a key until its effect is on the screen, during a batched run, 60 keys", &times);
        times[times.len() * 95 / 100] < KEY
    }

    /// Headless and on the screen by turns; the order changes from pair to pair.
    fn throughput(&self) -> bool {
        self.headless();
        let mut ratios = Vec::new();
        for pair in 0..self.pairs {
            let (with, without) = if pair % 2 == 0 {
                let with = self.on_the_screen();
                (with, self.headless())
            } else {
                let without = self.headless();
                (self.on_the_screen(), without)
            };
            println!(
                "  screen {with:.0} tok/s, headless {without:.0} tok/s: {:.3}",
                with / without
            );
            ratios.push(with / without);
        }
        ratios.sort_by(f64::total_cmp);
        let middle = median(&ratios);
        println!(
            "batched throughput, screen over headless, {} pairs: median {:.1} %, {:.1} to {:.1} %",
            ratios.len(),
            middle * 100.0,
            ratios[0] * 100.0,
            ratios[ratios.len() - 1] * 100.0
        );
        middle >= LEAST_RATIO
    }

    fn headless(&self) -> f64 {
        let mut command = Command::new(BINARY);
        command.arg("run").args(self.flags(64)).arg("--quiet").current_dir(self.home.path());
        let status = command.env("BATCHGEN_HOME", self.home.path()).status().unwrap();
        assert!(status.success());
        self.newest_run()
    }

    fn on_the_screen(&self) -> f64 {
        let mut screen = self.open(64);
        screen.until("Setup", |text| text.contains("starts the run"));
        screen.types("r");
        screen.until_at_leisure("end of the run", |text| text.contains("done after"));
        screen.quit();
        self.newest_run()
    }

    /// Output tokens per second of the newest run, as its journal tells it.
    fn newest_run(&self) -> f64 {
        let folders = history::folders(&self.home.path().join("data/runs")).unwrap();
        let recorded = history::read(&folders[0]).unwrap();
        let pass = recorded.recorder.lanes[0].pass().unwrap();
        assert_eq!(pass.done, 96);
        pass.output_tokens as f64 / pass.span().unwrap().as_secs_f64()
    }
}

/// Processor time and bytes drawn over 20 seconds in which nothing happens.
fn rest(screen: &mut Screen, place: &str) -> bool {
    std::thread::sleep(Duration::from_secs(2));
    let (bytes, start) = (screen.bytes(), Instant::now());
    let before = processor_time(screen.pid());
    std::thread::sleep(Duration::from_secs(20));
    let drawn = screen.bytes() - bytes;
    let used = processor_time(screen.pid()).zip(before).map(|(after, before)| after - before);
    let share = used.map(|used| used / start.elapsed().as_secs_f64());
    match share {
        Some(share) => {
            println!("idle {place}, 20 s: {:.2} % of a core, {drawn} bytes drawn", share * 100.0);
        }
        None => {
            println!("idle {place}, 20 s: {drawn} bytes drawn; processor time is not known here")
        }
    }
    drawn == 0 && share.is_none_or(|share| share < IDLE)
}

/// Seconds of processor time of a process and its threads, where the kernel tells.
fn processor_time(pid: u32) -> Option<f64> {
    let stat =
        std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    // USER_HZ is 100 on every Linux
    Some(ticks / 100.0)
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times
}

fn median(values: &[f64]) -> f64 {
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        (values[middle - 1] + values[middle]) / 2.0
    } else {
        values[middle]
    }
}

fn tell(what: &str, times: &[Duration]) {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what}: median {:.1?}, p95 {:.1?}, longest {:.1?}", at(0.5), at(0.95), at(1.0));
}

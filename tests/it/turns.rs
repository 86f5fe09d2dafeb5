//! Two real runs that take turns, and what `compare` makes of them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::headless::{command, errors, workplace};

const RUN: &str = "run --model ./model --prompts words.txt --raw --max-tokens 5 --ignore-eos \
                   --lanes sequential,batched:2 --turns turns --quiet";

/// A run, which does not outlive its test.
struct Run(Option<Child>);

impl Run {
    fn ended(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn start(home: &Path, report: &str, repeats: usize) -> Run {
    let mut command = command(home, &format!("{RUN} --repeats {repeats} --report {report}"));
    Run(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
}

fn until(so: impl Fn() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited for a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ended_well(run: Run) {
    let output = run.ended();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
}

fn read(home: &Path, report: &str) -> Value {
    serde_json::from_slice(&std::fs::read(home.join(report)).unwrap()).unwrap()
}

/// From when to when every pass of a report ran.
fn passes(home: &Path, report: &str) -> Vec<(Timestamp, Timestamp)> {
    let report = read(home, report);
    let repeats = report["lanes"].as_array().unwrap().iter().flat_map(|lane| {
        let repeats = lane["repeats"].as_array().unwrap();
        repeats.iter().map(|repeat| {
            let time = |name: &str| repeat[name].as_str().unwrap().parse::<Timestamp>().unwrap();
            (time("started_at"), time("ended_at"))
        })
    });
    let mut passes: Vec<_> = repeats.collect();
    passes.sort_unstable();
    passes
}

#[test]
fn passes_are_taken_in_turns_and_compared_pair_by_pair() {
    let home = workplace();
    let (a, b) = (start(home.path(), "a.json", 6), start(home.path(), "b.json", 6));
    ended_well(a);
    ended_well(b);
    let (a, b) = (passes(home.path(), "a.json"), passes(home.path(), "b.json"));
    assert_eq!((a.len(), b.len()), (12, 12));
    let pairs: Vec<_> = a.into_iter().zip(b).flat_map(|(a, b)| [a.min(b), a.max(b)]).collect();
    assert!(pairs.is_sorted(), "a pair is over before the next: {pairs:?}");
    pairs.windows(2).for_each(|of| assert!(of[0].1 <= of[1].0, "two passes at once: {of:?}"));
    // the journal knows the times too
    let report = read(home.path(), "a.json");
    let line = format!("report {} --report past.json", report["run"]["id"].as_str().unwrap());
    assert!(command(home.path(), &line).output().unwrap().status.success());
    assert_eq!(passes(home.path(), "past.json"), passes(home.path(), "a.json"));

    let compared = command(home.path(), "compare a.json b.json").output().unwrap();
    let text = String::from_utf8(compared.stdout).unwrap();
    assert_eq!(text.matches("run in turns: ratios of 6 pairs of passes").count(), 2, "{text}");
    // a report has no turns with itself
    let compared = command(home.path(), "compare a.json a.json").output().unwrap();
    assert!(!String::from_utf8(compared.stdout).unwrap().contains("in turns"));
}

#[test]
fn a_run_goes_on_alone_where_the_other_was_killed() {
    let home = workplace();
    let (a, b) = (start(home.path(), "a.json", 6), start(home.path(), "b.json", 1000));
    // it is written after a pass
    until(|| std::fs::metadata(home.path().join("b.json")).is_ok_and(|file| file.len() > 0));
    drop(b);
    ended_well(a);
    assert_eq!(passes(home.path(), "a.json").len(), 12);
}

#[test]
fn a_third_run_is_refused() {
    let home = workplace();
    let first = start(home.path(), "a.json", 1000);
    let second = start(home.path(), "b.json", 1000);
    until(|| home.path().join("turns/second.passes").is_file());
    let third = start(home.path(), "c.json", 1).ended();
    assert_eq!(third.status.code(), Some(2), "{}", errors(&third));
    assert!(errors(&third).contains("two other runs take turns there"), "{}", errors(&third));
    drop((first, second));
}

#[cfg(unix)]
#[test]
fn whoever_waits_for_another_run_says_so_and_can_be_stopped() {
    let home = workplace();
    let line = format!("{RUN} --report a.json").replace("--quiet", "");
    let mut waiting = command(home.path(), &line).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    assert!(lines.any(|line| line.contains("waiting for the other run in turns")));
    let stopped = std::process::Command::new("kill").arg(waiting.id().to_string()).status();
    assert!(stopped.unwrap().success());
    assert!(lines.any(|line| line.contains("go on with: batchgen-tui resume")));
    assert_eq!(waiting.wait().unwrap().code(), Some(130));
}

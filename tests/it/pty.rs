//! The real binary in a pseudo-terminal: what a person sees and types, and how the terminal is
//! left.

#![cfg(unix)]

mod child;
mod endurance;
mod story;
pub mod terminal;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use terminal::{Program, Terminal};

use crate::tiny_models::{Tiny, VOCAB};

const CTRL_C: &str = "\u{3}";
const CTRL_U: &str = "\u{15}";
const CTRL_Z: &str = "\u{1a}";
const ENTER: &str = "\r";
const ESC: &str = "\u{1b}";

/// The binary, with everything it keeps under a folder of its own.
fn binary(home: &Path) -> Program {
    Program::new(env!("CARGO_BIN_EXE_batchgen-tui")).env("BATCHGEN_HOME", home).folder(home)
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn the_terminal_is_restored_after_quitting() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(binary(home.path()));
    terminal.sees("what will run");
    terminal.is_taken();
    terminal.types("q");
    assert_eq!(terminal.ends(), 0);
    terminal.is_restored();
}

/// A terminal that draws while bytes arrive never shows half of a frame.
#[test]
fn frames_are_shown_at_once() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(binary(home.path()));
    terminal.sees("what will run");
    terminal.types("?");
    terminal.sees("search");
    terminal.types(ESC);
    terminal.sees("starts the run");
    terminal.types("q");
    assert_eq!(terminal.ends(), 0);
    terminal.is_restored();
    let outside = terminal.outside_of_frames();
    // modes are set and unset, nothing is drawn
    let is_mode = |sequence: &str| sequence.starts_with("[?") && sequence.ends_with(['h', 'l']);
    let all_modes = outside.split('\u{1b}').skip(1).all(is_mode);
    assert!(outside.starts_with('\u{1b}') && all_modes, "{outside:?}");
}

#[test]
fn the_terminal_is_restored_after_control_c() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(binary(home.path()));
    terminal.sees("what will run");
    terminal.types(CTRL_C);
    assert_eq!(terminal.ends(), 130);
    terminal.is_restored();
}

/// What was typed while the program had no time is not left lying until the next key. Elsewhere a
/// terminal may have no room for as much.
#[cfg(target_os = "linux")]
#[test]
fn many_keys_at_once_all_count() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(binary(home.path()));
    terminal.sees("starts the run");
    signal("-STOP", terminal.pid());
    terminal.types(&"jk".repeat(1000));
    terminal.types("?");
    signal("-CONT", terminal.pid());
    terminal.sees("search");
    terminal.types(CTRL_C);
    assert_eq!(terminal.ends(), 130);
}

#[test]
fn keys_count_while_the_window_changes() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(binary(home.path()));
    terminal.sees("starts the run");
    for width in 80..140 {
        terminal.resize(width, 24);
        terminal.types("?");
        terminal.sees("search");
        terminal.resize(width, 30);
        terminal.types("?");
        terminal.sees("starts the run");
    }
    terminal.resize(80, 24);
    terminal.types(CTRL_C);
    assert_eq!(terminal.ends(), 130);
}

#[test]
fn the_terminal_is_restored_after_signals() {
    for name in ["-TERM", "-HUP", "-INT"] {
        let home = tempfile::tempdir().unwrap();
        let mut terminal = Terminal::open(binary(home.path()));
        terminal.sees("what will run");
        signal(name, terminal.pid());
        assert_eq!(terminal.ends(), 130, "{name}");
        terminal.is_restored();
    }
}

#[test]
fn without_a_terminal_the_workbench_says_what_to_use() {
    let output = Command::new(env!("CARGO_BIN_EXE_batchgen-tui"))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("batchgen-tui run"), "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_run_can_be_stopped_by_a_signal_and_the_terminal_is_restored() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(child::workbench("slow", home.path()));
    terminal.sees("starts the run");
    terminal.types(ENTER);
    terminal.sees("lane 1 of 3");
    signal("-TERM", terminal.pid());
    terminal.ends();
    terminal.is_restored();
}

#[test]
fn a_panic_of_the_engines_thread_is_told_and_the_screen_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(child::workbench("panics", home.path()));
    terminal.sees("starts the run");
    terminal.types(ENTER);
    terminal.sees("✗ failed after");
    terminal.types("!");
    terminal.sees("thread engine panicked");
    terminal.sees("engine fell over");
    terminal.is_taken();
    terminal.types(ESC);
    terminal.sees("run again");
    terminal.types("q");
    assert_eq!(terminal.ends(), 0);
    terminal.is_restored();
}

#[test]
fn a_panic_of_the_screen_restores_the_terminal_before_it_is_told() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(child::workbench("screen-panics", home.path()));
    terminal.sees("starts the run");
    terminal.types(ENTER);
    assert_ne!(terminal.ends(), 0);
    terminal.is_restored();
    // it stands on the ordinary screen, where it can be read
    terminal.sees("the screen fell over");
}

#[test]
fn suspending_gives_the_terminal_to_the_shell_and_fg_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let script =
        r#"set -m; "$BIN"; echo now suspended; read answer; fg >/dev/null; echo "ended $?""#;
    let program = Program::new("sh").arg("-c").arg(script).folder(home.path());
    let program =
        program.env("BIN", env!("CARGO_BIN_EXE_batchgen-tui")).env("BATCHGEN_HOME", home.path());
    let mut terminal = Terminal::open(program);
    terminal.sees("what will run");
    terminal.types(CTRL_Z);
    terminal.sees("now suspended");
    terminal.is_restored();
    terminal.types("\n");
    terminal.sees("what will run");
    terminal.is_taken();
    terminal.types("q");
    terminal.sees("ended 0");
    assert_eq!(terminal.ends(), 0);
    terminal.is_restored();
}

#[test]
fn no_color_means_no_colour() {
    let home = tempfile::tempdir().unwrap();
    for (value, coloured) in [("", true), ("1", false)] {
        let mut terminal = Terminal::open(binary(home.path()).env("NO_COLOR", value));
        terminal.sees("starts the run");
        assert_eq!(terminal.is_coloured(), coloured, "NO_COLOR={value}");
        terminal.types("q");
        assert_eq!(terminal.ends(), 0);
    }
}

#[test]
fn a_window_that_changes_its_size_is_drawn_anew() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(binary(home.path()));
    terminal.sees("what will run");
    terminal.resize(50, 10);
    terminal.sees("make it larger");
    terminal.resize(120, 40);
    terminal.sees("what will run");
    terminal.types("q");
    assert_eq!(terminal.ends(), 0);
}

/// A model of random weights that knows fifty words.
fn tiny_model(folder: &Path) {
    Tiny::llama(2, true).write_safetensors(folder);
    let words: serde_json::Map<String, Value> =
        (0..VOCAB).map(|id| (format!("w{id}"), id.into())).collect();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"},
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

/// Setup, run, wait, look at a row, export, quit.
#[test]
fn from_launch_to_an_exported_report() {
    let home = tempfile::tempdir().unwrap();
    let model = home.path().join("model");
    std::fs::create_dir(&model).unwrap();
    tiny_model(&model);
    std::fs::write(home.path().join("words.txt"), "w1 w2\nw3\nw4 w5 w6\n").unwrap();
    let flags = ["--model", "./model", "--prompts", "words.txt", "--max-tokens", "5", "--raw"];
    let lanes = ["--lanes", "sequential,async:2,batched:2"];
    let program =
        flags.iter().chain(&lanes).fold(binary(home.path()), |program, flag| program.arg(flag));
    let mut terminal = Terminal::open(program);

    terminal.sees("3 prompts from words.txt");
    terminal.sees("enter starts the run");
    terminal.types(ENTER);
    terminal.sees("✓ done after");
    terminal.types(ENTER);
    terminal.sees("next difference");
    terminal.sees("w4 w5 w6");
    // a key that follows escape at once would be taken for a key with alt
    terminal.types(ESC);
    terminal.sees("run again");
    terminal.types("e");
    terminal.sees("export the report");
    terminal.types(CTRL_U);
    terminal.types("report.json");
    terminal.sees("enter writes it");
    terminal.types(ENTER);
    terminal.sees("✓ written");
    terminal.types(ESC);
    terminal.sees("run again");
    terminal.types("q");
    assert_eq!(terminal.ends(), 0);
    terminal.is_restored();

    let report = std::fs::read(home.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["schema"], "batchgen-report/1");
    let rows: Vec<usize> = report["lanes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lane| lane["rows_ok"].as_u64().unwrap() as usize)
        .collect();
    assert_eq!(rows, [3, 3, 3]);
}

//! Random keys and changing sizes for a while: no panic, a sane terminal.
//!
//! `BATCHGEN_TEST_SECONDS` sets for how long; the ordinary run is short.

use std::time::{Duration, Instant};

use super::child;
use super::terminal::Terminal;

/// Nothing here quits, suspends or writes a file.
const KEYS: [&str; 40] = [
    "r",
    "s",
    "p",
    "T",
    "?",
    "!",
    "j",
    "k",
    "n",
    "N",
    "d",
    "D",
    "f",
    "F",
    "v",
    "y",
    "/",
    ":",
    "H",
    "m",
    "+",
    "-",
    " ",
    "g",
    "G",
    "h",
    "l",
    "x",
    "\t",
    "\r",
    "\u{1b}[A",
    "\u{1b}[B",
    "\u{1b}[C",
    "\u{1b}[D",
    "\u{1b}[5~",
    "\u{1b}[6~",
    "\u{1b}[<0;20;10M",
    "\u{1b}[<64;20;10M",
    "é",
    "\u{7f}",
];

#[test]
fn random_keys_and_sizes_leave_no_panic_and_a_sane_terminal() {
    let seconds = std::env::var("BATCHGEN_TEST_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(4));
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(child::workbench("slow", home.path()));
    terminal.sees("starts the run");
    let mut state: u64 = 7;
    let mut next = |most: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % most
    };
    let mut count = 0;
    while Instant::now() < until {
        match next(30) {
            0 => terminal.resize(20 + next(180) as u16, 5 + next(55) as u16),
            // escape on its own, so that it is not taken for the start of another key
            1 | 2 => {
                std::thread::sleep(Duration::from_millis(30));
                terminal.types("\u{1b}");
                std::thread::sleep(Duration::from_millis(30));
            }
            _ => terminal.types(KEYS[next(KEYS.len())]),
        }
        std::thread::sleep(Duration::from_millis(3));
        count += 1;
    }
    assert!(count > 20);
    terminal.resize(120, 40);
    terminal.is_taken();
    terminal.types("\u{3}");
    terminal.ends();
    terminal.is_restored();
    assert!(!terminal.text().contains("panicked"), "{}", terminal.text());
}

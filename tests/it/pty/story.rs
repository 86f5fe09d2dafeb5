//! A whole sitting with the real model, in the keys that a person presses: a list, a provider that
//! is down, a run whose batch size is changed live, a sweep, two engines that differ, a report, a
//! comparison, the way out.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::terminal::Terminal;
use super::{CTRL_U, ENTER, ESC, binary};
use crate::servers::{quickstart_model, require_or_skip};

const LEFT: &str = "\u{1b}[D";
const RIGHT: &str = "\u{1b}[C";

/// How long a run may take on a slow machine.
const RUN: Duration = Duration::from_secs(300);

impl Terminal {
    /// Moves down the form to a field.
    fn focuses(&mut self, field: &str) {
        self.types("g");
        self.sees("› preset");
        for _ in 0..25 {
            if self.text().contains(&format!("› {field}")) {
                return;
            }
            let before = self.text();
            self.types("j");
            self.waits("next field", Duration::from_secs(10), |terminal| terminal.text() != before);
        }
        panic!("there is no field {field}:\n{}", self.text());
    }

    /// Writes a text into a field of the form.
    fn fills(&mut self, field: &str, text: &str) {
        self.focuses(field);
        self.types(ENTER);
        self.sees("leave as it was");
        self.types(CTRL_U);
        self.types(text);
        self.types(ENTER);
        self.sees("starts the run");
    }

    fn closes(&mut self, what: &str, then: &str) {
        self.sees(what);
        self.types(ESC);
        self.sees(then);
    }
}

/// A preset of two engines over one model: the CPU runner rounds activations to int8, candle
/// does not.
fn write_preset(home: &Path, model: &Path) {
    let folder = home.join("config/presets");
    std::fs::create_dir_all(&folder).unwrap();
    let (model, list) = (model.display(), home.join("few.txt"));
    let text = format!(
        "prompts = '{}'\nlanes = [\"sequential\", {{ mode = \"sequential\", label = \"candle\", \
         provider = {{ runner = \"candle\" }} }}]\n[provider]\nprovider = \"local\"\n\
         model = '{model}'\n[sampling]\nmax_tokens = 32\n",
        list.display()
    );
    std::fs::write(folder.join("two-engines.toml"), text).unwrap();
}

fn write_lists(home: &Path) {
    let questions: String =
        (1..=48).map(|number| format!("Name {number} things that begin with a B.\n")).collect();
    std::fs::write(home.join("questions.txt"), questions).unwrap();
    let few = "Tell me about the sea.\nWhy is the sky blue?\nWrite a story about a fox.\n\
               What is a batch?\nDescribe your favourite meal.\nHow do birds fly?\n";
    std::fs::write(home.join("few.txt"), few).unwrap();
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_sitting_from_the_list_to_the_comparison() {
    let Some(model) = require_or_skip(quickstart_model()) else { return };
    let home = tempfile::tempdir().unwrap();
    write_lists(home.path());
    write_preset(home.path(), &model);
    let mut terminal = Terminal::open(binary(home.path()));
    terminal.resize(120, 40);
    terminal.sees("what will run");

    choose_a_list(&mut terminal);
    choose_a_server_that_is_down(&mut terminal);
    choose_the_model(&mut terminal, &model);
    tune_a_run(&mut terminal);
    sweep_and_take_the_knee(&mut terminal);
    look_at_a_divergence(&mut terminal);
    export(&mut terminal);
    compare_with_the_first_run(&mut terminal);

    terminal.types("q");
    assert_eq!(terminal.ends(), 0);
    terminal.is_restored();
    check_report(&home.path().join("story.json"));
}

fn choose_a_list(terminal: &mut Terminal) {
    terminal.focuses("prompts");
    terminal.types(ENTER);
    terminal.sees("questions.txt");
    terminal.types("questions.txt");
    terminal.types(ENTER);
    terminal.sees("48 prompts from questions.txt");
}

fn choose_a_server_that_is_down(terminal: &mut Terminal) {
    terminal.focuses("provider");
    terminal.types(RIGHT);
    terminal.sees("‹ openai ›");
    let address = format!("127.0.0.1:{}", free_port());
    terminal.fills("address", &format!("http://{address}"));
    terminal.sees(&address);
    terminal.sees("refused");
    terminal.focuses("provider");
    terminal.types(LEFT);
    terminal.sees("‹ local ›");
}

fn choose_the_model(terminal: &mut Terminal, model: &Path) {
    terminal.fills("model", &model.display().to_string());
    terminal.focuses("model");
    terminal.sees("✓ on this machine");
    terminal.fills("max tokens", "48");
    terminal.focuses("ignore eos");
    terminal.types(RIGHT);
    terminal.sees("past end of text");
    terminal.fills("lanes", "batched:2");
}

fn tune_a_run(terminal: &mut Terminal) {
    terminal.types("r");
    terminal.waits_for("lane 1 of 1, batched 2", RUN);
    // until the first rows have ended, so that there is a throughput before
    terminal.sees("2 of 48 rows");
    terminal.types("+");
    terminal.types("+");
    terminal.types("+");
    terminal.sees("batch size 2→5: ");
    terminal.sees(" tok/s, ");
    terminal.sees("→5");
    terminal.types("-");
    terminal.waits_for("✓ done after", RUN);
}

fn sweep_and_take_the_knee(terminal: &mut Terminal) {
    terminal.types("s");
    terminal.sees("which batch sizes");
    terminal.types(CTRL_U);
    terminal.types("1,2,4,8");
    terminal.types(ENTER);
    terminal.sees("no knee: it takes at least three batch sizes");
    terminal.waits_for("✓ done after", RUN);
    terminal.sees("enter takes batch size");
    let taken = terminal.text();
    let taken = taken.split("enter takes batch size ").nth(1).unwrap();
    let size: String = taken.chars().take_while(char::is_ascii_digit).collect();
    terminal.types(ENTER);
    terminal.sees(&format!("batch size {size} was taken from the sweep"));
    terminal.sees(&format!("batched:{size}"));
}

fn look_at_a_divergence(terminal: &mut Terminal) {
    terminal.focuses("preset");
    // before the first one stands the last one, the user's own
    terminal.types(LEFT);
    terminal.sees("6 prompts from few.txt");
    terminal.types("r");
    terminal.waits_for("✓ done after", RUN);
    terminal.sees(" differ");
    terminal.types("F");
    terminal.types("F");
    terminal.sees("─ diverged: ");
    terminal.types(ENTER);
    terminal.sees("≠ from character");
    terminal.sees("ended at the token limit");
    terminal.closes("next difference", "run again");
}

fn export(terminal: &mut Terminal) {
    terminal.types("e");
    terminal.sees("export the report");
    terminal.types(CTRL_U);
    terminal.types("story.json");
    terminal.sees("enter writes it");
    terminal.types(ENTER);
    terminal.sees("✓ written");
    terminal.types(ESC);
    terminal.sees("run again");
}

fn compare_with_the_first_run(terminal: &mut Terminal) {
    terminal.types("c");
    terminal.sees("1 marked");
    terminal.sees("questions.txt");
    terminal.types("G");
    terminal.sees("batched 2");
    terminal.types("c");
    terminal.sees("A is the oldest run");
    terminal.sees("few.txt");
    terminal.closes("close", "mark");
}

fn check_report(path: &Path) {
    let report: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(report["schema"], "batchgen-report/1");
    let [ours, candle] = &report["lanes"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&ours["rows_ok"], &candle["rows_ok"]), (&6.into(), &6.into()));
    assert_eq!(candle["label"], "candle");
    assert!(!candle["agreement"]["diverged"].as_array().unwrap().is_empty());
}

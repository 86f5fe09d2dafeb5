//! A batch job in the workbench.

use super::support::{KEY, Place};
use crate::mocks::Mock;
use crate::pty::terminal::{Program, Terminal};

#[test]
fn a_lane_of_the_workbench_is_a_job_and_shows_how_it_stands() {
    let Some(mock) = Mock::llmock(&[]) else { return };
    let place = Place::new("anthropic", &mock, 5);
    let mut program = Program::new(env!("CARGO_BIN_EXE_batchgen-tui"));
    let address = place.address.clone();
    for argument in ["--provider", "anthropic", "--base-url", &address, "--model", "gpt-4o"]
        .into_iter()
        .chain(["--prompts", "words.txt", "--lanes", "offline"])
        .chain(["--api-key-env", "BATCHGEN_OFFLINE_KEY"])
    {
        program = program.arg(argument);
    }
    let program = program.env("BATCHGEN_HOME", place.folder()).folder(place.folder());
    let mut terminal = Terminal::open(program.env("BATCHGEN_OFFLINE_KEY", KEY));
    terminal.sees("starts the run");
    terminal.types("r");
    terminal.sees("job in_progress");
    terminal.sees("job ended 5/5");
    terminal.sees("done after");
    terminal.types("q");
    assert_eq!(terminal.ends(), 0);
    assert_eq!(place.jobs().len(), 1);
}

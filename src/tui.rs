//! The workbench on the terminal: what will run, the run as it happens, its outputs.
//!
//! State is changed by pure functions ([`update`]) and drawn by pure functions ([`views`]);
//! the event loop between them is the only place that waits, and [`services`] is all it asks
//! of the rest of the program. No figure is made here: they come from the recorder.

pub mod app;
pub mod event_loop;
pub mod form;
pub mod fuzzy;
pub mod history;
pub mod input;
pub mod keymap;
pub mod notices;
pub mod palette;
pub mod picker;
pub mod services;
pub mod session;
pub mod terminal;
pub mod text;
pub mod theme;
pub mod update;
pub mod views;
pub mod workbench;

use std::io::{BufWriter, IsTerminal, stdin, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossterm::event::EventStream;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::sync::mpsc;

use app::{App, Exit, Opening};
use event_loop::Inputs;
use services::Services;
use terminal::{Guard, PanicGuard};

/// How long a run that is stopped by quitting may take to put away what was finished.
const PATIENCE: Duration = Duration::from_secs(3);

/// Frames of the largest usual windows, with their colours, are shorter.
const FRAME_BYTES: usize = 64 * 1024;

/// Whether there is a terminal to open the workbench on.
///
/// # Errors
/// There is none: what to use instead.
pub fn check_terminal() -> anyhow::Result<()> {
    anyhow::ensure!(
        stdin().is_terminal() && stdout().is_terminal(),
        "the workbench needs a terminal: use `batchgen-tui run` in scripts and pipes"
    );
    Ok(())
}

/// Opens the workbench on this terminal and returns when the user has left it.
///
/// # Errors
/// When this is no terminal, or it fails.
pub async fn run(opening: Opening, services: Arc<dyn Services>) -> anyhow::Result<Exit> {
    check_terminal()?;
    let (panics, told) = mpsc::unbounded_channel();
    let signals = terminal::ending_signals().context("signals cannot be watched")?;
    let hook = PanicGuard::install(panics);
    let mut guard = Guard::enter().context("the terminal cannot be taken over")?;
    // a frame takes few writes, not one for every thousand bytes
    let output = BufWriter::with_capacity(FRAME_BYTES, stdout());
    let mut screen = Terminal::new(CrosstermBackend::new(output))?;
    let mut app = App::new(opening, screen.size()?, Instant::now());
    let inputs = Inputs { terminal: EventStream::new(), signals, panics: told };
    let ended = event_loop::run(&mut screen, inputs, services, &mut app, &mut guard).await;
    drop(screen);
    drop(guard);
    drop(hook);
    let (exit, running) = ended?;
    if let Some(running) = running {
        running.end(PATIENCE).await;
    }
    Ok(exit)
}

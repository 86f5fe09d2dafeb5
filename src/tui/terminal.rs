//! The terminal: taken over while the screen is up, given back whatever happens.
//!
//! It is given back when the guard is dropped, when the drawing thread panics, before the
//! process is suspended, and, since signals end the event loop, after a signal.

use std::io::{self, Write, stdout};
use std::panic::{self, PanicHookInfo};
use std::thread;

use crossterm::clipboard::CopyToClipboard;
use crossterm::cursor::{Hide, Show};
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use tokio::sync::mpsc::UnboundedSender;

/// What the event loop asks of the terminal besides drawing.
pub trait Host {
    /// Gives the terminal back to the shell until it continues this process, then takes it
    /// over again.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    fn suspend(&mut self) -> io::Result<()>;

    /// Puts a text on the clipboard, where the terminal allows it (OSC 52).
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    fn copy(&mut self, text: &str) -> io::Result<()>;

    /// A frame follows: the terminal is to show all of it at once. Where nothing is shown before
    /// a frame is whole anyway, there is nothing to do.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    fn begin_frame(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The frame is whole.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    fn end_frame(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives the terminal back when it is dropped.
#[derive(Debug)]
pub struct Guard {
    _private: (),
}

impl Guard {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// When this is not a terminal, or it cannot be written to.
    pub fn enter() -> io::Result<Self> {
        // from here on, whatever fails, dropping gives back what was taken
        let guard = Self { _private: () };
        take()?;
        Ok(guard)
    }

    /// Takes the terminal over again, after somebody else may have changed it.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub fn resume(&self) -> io::Result<()> {
        take()
    }
}

impl Host for Guard {
    fn suspend(&mut self) -> io::Result<()> {
        give_back()?;
        stop_process_group()?;
        take()
    }

    fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(stdout(), CopyToClipboard::to_clipboard_from(text))
    }

    fn begin_frame(&mut self) -> io::Result<()> {
        queue!(stdout(), BeginSynchronizedUpdate)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        execute!(stdout(), EndSynchronizedUpdate)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // there is nobody left to tell
        let _ = give_back();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, EnableMouseCapture, EnableBracketedPaste, Hide)
}

/// Doing it twice does no harm.
fn give_back() -> io::Result<()> {
    let written = execute!(
        stdout(),
        // it may have been taken in the middle of a frame
        EndSynchronizedUpdate,
        DisableBracketedPaste,
        DisableMouseCapture,
        LeaveAlternateScreen,
        Show
    );
    disable_raw_mode()?;
    written?;
    stdout().flush()
}

/// The whole job stops, as the terminal itself would do it, so that wrappers stop too.
#[cfg(unix)]
fn stop_process_group() -> io::Result<()> {
    use rustix::process::{Signal, kill_current_process_group};
    Ok(kill_current_process_group(Signal::TSTP)?)
}

#[cfg(not(unix))]
fn stop_process_group() -> io::Result<()> {
    Ok(())
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Puts the previous panic hook back when it is dropped.
pub struct PanicGuard {
    previous: std::sync::Arc<Hook>,
}

impl PanicGuard {
    /// A panic of the calling thread gives the terminal back first. A panic of any other
    /// thread, such as the engine's, does not touch the screen: it is told to `panics`.
    pub fn install(panics: UnboundedSender<String>) -> Self {
        let previous = std::sync::Arc::new(panic::take_hook());
        let told = previous.clone();
        let screen = thread::current().id();
        panic::set_hook(Box::new(move |info| {
            if thread::current().id() == screen {
                let _ = give_back();
                told(info);
            } else if panics.send(describe(info)).is_err() {
                told(info);
            }
        }));
        Self { previous }
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        // a panicking thread may not change the hook
        if thread::panicking() {
            return;
        }
        let previous = self.previous.clone();
        panic::set_hook(Box::new(move |info| previous(info)));
    }
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let what = info.payload_as_str().unwrap_or("no message");
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    match info.location() {
        Some(place) => format!("a defect: thread {name} panicked at {place}: {what}"),
        None => format!("a defect: thread {name} panicked: {what}"),
    }
}

/// Numbers of the signals that tell the process to end, as they come.
///
/// # Errors
/// When the handlers cannot be installed.
#[cfg(unix)]
pub fn ending_signals() -> io::Result<impl futures_util::Stream<Item = i32>> {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
    let streams = kinds.map(|kind| {
        let mut arrivals = signal(kind)?;
        Ok(Box::pin(futures_util::stream::poll_fn(move |context| {
            arrivals.poll_recv(context).map(|arrived| arrived.map(|()| kind.as_raw_value()))
        })))
    });
    let streams: io::Result<Vec<_>> = streams.into_iter().collect();
    Ok(futures_util::stream::select_all(streams?))
}

/// Interrupts of the console, as they come.
///
/// # Errors
/// When the handler cannot be installed.
#[cfg(not(unix))]
pub fn ending_signals() -> io::Result<impl futures_util::Stream<Item = i32>> {
    Ok(Box::pin(futures_util::stream::once(async {
        let _ = tokio::signal::ctrl_c().await;
        super::app::SIGINT
    })))
}

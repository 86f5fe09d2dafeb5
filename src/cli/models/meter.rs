//! How a fetch goes, on standard error: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::engine::store::Progress;
use crate::{text, units};

/// A line is written when this many percent more have arrived.
const STEP: u64 = 10;

/// Draws what the store says; quiet, it draws nothing.
#[derive(Debug)]
pub struct Meter {
    style: Style,
}

#[derive(Debug)]
enum Style {
    Quiet,
    Bar(ProgressBar),
    Lines(Mutex<LinesState>),
}

/// What was written last.
#[derive(Debug, Default)]
struct LinesState {
    file: String,
    step: Option<u64>,
}

impl Meter {
    /// A meter for this standard error.
    pub fn new(quiet: bool) -> Self {
        let style = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Style::Quiet,
            (false, true) => Style::Bar(bar()),
            (false, false) => Style::Lines(Mutex::default()),
        };
        Self { style }
    }

    /// Takes what the store says; pass it on as `&|progress| meter.follow(progress)`.
    pub fn follow(&self, progress: Progress) {
        match &self.style {
            Style::Quiet => {}
            Style::Bar(bar) => draw(bar, &progress),
            Style::Lines(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(line) = state.line(&progress) {
                    eprintln!("{line}");
                }
            }
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }
}

impl LinesState {
    /// The line to write, if it is time for one.
    fn line(&mut self, progress: &Progress) -> Option<String> {
        match progress {
            Progress::Downloading { file, done, total } => {
                let step = total.map(|total| done.saturating_mul(100 / STEP) / total.max(1));
                if self.file == *file && (step.is_none() || step == self.step) {
                    return None;
                }
                self.file.clone_from(file);
                self.step = step;
                let done = units::bytes(*done);
                let total = total.map(|total| format!(" of {}", units::bytes(total)));
                let total = total.unwrap_or_default();
                Some(format!("downloading {}: {done}{total}", text::visible(file)))
            }
            other => said(other),
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn draw(bar: &ProgressBar, progress: &Progress) {
    match progress {
        Progress::Downloading { file, done, total } => {
            if bar.length() != *total {
                bar.set_style(style(total.is_some()));
                match total {
                    Some(total) => bar.set_length(*total),
                    None => bar.unset_length(),
                }
            }
            bar.set_message(text::visible(file));
            bar.set_position(*done);
        }
        Progress::Failed { .. } => bar.println(said(progress).unwrap_or_default()),
        Progress::Trying { .. } | Progress::Waiting { .. } | Progress::Verifying { .. } => {
            bar.set_message(said(progress).unwrap_or_default());
        }
    }
}

fn style(sized: bool) -> ProgressStyle {
    let template = match sized {
        true => {
            "{bar:24} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} {wide_msg}"
        }
        false => "{spinner} {decimal_bytes} {wide_msg}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// What is neither a number of bytes nor silent.
fn said(progress: &Progress) -> Option<String> {
    let line = match progress {
        Progress::Trying { source } => format!("trying {source}"),
        Progress::Waiting { folder } => {
            format!("waiting: another process fetches into {}", folder.display())
        }
        Progress::Verifying { file } => format!("verifying {file}"),
        Progress::Failed { source, reason } => format!("{source} failed: {reason}"),
        Progress::Downloading { .. } => return None,
    };
    Some(text::visible(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_a_line_comes_at_every_tenth() {
        let mut state = LinesState::default();
        let said: Vec<String> = (0..=1000)
            .filter_map(|done| {
                let file = "m.gguf".to_owned();
                state.line(&Progress::Downloading { file, done, total: Some(1000) })
            })
            .collect();
        assert_eq!(said.len(), 11);
        assert_eq!(said[3], "downloading m.gguf: 300 B of 1.00 kB");
    }

    #[test]
    fn a_file_of_unknown_size_is_named_once() {
        let mut state = LinesState::default();
        let said = (0..100).filter_map(|done| {
            state.line(&Progress::Downloading { file: "m".to_owned(), done, total: None })
        });
        assert_eq!(said.count(), 1);
    }
}

//! The last lines that a process writes to stderr, which say why it died.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::ChildStderr;
use tokio::task::JoinHandle;

/// How many lines are kept.
const MOST_LINES: usize = 6;

/// How much of a line is kept, in bytes.
const MOST_LINE: usize = 400;

/// How much is told, in characters: the end says most.
const MOST_CHARS: usize = 440;

/// How long the end of the pipe is waited for.
const MOST_END_TIME: Duration = Duration::from_secs(2);

/// Reads stderr to its end and keeps the last lines.
pub(super) struct LastWords {
    reading: Option<JoinHandle<VecDeque<Vec<u8>>>>,
}

impl LastWords {
    /// Begins to read.
    pub fn of(stderr: ChildStderr) -> Self {
        Self { reading: Some(tokio::spawn(read(stderr))) }
    }

    /// The last lines, once the pipe has ended; as they were written, so not fit to be shown.
    pub async fn get(&mut self) -> String {
        let Some(reading) = self.reading.take() else { return String::new() };
        // a child of the process may keep the pipe open
        let lines = tokio::time::timeout(MOST_END_TIME, reading).await;
        let lines = lines.ok().and_then(Result::ok).unwrap_or_default();
        let lines: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        let text = lines.join(" / ");
        let begin = text.char_indices().rev().nth(MOST_CHARS - 1).map_or(0, |(begin, _)| begin);
        text[begin..].to_owned()
    }
}

async fn read(stderr: ChildStderr) -> VecDeque<Vec<u8>> {
    let mut reader = BufReader::new(stderr);
    let mut lines = VecDeque::new();
    let mut line = Vec::new();
    // byte by byte out of a buffer: lines are few, and of any length
    while let Ok(byte) = reader.read_u8().await {
        if !matches!(byte, b'\n' | b'\r') {
            if line.len() < MOST_LINE {
                line.push(byte);
            }
            continue;
        }
        keep(&mut lines, std::mem::take(&mut line));
    }
    keep(&mut lines, line);
    lines
}

fn keep(lines: &mut VecDeque<Vec<u8>>, line: Vec<u8>) {
    if line.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    if lines.len() == MOST_LINES {
        lines.pop_front();
    }
    lines.push_back(line);
}

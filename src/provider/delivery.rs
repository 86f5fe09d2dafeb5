//! What one request brings for its rows: takes what a decoder reads and sends events.
//!
//! It knows neither HTTP nor any vendor's format.

use std::time::Instant;

use super::exchange::Used;
use super::{Event, Failure, FailureKind, FinishReason, ServerEvent, ServerTimes, Sink, Usage};

/// The rows of one request, and what has come for them.
#[derive(Debug)]
pub(super) struct Delivery<'a> {
    sink: &'a Sink,
    server: &'a str,
    at: Instant,
    rows: Vec<RowDelivery>,
    texts: usize,
}

#[derive(Debug, Default)]
struct RowDelivery {
    row: usize,
    seen: bool,
    thinking: bool,
    usage: Usage,
    times: Option<ServerTimes>,
    cached_tokens: Option<usize>,
    reason: Option<FinishReason>,
    ended: bool,
}

impl<'a> Delivery<'a> {
    /// A delivery for these rows of the prompt list, by their places in the request.
    pub fn new(rows: &[usize], server: &'a str, sink: &'a Sink) -> Self {
        let rows = rows.iter().map(|row| RowDelivery { row: *row, ..RowDelivery::default() });
        Self { sink, server, at: Instant::now(), rows: rows.collect(), texts: 0 }
    }

    /// Bytes arrived: what is read from them happened then.
    pub fn arrived(&mut self, at: Instant) {
        self.at = at;
    }

    /// The server's name, for failures.
    pub fn server(&self) -> &'a str {
        self.server
    }

    /// Whether text has been handed on, so that the request must not be sent again.
    pub fn has_text(&self) -> bool {
        self.texts > 0
    }

    /// What all rows used together; a count is known only if it is for each of them.
    pub fn used(&self) -> Used {
        let sum = |count: fn(&RowDelivery) -> Option<usize>| self.rows.iter().map(count).sum();
        let usage = Usage {
            prompt_tokens: sum(|row| row.usage.prompt_tokens),
            output_tokens: sum(|row| row.usage.output_tokens),
        };
        Used { usage, cached_tokens: sum(|row| row.cached_tokens) }
    }

    /// Rows that have not ended.
    pub fn open(&self) -> Vec<usize> {
        self.rows.iter().filter(|row| !row.ended).map(|row| row.row).collect()
    }

    /// Notes that the server answers this place, with or without text.
    pub fn seen(&mut self, place: usize) -> Result<(), Failure> {
        self.row(place)?.seen = true;
        Ok(())
    }

    /// A piece of the output.
    pub fn content(&mut self, place: usize, text: String) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        let text = match std::mem::take(&mut self.row(place)?.thinking) {
            true => format!("</think>{text}"),
            false => text,
        };
        self.text(place, text)
    }

    /// A piece of hidden reasoning: it is shown as models write it themselves, between
    /// `<think>` and `</think>`.
    pub fn reasoning(&mut self, place: usize, text: String) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        let text = match std::mem::replace(&mut self.row(place)?.thinking, true) {
            true => text,
            false => format!("<think>{text}"),
        };
        self.text(place, text)
    }

    fn text(&mut self, place: usize, text: String) -> Result<(), Failure> {
        let row = self.row(place)?;
        if row.ended {
            return Err(self.protocol("sent text for a prompt that it had finished"));
        }
        row.seen = true;
        let row = row.row;
        self.texts += 1;
        self.sink.send_at(self.at, Event::Tokens { row, count: 1, ids: Vec::new(), text });
        Ok(())
    }

    /// The whole output of a row, and the server's count of its tokens.
    pub fn answer(&mut self, place: usize, text: String, count: usize) -> Result<(), Failure> {
        let row = self.row(place)?;
        row.seen = true;
        row.usage.output_tokens = Some(count);
        let row = row.row;
        self.texts += 1;
        self.sink.send_at(self.at, Event::Answer { row, count, text });
        Ok(())
    }

    /// Token counts of a row; what is absent leaves what is known.
    pub fn usage(&mut self, place: usize, usage: Usage) -> Result<(), Failure> {
        let row = self.row(place)?;
        row.usage.prompt_tokens = usage.prompt_tokens.or(row.usage.prompt_tokens);
        row.usage.output_tokens = usage.output_tokens.or(row.usage.output_tokens);
        Ok(())
    }

    /// Token counts of the whole request: those of its row, if it has only one.
    pub fn usage_of_request(&mut self, usage: Usage) -> Result<(), Failure> {
        if self.rows.len() == 1 { self.usage(0, usage) } else { Ok(()) }
    }

    /// The server's own times of a row.
    pub fn times(&mut self, place: usize, times: ServerTimes) -> Result<(), Failure> {
        let row = self.row(place)?;
        row.cached_tokens = times.cached_tokens;
        row.times = Some(times);
        Ok(())
    }

    /// Times of a request that has only one row.
    pub fn times_of_request(&mut self, times: ServerTimes) -> Result<(), Failure> {
        if self.rows.len() == 1 { self.times(0, times) } else { Ok(()) }
    }

    /// Why a row ends. One of several rows ends here if its counts are known; otherwise rows
    /// end with the stream.
    pub fn reason(&mut self, place: usize, reason: FinishReason) -> Result<(), Failure> {
        let shared = self.rows.len() > 1;
        let row = self.row(place)?;
        row.seen = true;
        row.reason = Some(reason);
        if shared && row.usage.output_tokens.is_some() {
            self.end_row(place);
        }
        Ok(())
    }

    /// Every row has been answered.
    pub fn complete(&self) -> Result<(), Failure> {
        if let Some(place) = self.rows.iter().position(|row| !row.seen && !row.ended) {
            let what = match self.rows.len() {
                1 => "ended the stream without an answer".to_owned(),
                all => {
                    format!("ended the stream without an answer to prompt {} of {all}", place + 1)
                }
            };
            return Err(self.protocol(&what));
        }
        Ok(())
    }

    /// The stream came to its proper end: so do all rows.
    pub fn end(&mut self) -> Result<(), Failure> {
        self.complete()?;
        for place in 0..self.rows.len() {
            self.end_row(place);
        }
        Ok(())
    }

    fn end_row(&mut self, place: usize) {
        let row = &mut self.rows[place];
        if std::mem::replace(&mut row.ended, true) {
            return;
        }
        let (index, usage, times) = (row.row, row.usage, row.times.take());
        let reason = row.reason.take().unwrap_or_else(|| FinishReason::Other("not given".into()));
        if let Some(times) = times {
            self.sink.send_at(self.at, Event::Server(ServerEvent::Times { row: index, times }));
        }
        self.sink.send_at(self.at, Event::Finished { row: index, usage, reason });
    }

    fn row(&mut self, place: usize) -> Result<&mut RowDelivery, Failure> {
        let all = self.rows.len();
        if place >= all {
            let what = format!("answered prompt {} of {all}", place.saturating_add(1));
            return Err(self.protocol(&what));
        }
        Ok(&mut self.rows[place])
    }

    /// The failure of an answer that is not what its format says.
    pub fn protocol(&self, what: &str) -> Failure {
        Failure::new(FailureKind::Protocol, format!("{} {what}", self.server))
    }
}

//! Progress of a headless run, on standard error: a bar a lane on a terminal, plain lines when
//! piped, nothing when quiet.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::bench::event::RunEvent;
use crate::bench::recorder::{LaneRecord, LaneState, Pass, Recorder};
use crate::provider::{Event, JobEvent, ServerEvent};
use crate::text::visible;
use crate::units;

/// How often a bar follows the record.
const REFRESH: Duration = Duration::from_millis(100);

/// Shows how a run comes along.
pub struct Progress {
    style: Style,
    drawn: Option<Instant>,
    /// How a batch job stood when it was told last.
    job: Option<String>,
}

enum Style {
    Quiet,
    Lines,
    Bar(Option<ProgressBar>),
}

impl Progress {
    /// Progress for this standard error.
    pub fn new(quiet: bool) -> Self {
        let style = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Style::Quiet,
            (false, true) => Style::Bar(None),
            (false, false) => Style::Lines,
        };
        Self { style, drawn: None, job: None }
    }

    /// Follows an event that `recorder` has taken.
    pub fn follow(&mut self, event: &RunEvent, recorder: &Recorder) {
        match event {
            RunEvent::Preparing(what) => self.say(&visible(what)),
            RunEvent::WarmUp { .. } => self.say("warming up"),
            RunEvent::LaneStarted { lane, repeat } => self.begin(recorder, *lane, *repeat),
            RunEvent::LaneFinished { .. } => self.end(recorder),
            RunEvent::Provider(Event::Notice(text)) => self.note(&visible(text)),
            RunEvent::Provider(Event::Server(ServerEvent::Allowed(allowed))) => {
                self.allowed(*allowed, recorder);
            }
            RunEvent::Provider(Event::Job(JobEvent::Status { .. })) => self.job(recorder),
            RunEvent::Provider(_)
            | RunEvent::Probe(_)
            | RunEvent::Lag(_)
            | RunEvent::BatchSize(_) => {
                self.refresh(recorder);
            }
            RunEvent::ProviderReady { .. } | RunEvent::RunFinished => {}
        }
    }

    /// What the server asks for: live in the bar, a line where there is none.
    fn allowed(&mut self, allowed: Option<usize>, recorder: &Recorder) {
        match (&self.style, allowed) {
            (Style::Lines, Some(allowed)) => {
                eprintln!("the server asks for less: {allowed} at once");
            }
            (Style::Lines, None) => eprintln!("as many requests at once as before"),
            (Style::Bar(_) | Style::Quiet, _) => self.refresh(recorder),
        }
    }

    /// How a batch job stands: live in the bar, a line when it changes where there is none.
    fn job(&mut self, recorder: &Recorder) {
        if matches!(self.style, Style::Lines) {
            let pass = recorder.running.and_then(|lane| recorder.lanes.get(lane)?.pass());
            let words = pass.and_then(Pass::job_words).map(|words| visible(&words));
            if let Some(words) = words.filter(|words| self.job.as_ref() != Some(words)) {
                eprintln!("{words}");
                self.job = Some(words);
            }
        } else {
            self.refresh(recorder);
        }
    }

    /// A line that stays.
    pub fn note(&mut self, text: &str) {
        match &self.style {
            Style::Bar(Some(bar)) => bar.println(text),
            Style::Bar(None) | Style::Lines => eprintln!("{text}"),
            Style::Quiet => {}
        }
    }

    /// What is being done before a lane runs: a passing line on a terminal.
    fn say(&mut self, text: &str) {
        match &mut self.style {
            Style::Quiet => {}
            Style::Lines => eprintln!("{text}"),
            Style::Bar(bar) => {
                let bar = bar.get_or_insert_with(|| {
                    let bar = ProgressBar::new_spinner();
                    bar.enable_steady_tick(REFRESH);
                    bar
                });
                bar.set_message(text.to_owned());
            }
        }
    }

    fn begin(&mut self, recorder: &Recorder, lane: usize, repeat: usize) {
        let Some(record) = recorder.lanes.get(lane) else { return };
        let label = visible(&record.spec.label);
        let title = if repeat == 0 { label } else { format!("{label} (repeat {})", repeat + 1) };
        match &mut self.style {
            Style::Quiet => {}
            Style::Lines => eprintln!("{title}: started, {} rows", recorder.rows()),
            Style::Bar(bar) => {
                if let Some(spinner) = bar.take() {
                    spinner.finish_and_clear();
                }
                let target = ProgressDrawTarget::stderr();
                let rows = ProgressBar::with_draw_target(Some(recorder.rows() as u64), target);
                let style = ProgressStyle::with_template(
                    "{prefix:<18} {bar:24} {pos:>4}/{len} rows  {msg}  {elapsed}",
                );
                rows.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                rows.set_prefix(title);
                *bar = Some(rows);
            }
        }
    }

    fn refresh(&mut self, recorder: &Recorder) {
        let now = Instant::now();
        if self.drawn.is_some_and(|drawn| now.duration_since(drawn) < REFRESH) {
            return;
        }
        self.drawn = Some(now);
        let (Style::Bar(Some(bar)), Some(lane)) = (&self.style, recorder.running) else { return };
        let Some(record) = recorder.lanes.get(lane) else { return };
        if let Some(pass) = record.pass() {
            let wall = pass.wall(now.saturating_duration_since(recorder.epoch)).as_secs_f64();
            bar.set_position((pass.done + pass.failed) as u64);
            if wall > 0.0 {
                let speed = units::throughput(pass.output_tokens as f64 / wall);
                let speed = Some(speed).filter(|_| pass.jobs.is_empty()).into_iter().collect();
                bar.set_message([speed, live(record, pass)].concat().join("  "));
            }
        }
    }

    fn end(&mut self, recorder: &Recorder) {
        let ended = recorder.lanes.iter().filter_map(|lane| Some((lane, lane.pass()?)));
        let Some((lane, pass)) = ended.max_by_key(|(_, pass)| pass.started) else { return };
        let line = describe_end(lane, pass);
        if let Style::Bar(bar) = &mut self.style
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
        self.note(&line);
    }
}

/// What a server asks for and what the lane has cost so far.
fn live(lane: &LaneRecord, pass: &Pass) -> Vec<String> {
    let mut facts = Vec::new();
    facts.extend(pass.job_words().map(|words| visible(&words)));
    facts.extend(pass.serving.allowed.map(|allowed| format!("≤{allowed} at once")));
    facts.extend(Some(pass.retries()).filter(|n| *n > 0).map(|n| format!("{n} sent again")));
    let price = lane.info.as_ref().and_then(|info| info.price.as_ref());
    facts.extend(price.and_then(|price| pass.cost(price)).map(units::usd));
    facts
}

fn describe_end(lane: &LaneRecord, pass: &Pass) -> String {
    let seconds = pass.span().map(|span| span.as_secs_f64()).filter(|seconds| *seconds > 0.0);
    let rate = seconds.map(|seconds| pass.output_tokens as f64 / seconds);
    let how = match &lane.state {
        LaneState::Done => "done".to_owned(),
        LaneState::Cancelled => "stopped".to_owned(),
        LaneState::Failed(failure) => format!("failed: {}", visible(&failure.message)),
        LaneState::Waiting | LaneState::WarmingUp | LaneState::Running => "running".to_owned(),
    };
    format!(
        "{:<18} {}/{} rows  {}  {}  {how}",
        visible(&lane.spec.label),
        pass.done,
        pass.rows.len(),
        units::known(rate, units::throughput),
        units::known(seconds, units::duration),
    )
}

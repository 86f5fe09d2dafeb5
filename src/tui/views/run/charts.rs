//! Throughput and memory over time, or TTFT and occupancy; one line a lane, all from the start
//! of their lane.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect, Spacing};

use crate::bench::recorder::Pass;
use crate::tui::app::{App, Charts};
use crate::tui::session::Session;
use crate::tui::theme::Theme;
use crate::tui::views::chart::{self, Chart, Series};
use crate::tui::views::panel;

/// Windows of the throughput lines over the longest lane, at most.
const WINDOWS: u32 = 80;

pub(super) fn render(frame: &mut Frame, area: Rect, session: &Session, app: &App) {
    let theme = app.theme();
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
        .spacing(Spacing::Overlap(1))
        .areas(area);
    match app.charts {
        Charts::OverTime => {
            render_one(frame, left, " throughput, tok/s ", &throughput(session, theme), theme);
            let (title, memory) = memory(session, theme);
            render_one(frame, right, title, &memory, theme);
        }
        Charts::Batching => {
            let title = " TTFT: % of rows that have begun ";
            render_one(frame, left, title, &ttft(session, theme), theme);
            let title = " occupancy: rows a forward pass ";
            render_one(frame, right, title, &occupancy(session, theme), theme);
        }
    }
}

/// Points of a distribution, at most.
const MOST_POINTS: usize = 160;

/// For each moment after the submission, the share of rows whose first text had come.
fn ttft(session: &Session, theme: &Theme) -> Chart {
    let series = passes(session).map(|(lane, pass)| {
        let mut times: Vec<f64> =
            pass.rows.iter().filter_map(|row| Some(row.ttft()?.as_secs_f64())).collect();
        times.sort_by(f64::total_cmp);
        let share = |place: usize| (place + 1) as f64 / times.len() as f64 * 100.0;
        let step = times.len().div_ceil(MOST_POINTS).max(1);
        let mut places: Vec<usize> = (0..times.len()).step_by(step).collect();
        places.extend(times.len().checked_sub(1));
        Series {
            label: (lane + 1).to_string(),
            style: theme.lane(lane),
            points: places.into_iter().map(|place| (times[place], share(place))).collect(),
            marks: Vec::new(),
            signs: Vec::new(),
        }
    });
    Chart { series: series.collect(), top: Some(100.0), ..Chart::default() }
}

/// Mean rows of a forward pass over time, where the engine tells.
fn occupancy(session: &Session, theme: &Theme) -> Chart {
    let longest = passes(session).map(|(_, pass)| pass.wall(session.last_event)).max();
    let window = (longest.unwrap_or_default() / WINDOWS).max(Duration::from_millis(100));
    let series = passes(session).map(|(lane, pass)| {
        let steps = pass.steps_over_time.rates(window);
        let rows = pass.rows_over_time.rates(window);
        let mean = steps.iter().zip(rows).filter(|((_, steps), _)| *steps > 0.0);
        Series {
            label: (lane + 1).to_string(),
            style: theme.lane(lane),
            points: mean.map(|((at, steps), (_, rows))| (*at, rows / steps)).collect(),
            marks: batch_sizes(pass),
            signs: Vec::new(),
        }
    });
    Chart { series: series.collect(), ..Chart::default() }
}

fn render_one(frame: &mut Frame, area: Rect, title: &'static str, chart: &Chart, theme: &Theme) {
    let block = panel(title, theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    chart::render(frame, inner, chart, theme);
}

fn throughput(session: &Session, theme: &Theme) -> Chart {
    let longest = passes(session).map(|(_, pass)| pass.wall(session.last_event)).max();
    let window = (longest.unwrap_or_default() / WINDOWS).max(Duration::from_millis(100));
    let series = passes(session).map(|(lane, pass)| Series {
        label: (lane + 1).to_string(),
        style: theme.lane(lane),
        points: pass.throughput.rates(window),
        marks: batch_sizes(pass),
        signs: Vec::new(),
    });
    Chart { series: series.collect(), ..Chart::default() }
}

/// The moments at which the user changed the batch size.
fn batch_sizes(pass: &Pass) -> Vec<(f64, String)> {
    let changes = pass.batch_sizes.iter().skip(1);
    changes.map(|(at, size)| (at.as_secs_f64(), format!("→{size}"))).collect()
}

fn memory(session: &Session, theme: &Theme) -> (&'static str, Chart) {
    let highest = passes(session).flat_map(|(_, pass)| &pass.memory).map(|(_, bytes)| *bytes).max();
    let (title, unit) = match highest.unwrap_or(0) {
        0..10_000_000_000 => (" memory, MB ", 1e6),
        10_000_000_000.. => (" memory, GB ", 1e9),
    };
    let series = passes(session).map(|(lane, pass)| Series {
        label: (lane + 1).to_string(),
        style: theme.lane(lane),
        points: pass
            .memory
            .iter()
            .map(|(at, bytes)| (at.as_secs_f64(), *bytes as f64 / unit))
            .collect(),
        marks: Vec::new(),
        signs: Vec::new(),
    });
    (title, Chart { series: series.collect(), limit: limit(session, unit), ..Chart::default() })
}

/// What there is of memory, where lines of GPU memory are drawn.
fn limit(session: &Session, unit: f64) -> Option<(f64, String)> {
    let gpus = passes(session).map(|(_, pass)| &pass.probe.gpus).find(|gpus| !gpus.is_empty())?;
    let total = gpus.iter().map(|gpu| gpu.total).sum::<Option<u64>>()?;
    Some((total as f64 / unit, "limit".to_owned()))
}

fn passes(session: &Session) -> impl Iterator<Item = (usize, &Pass)> {
    let lanes = session.recorder.lanes.iter().enumerate();
    lanes.filter_map(|(lane, record)| Some((lane, record.pass()?)))
}

//! Throughput and memory over time, one line a lane, all from the start of their lane.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect, Spacing};

use crate::bench::recorder::Pass;
use crate::tui::session::Session;
use crate::tui::theme::Theme;
use crate::tui::views::chart::{self, Chart, Series};
use crate::tui::views::panel;

/// Windows of the throughput lines over the longest lane, at most.
const WINDOWS: u32 = 80;

pub(super) fn render(frame: &mut Frame, area: Rect, session: &Session, theme: &Theme) {
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
        .spacing(Spacing::Overlap(1))
        .areas(area);
    render_one(frame, left, " throughput, tok/s ", &throughput(session, theme), theme);
    let (title, memory) = memory(session, theme);
    render_one(frame, right, title, &memory, theme);
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
    });
    Chart { series: series.collect(), limit: None }
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
    });
    (title, Chart { series: series.collect(), limit: limit(session, unit) })
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

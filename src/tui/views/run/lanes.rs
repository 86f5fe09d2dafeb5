//! The figures of the lanes: side by side, or one at a time behind tabs.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect, Spacing};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{lane_state, order};
use crate::bench::recorder::LaneState;
use crate::tui::session::{Figures, Session};
use crate::tui::text;
use crate::tui::theme::Theme;
use crate::tui::views::{bold, chart, panel};
use crate::units;

/// Columns of a lane's sparkline at most.
const SPARKLINE: usize = 60;

/// The areas of the lanes, side by side.
pub(super) fn columns(area: Rect, lanes: usize) -> Vec<Rect> {
    let columns = Layout::horizontal(vec![Constraint::Fill(1); lanes.max(1)])
        .spacing(Spacing::Overlap(1))
        .split(area);
    columns.to_vec()
}

pub(super) fn render_columns(frame: &mut Frame, area: Rect, session: &Session, theme: &Theme) {
    for (lane, area) in columns(area, session.recorder.lanes.len()).into_iter().enumerate() {
        let block = panel(title(session, lane, usize::from(area.width), theme), theme);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let columns = usize::from(inner.width).saturating_sub(2);
        let figures = &session.figures[lane];
        let rows = session.recorder.rows();
        let lines = [
            headline(figures, theme.lane(lane)),
            Line::styled(sparkline(session, lane, columns), theme.lane(lane)),
            fitted(&ttft(figures), columns),
            fitted(&later_times(figures), columns),
            fitted(&memory(figures), columns),
            checks(figures, rows, columns, theme),
            progress(session, lane, columns, theme),
        ];
        let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
        frame.render_widget(Paragraph::new(lines.to_vec()), inner);
    }
}

/// One lane over the whole width.
pub(super) fn render_selected(frame: &mut Frame, area: Rect, session: &Session, theme: &Theme) {
    let block = panel("", theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let lane = session.lane;
    let Some(figures) = session.figures.get(lane) else { return };
    let columns = usize::from(inner.width);
    let mut first = headline(figures, theme.lane(lane));
    let room = columns.saturating_sub(first.width() + 3);
    first.spans.push(Span::raw("   "));
    first.spans.push(Span::styled(sparkline(session, lane, room), theme.lane(lane)));
    let times = [ttft(figures), later_times(figures)].concat();
    let rows = session.recorder.rows();
    let mut memory = fitted(&memory(figures), columns);
    let room = columns.saturating_sub(memory.width() + 3);
    memory.spans.push(Span::raw("   "));
    memory.spans.extend(checks(figures, rows, room, theme).spans);
    frame.render_widget(Paragraph::new(vec![first, fitted(&times, columns), memory]), inner);
}

pub(super) fn render_tabs(frame: &mut Frame, area: Rect, session: &Session, theme: &Theme) {
    let mut spans = Vec::new();
    for (lane, text) in tab_texts(session, area.width) {
        let style = if lane == session.lane {
            theme.lane(lane).patch(theme.roles.selected)
        } else {
            theme.lane(lane)
        };
        spans.push(Span::styled(text, style));
        spans.push(Span::raw(" "));
    }
    frame.render_widget(Line::from(spans), area);
}

/// The lane whose tab is under a position.
pub(super) fn tab_at(area: Rect, session: &Session, at: Position) -> Option<usize> {
    if !area.contains(at) {
        return None;
    }
    let mut end = usize::from(area.x);
    tab_texts(session, area.width).into_iter().find_map(|(lane, text)| {
        end += text::width(&text) + 1;
        (usize::from(at.x) < end).then_some(lane)
    })
}

/// The tabs that fit, the selected lane among them.
fn tab_texts(session: &Session, columns: u16) -> Vec<(usize, String)> {
    let columns = usize::from(columns);
    let all: Vec<String> = session
        .recorder
        .lanes
        .iter()
        .enumerate()
        .map(|(lane, record)| {
            let label = text::fit(&record.spec.label, 18);
            format!(" {} {label} · {} ", lane + 1, lane_state(session, lane))
        })
        .collect();
    let mut first = 0;
    let width = |from: usize| {
        let upto = session.lane.min(all.len().saturating_sub(1));
        all[from..=upto].iter().map(|text| text::width(text) + 1).sum::<usize>()
    };
    while !all.is_empty() && first < session.lane && width(first) > columns {
        first += 1;
    }
    let mut used = 0;
    let fits = |text: &String| {
        used += text::width(text) + 1;
        used <= columns + 1
    };
    let count = all[first..].iter().map(fits).take_while(|fits| *fits).count().max(1);
    all.into_iter().enumerate().skip(first).take(count).collect()
}

fn title(session: &Session, lane: usize, columns: usize, theme: &Theme) -> Line<'static> {
    let record = &session.recorder.lanes[lane];
    let state = lane_state(session, lane);
    let number = format!("{} ", lane + 1);
    let room = columns.saturating_sub(text::width(&state) + number.len() + 8);
    let label = text::fit(&record.spec.label, room);
    Line::from(vec![
        Span::styled(format!(" {number}{label} "), bold(theme.lane(lane))),
        Span::styled("── ", theme.roles.border),
        Span::raw(format!("{state} ")),
    ])
}

/// Throughput and speedup.
fn headline(figures: &Figures, style: ratatui::style::Style) -> Line<'static> {
    let throughput = units::known(figures.tokens_per_s, units::throughput);
    let throughput = units::estimated(figures.estimated, throughput);
    let speedup = figures.speedup.map(units::ratio).unwrap_or_default();
    Line::from(vec![
        Span::styled(format!("{throughput:>13}"), bold(style)),
        Span::raw(format!("{speedup:>12}")),
    ])
}

fn sparkline(session: &Session, lane: usize, columns: usize) -> String {
    let Some(pass) = session.recorder.lanes[lane].pass() else { return String::new() };
    let columns = columns.clamp(1, SPARKLINE);
    let wall = pass.wall(session.last_event);
    let window = (wall / u32::try_from(columns).unwrap_or(1)).max(Duration::from_millis(100));
    let rates: Vec<f64> = pass.throughput.rates(window).into_iter().map(|(_, rate)| rate).collect();
    chart::sparkline(&rates, columns)
}

fn fitted(pieces: &[String], columns: usize) -> Line<'static> {
    Line::raw(text::pieces(pieces.iter().map(String::as_str), "  ", columns))
}

fn ttft(figures: &Figures) -> Vec<String> {
    match figures.ttft {
        None => vec![format!("TTFT {}", units::UNKNOWN)],
        Some(summary) => vec![
            format!("TTFT {} p50", units::duration(summary.p50)),
            format!("{} p95", units::duration(summary.p95)),
        ],
    }
}

/// Medians of the time between tokens and of the whole row.
fn later_times(figures: &Figures) -> Vec<String> {
    let median = |summary: Option<crate::bench::statistics::Summary>| {
        units::known(summary.map(|summary| summary.p50), units::duration)
    };
    vec![format!("ITL {}", median(figures.itl)), format!("e2e {}", median(figures.e2e))]
}

fn memory(figures: &Figures) -> Vec<String> {
    let bytes = figures.server_bytes.or(figures.process_bytes);
    let mut pieces = vec![format!("memory {}", units::known(bytes, units::bytes))];
    if figures.served.is_empty() {
        pieces.push(format!("kv {}", units::known(figures.kv_bytes, units::bytes)));
    }
    pieces.extend(figures.gpu_bytes.map(|gpu| format!("gpu {}", units::bytes(gpu))));
    pieces.extend(figures.served.iter().cloned());
    pieces
}

/// Order and agreement.
fn checks(figures: &Figures, rows: usize, columns: usize, theme: &Theme) -> Line<'static> {
    let roles = &theme.roles;
    let good = if figures.ended > 0 { roles.good } else { roles.muted };
    let mut pieces =
        vec![(order(figures, rows), if figures.violations > 0 { roles.bad } else { good })];
    if figures.failed > 0 {
        pieces.push((format!("✗ {} failed", figures.failed), roles.bad));
    }
    if figures.differ > 0 {
        pieces.push((format!("≠ {} differ", figures.differ), roles.warn));
    }
    if figures.same > 0 {
        pieces.push((format!("= {} same", figures.same), roles.good));
    }
    let mut line = Line::default();
    for (text, style) in pieces {
        let gap = if line.spans.is_empty() { "" } else { "  " };
        if line.width() + gap.len() + text::width(&text) > columns {
            break;
        }
        line.spans.push(Span::raw(gap));
        line.spans.push(Span::styled(text, style));
    }
    line
}

/// A bar with an estimate while the lane runs, the time it took after.
fn progress(session: &Session, lane: usize, columns: usize, theme: &Theme) -> Line<'static> {
    let figures = &session.figures[lane];
    match session.recorder.lanes[lane].state {
        LaneState::Waiting | LaneState::WarmingUp => Line::default(),
        LaneState::Running => {
            let left = figures.left.map(|left| format!("≈{} left", units::duration(left)));
            let text = format!("{:>3.0} %  {}", figures.progress * 100.0, left.unwrap_or_default());
            let room = columns.saturating_sub(text::width(&text) + 1).min(16);
            let full = (figures.progress * room as f64) as usize;
            Line::from(vec![
                Span::styled("█".repeat(full), theme.lane(lane)),
                Span::styled("░".repeat(room.saturating_sub(full)), theme.roles.muted),
                Span::raw(format!(" {text}")),
            ])
        }
        LaneState::Done | LaneState::Failed(_) | LaneState::Cancelled => {
            let took = format!("took {}", units::duration(figures.elapsed));
            let change = figures.change.map(super::change_words);
            let pieces = [Some(took), change];
            let pieces = pieces.iter().flatten().map(String::as_str);
            Line::styled(text::pieces(pieces, "  ", columns), theme.roles.muted)
        }
    }
}

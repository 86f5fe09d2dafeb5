//! A sweep: throughput, TTFT and memory against batch size, the knee, a limit.
//!
//! ```text
//! how the run stands
//! ┌ throughput ──────┬ TTFT p95 ───────┬ memory ───────┐
//! │ a point a size, the knee as ◆, the limit as dashes  │
//! ├ batch sizes ─────┴─────────────────┴───────────────┤
//! │ one line a size                                     │
//! │ what the curve says, what would be taken            │
//! └─────────────────────────────────────────────────────┘
//! ```

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect, Spacing};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::chart::{self, Across, Chart, Series};
use super::{bold, panel, run, wrapped};
use crate::bench::recorder::LaneState;
use crate::bench::sweep::{Knee, Measure, Point};
use crate::tui::app::App;
use crate::tui::session::{Session, SweepView};
use crate::tui::text;
use crate::tui::theme::Theme;
use crate::units;

/// A figure of a point.
type Read = fn(&Point) -> Option<f64>;

/// Lines of words below the table.
const WORDS: u16 = 3;

struct Places {
    status: Rect,
    charts: Rect,
    table: Rect,
}

fn places(area: Rect, sizes: usize) -> Places {
    let table = u16::try_from(sizes).unwrap_or(u16::MAX).saturating_add(3 + WORDS);
    let table = table.min(area.height.saturating_sub(8).max(6));
    let [status, below] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let [charts, table] = Layout::vertical([Constraint::Fill(1), Constraint::Length(table)])
        .spacing(Spacing::Overlap(1))
        .areas(below);
    Places { status, charts, table }
}

/// Draws the screen.
pub fn render(frame: &mut Frame, area: Rect, session: &Session, app: &App) {
    let theme = app.theme();
    let Some(sweep) = &session.sweep else { return };
    let places = places(area, session.recorder.lanes.len());
    frame.render_widget(run::status_line(session, places.status.width, app), places.status);
    render_charts(frame, places.charts, session, sweep, theme);
    render_table(frame, places.table, session, sweep, app);
}

/// The size whose line is under a position, by its place among the points.
pub fn point_at(app: &App, at: Position) -> Option<usize> {
    let session = app.session.as_ref()?;
    let sweep = session.sweep.as_ref()?;
    let area = places(super::parts(app)?.body, session.recorder.lanes.len()).table;
    let first = area.y + 2;
    let lines = area.height.saturating_sub(3 + WORDS);
    let line =
        (area.contains(at) && (first..first + lines).contains(&at.y)).then(|| at.y - first)?;
    let order = by_size(session);
    let top = first_visible(session, sweep, usize::from(lines));
    let lane = order.get(top + usize::from(line))?;
    let size = session.recorder.lanes[*lane].spec.mode.batch_size()?;
    sweep.points.iter().position(|point| point.batch_size == size)
}

fn render_charts(
    frame: &mut Frame,
    area: Rect,
    session: &Session,
    sweep: &SweepView,
    theme: &Theme,
) {
    let areas =
        Layout::horizontal([Constraint::Fill(1); 3]).spacing(Spacing::Overlap(1)).areas::<3>(area);
    let most = sweep.points.iter().filter_map(|point| point.memory).max().unwrap_or(0);
    let (memory_title, unit) = match most {
        0..10_000_000_000 => (" memory, MB ", 1e6),
        10_000_000_000.. => (" memory, GB ", 1e9),
    };
    let seconds = sweep.points.iter().filter_map(|point| point.ttft_p95).fold(0.0, f64::max);
    let (ttft_title, ttft_unit) =
        if seconds < 1.0 { (" TTFT p95, ms ", 1e-3) } else { (" TTFT p95, s ", 1.0) };
    let panels: [(&str, Read, f64, Option<Measure>); 3] = [
        (" throughput, tok/s ", Point::tokens_per_s, 1.0, None),
        (ttft_title, |point| point.ttft_p95, ttft_unit, Some(Measure::TtftP95)),
        (memory_title, |point| point.memory.map(|bytes| bytes as f64), unit, Some(Measure::Memory)),
    ];
    for (place, (area, (title, read, unit, measure))) in areas.iter().zip(panels).enumerate() {
        let block = panel(title, theme);
        let inner = block.inner(*area);
        frame.render_widget(block, *area);
        let limit = sweep.limit.filter(|limit| Some(limit.measure) == measure);
        let chart = Chart {
            series: vec![series(sweep, read, unit, theme.lane(place))],
            limit: limit.map(|limit| (limit.most / unit, "limit".to_owned())),
            across: Across::Named(sizes(session)),
            top: None,
        };
        chart::render(frame, inner, &chart, theme);
    }
}

/// Doublings of the batch size are equally far apart.
fn across(batch_size: usize) -> f64 {
    (batch_size.max(1) as f64).log2()
}

/// All sizes of the sweep, also those that have not run yet.
fn sizes(session: &Session) -> Vec<(f64, String)> {
    let size = |lane: usize| session.recorder.lanes[lane].spec.mode.batch_size();
    let sizes = by_size(session).into_iter().filter_map(size);
    sizes.map(|size| (across(size), size.to_string())).collect()
}

fn series(sweep: &SweepView, read: fn(&Point) -> Option<f64>, unit: f64, style: Style) -> Series {
    let knee = knee_place(sweep);
    let selected = sweep.selected();
    let value = |point: &Point| Some((across(point.batch_size), read(point)? / unit));
    let sign = |place: usize| match place {
        place if Some(place) == knee => "◆",
        place if Some(place) == selected => "◉",
        _ => "•",
    };
    let signs = sweep.points.iter().enumerate().filter_map(|(place, point)| {
        let (at, value) = value(point)?;
        Some((at, value, sign(place)))
    });
    Series {
        label: String::new(),
        style,
        points: sweep.points.iter().filter_map(value).collect(),
        marks: Vec::new(),
        signs: signs.collect(),
    }
}

fn knee_place(sweep: &SweepView) -> Option<usize> {
    match sweep.knee {
        Knee::At { place, .. } => Some(place),
        Knee::TooFew | Knee::Flat | Knee::Rising => None,
    }
}

/// Indices of the lanes, the smallest size first.
fn by_size(session: &Session) -> Vec<usize> {
    let mut order: Vec<usize> = (0..session.recorder.lanes.len()).collect();
    order.sort_by_key(|lane| session.recorder.lanes[*lane].spec.mode.batch_size());
    order
}

fn first_visible(session: &Session, sweep: &SweepView, visible: usize) -> usize {
    let order = by_size(session);
    let of_size = |size| {
        order
            .iter()
            .position(|lane| session.recorder.lanes[*lane].spec.mode.batch_size() == Some(size))
    };
    let line = sweep.size().and_then(of_size).or(session.recorder.running).unwrap_or(0);
    (line + 1).saturating_sub(visible.max(1)).min(order.len().saturating_sub(visible))
}

/// Headings with their widths; the later ones go first where there is no room.
const COLUMNS: [(&str, usize); 7] = [
    ("batch size", 11),
    ("throughput", 13),
    ("gain", 8),
    ("TTFT p95", 11),
    ("memory", 10),
    ("ITL p50", 10),
    ("e2e p50", 10),
];

fn render_table(frame: &mut Frame, area: Rect, session: &Session, sweep: &SweepView, app: &App) {
    let theme = app.theme();
    let block = panel(" batch sizes ", theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let columns = usize::from(inner.width);
    let shown = shown_columns(columns);
    let heading: String =
        COLUMNS[..shown].iter().map(|(name, width)| format!("{name:>width$}")).collect();
    let mut lines = vec![Line::styled(format!("  {heading}"), theme.roles.muted)];
    let visible = usize::from(inner.height.saturating_sub(1 + WORDS));
    let top = first_visible(session, sweep, visible);
    for lane in by_size(session).into_iter().skip(top).take(visible) {
        lines.push(size_line(session, sweep, lane, shown, theme));
    }
    let words = Rect { y: inner.bottom().saturating_sub(WORDS), height: WORDS, ..inner };
    frame.render_widget(Paragraph::new(lines), inner);
    frame.render_widget(Paragraph::new(word_lines(sweep, words.width, app)), words);
}

/// As many columns as leave room for the remark.
fn shown_columns(columns: usize) -> usize {
    let mut used = 2 + 12;
    COLUMNS
        .iter()
        .take_while(|(_, width)| {
            used += width;
            used <= columns
        })
        .count()
        .max(2)
}

fn size_line(
    session: &Session,
    sweep: &SweepView,
    lane: usize,
    shown: usize,
    theme: &Theme,
) -> Line<'static> {
    let roles = &theme.roles;
    let record = &session.recorder.lanes[lane];
    let size = record.spec.mode.batch_size().unwrap_or(0);
    let place = sweep.points.iter().position(|point| point.batch_size == size);
    let selected = place.is_some() && place == sweep.selected();
    let start = if selected { "› " } else { "  " };
    let Some(point) = place.and_then(|place| sweep.points.get(place)) else {
        let state = run::lane_state(session, lane);
        let style = match record.state {
            LaneState::Failed(_) => roles.bad,
            LaneState::Running => roles.accent,
            LaneState::Waiting | LaneState::WarmingUp | LaneState::Done | LaneState::Cancelled => {
                roles.muted
            }
        };
        let width = COLUMNS[0].1;
        return Line::from(vec![
            Span::raw(format!("{start}{size:>width$}   ")),
            Span::styled(state, style),
        ]);
    };
    let figures = &session.figures[lane];
    let first = sweep.points.first().and_then(Point::tokens_per_s).filter(|first| *first > 0.0);
    let gain = point.tokens_per_s().zip(first).map(|(now, first)| now / first);
    let cells = [
        size.to_string(),
        units::known(point.tokens_per_s(), units::throughput),
        units::known(gain, units::ratio),
        units::known(point.ttft_p95, units::duration),
        units::known(point.memory, units::bytes),
        units::known(figures.itl.map(|itl| itl.p50), units::duration),
        units::known(figures.e2e.map(|e2e| e2e.p50), units::duration),
    ];
    let cells: String = cells
        .iter()
        .zip(COLUMNS)
        .take(shown)
        .map(|(cell, (_, width))| " ".repeat(width.saturating_sub(text::width(cell))) + cell)
        .collect();
    let beyond = sweep
        .limit
        .is_some_and(|limit| point.measure(limit.measure).is_none_or(|value| value > limit.most));
    let (remark, style) = match place {
        place if place == knee_place(sweep) => ("  ◆ knee", bold(roles.good)),
        place if sweep.limit.is_some() && place == sweep.recommended => {
            ("  ✓ best under", roles.good)
        }
        _ if beyond => ("  ✗ beyond", roles.warn),
        _ => ("", roles.text),
    };
    let line = Line::from(vec![Span::raw(format!("{start}{cells}")), Span::styled(remark, style)]);
    if selected { line.style(roles.selected) } else { line }
}

/// What the curve says, the limit, and what enter would do.
fn word_lines<'a>(sweep: &SweepView, columns: u16, app: &App) -> Vec<Line<'a>> {
    let roles = &app.theme().roles;
    let limit = match sweep.limit {
        None => "no limit; m sets one for memory or TTFT p95".to_owned(),
        Some(limit) => {
            let (name, most) = match limit.measure {
                Measure::Memory => ("memory", units::bytes(limit.most as u64)),
                Measure::TtftP95 => ("TTFT p95", units::duration(limit.most)),
            };
            match sweep.recommended.and_then(|place| sweep.points.get(place)) {
                Some(best) => {
                    format!("limit: {name} {most}; best under it: batch size {}", best.batch_size)
                }
                None => format!("limit: {name} {most}; no size is under it"),
            }
        }
    };
    let take = match sweep.size() {
        Some(size) => (format!("enter takes batch size {size} to Setup"), roles.accent),
        None => ("nothing to take yet".to_owned(), roles.muted),
    };
    let lines = [(sweep.words.clone(), roles.text), (limit, roles.text), take];
    lines.into_iter().flat_map(|(text, style)| wrapped(&text, columns, 1, style)).collect()
}

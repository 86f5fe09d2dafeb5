//! The run: lanes side by side, charts over time, outputs by row.
//!
//! ```text
//! how the run stands
//! ┌ 1 sequential ──┬ 2 async 8 ─────┬ 3 batched 16 ──┐   tabs where they do not fit
//! │ figures        │                │                │
//! ├ throughput ────┴───────┬ memory ┴────────────────┤
//! │ one line a lane        │                         │
//! ├ outputs ───────────────┴─────────────────────────┤
//! │ one line a row, one column a lane                │
//! └──────────────────────────────────────────────────┘
//! ```

mod charts;
mod lanes;
mod outputs;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect, Spacing};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::counted;
use crate::bench::recorder::{LaneState, RowRecord, RowState};
use crate::tui::app::App;
use crate::tui::session::{Figures, Session, SizeChange};
use crate::tui::text;
use crate::tui::theme::Theme;
use crate::units;

/// From this width on lanes stand side by side.
const WIDE: u16 = 100;

/// The narrowest lane, borders included.
const NARROWEST_LANE: u16 = 30;

/// Where everything goes.
#[derive(Debug, Clone, Copy)]
struct Places {
    status: Rect,
    /// One line of tabs; empty where lanes stand side by side.
    tabs: Rect,
    lanes: Rect,
    /// Empty where there is no room.
    charts: Rect,
    outputs: Rect,
}

impl Places {
    fn side_by_side(&self) -> bool {
        self.tabs.height == 0
    }
}

fn places(area: Rect, lanes: usize) -> Places {
    let lanes = u16::try_from(lanes.max(1)).unwrap_or(u16::MAX);
    let side_by_side = area.width >= WIDE && area.width / lanes >= NARROWEST_LANE - 1;
    let (tabs, panel) = if side_by_side { (0, 9) } else { (1, 5) };
    let charts = match area.height {
        ..20 => 0,
        20..28 => 7,
        28..46 => 11,
        46.. => 16,
    };
    let [status, tabs, below] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(tabs), Constraint::Fill(1)])
            .areas(area);
    // a panel of no height would still be overlapped, so it is left out
    let charts_line = (charts > 0).then_some(Constraint::Length(charts));
    let lines = std::iter::once(Constraint::Length(panel)).chain(charts_line);
    let panels = Layout::vertical(lines.chain([Constraint::Fill(1)]))
        .spacing(Spacing::Overlap(1))
        .split(below);
    let (lanes, outputs) = (panels[0], panels[panels.len() - 1]);
    let charts = if charts > 0 { panels[1] } else { Rect { height: 0, ..lanes } };
    Places { status, tabs, lanes, charts, outputs }
}

/// Draws the screen.
pub fn render(frame: &mut Frame, area: Rect, session: &Session, app: &App) {
    let theme = app.theme();
    let places = places(area, session.recorder.lanes.len());
    frame.render_widget(status_line(session, places.status.width, app), places.status);
    if places.side_by_side() {
        lanes::render_columns(frame, places.lanes, session, theme);
    } else {
        lanes::render_tabs(frame, places.tabs, session, theme);
        lanes::render_selected(frame, places.lanes, session, theme);
    }
    if places.charts.height > 0 {
        charts::render(frame, places.charts, session, app);
    }
    outputs::render(frame, places.outputs, session, places.side_by_side(), theme);
}

/// Rows of the output table that are visible.
pub fn visible_rows(app: &App) -> usize {
    table(app).map_or(1, |(_, table)| usize::from(table.height).max(1))
}

/// The lane under a position.
pub fn lane_at(app: &App, at: Position) -> Option<usize> {
    let session = app.session.as_ref()?;
    let places = places(super::parts(app)?.body, session.recorder.lanes.len());
    if places.side_by_side() {
        let areas = lanes::columns(places.lanes, session.recorder.lanes.len());
        return areas.iter().position(|area| area.contains(at));
    }
    lanes::tab_at(places.tabs, session, at)
}

/// The row under a position.
pub fn row_at(app: &App, at: Position) -> Option<usize> {
    let (session, table) = table(app)?;
    let line = table.contains(at).then(|| usize::from(at.y - table.y))?;
    session.row_at(session.top + line)
}

fn table(app: &App) -> Option<(&Session, Rect)> {
    let session = app.session.as_ref()?;
    let places = places(super::parts(app)?.body, session.recorder.lanes.len());
    Some((session, outputs::table(places.outputs)))
}

/// How the run stands, and how long it will take.
pub(super) fn status_line(session: &Session, columns: u16, app: &App) -> Line<'static> {
    let theme = app.theme();
    let roles = &theme.roles;
    let room = usize::from(columns).saturating_sub(4);
    if !session.running() {
        let (sign, style) = match session.status() {
            "done" => ("✓", roles.good),
            "stopped" => ("!", roles.warn),
            _ => ("✗", roles.bad),
        };
        let took = units::duration(session.last_event.as_secs_f64());
        let text = format!("{} after {took} · kept in ", session.status());
        let folder = session.folder.to_string_lossy();
        let folder = text::fit_end(&folder, room.saturating_sub(text::width(&text)));
        return Line::from(vec![
            Span::styled(format!(" {sign} "), style),
            Span::raw(text),
            Span::styled(folder, roles.muted),
        ]);
    }
    let spinner = spinner(app.now.saturating_duration_since(session.recorder.epoch));
    let replay = if session.replay { "replay · " } else { "" };
    let text = match (&session.recorder.preparing, session.stopping) {
        (_, true) => "stopping; what was finished is kept".to_owned(),
        (Some(what), false) => text::fit(what, room),
        (None, false) => {
            format!("{replay}{}", running_text(session, room.saturating_sub(text::width(replay))))
        }
    };
    Line::from(vec![Span::styled(format!(" {spinner} "), roles.accent), Span::raw(text)])
}

fn running_text(session: &Session, room: usize) -> String {
    let lanes = session.recorder.lanes.len();
    let lane = session.recorder.running.unwrap_or(0);
    let (Some(record), Some(figures)) = (session.running_lane(), session.figures.get(lane)) else {
        let warming = session.recorder.lanes.iter().find(|lane| lane.state == LaneState::WarmingUp);
        return match warming {
            Some(lane) => format!("warming up for {}", text::fit(&lane.spec.label, 24)),
            None => "starting".to_owned(),
        };
    };
    let mut facts = vec![
        format!("lane {} of {lanes}, {}", lane + 1, text::fit(&record.spec.label, 24)),
        format!("{} of {}", figures.ended, counted(session.recorder.rows(), "row")),
    ];
    if session.plan.repeats > 1 {
        facts.push(format!("pass {} of {}", record.passes.len(), session.plan.repeats));
    }
    facts.extend(match figures.change {
        Some(change) => Some(format!("batch size {}", change_words(change))),
        None => session.live_batch_size().map(|size| format!("batch size {size}")),
    });
    facts.extend(figures.left.map(|left| format!("≈{} left in this lane", units::duration(left))));
    text::pieces(facts.iter().map(String::as_str), " · ", room)
}

/// `16→24: 210→262 tok/s, +24.8 %`.
fn change_words(change: SizeChange) -> String {
    let sizes = format!("{}→{}", change.from, change.to);
    let (Some(before), Some(after)) = (change.before, change.after) else { return sizes };
    let throughput = format!("{}→{}", units::significant(before), units::throughput(after));
    let gain = after / before - 1.0;
    let sign = if gain < 0.0 { "−" } else { "+" };
    format!("{sizes}: {throughput}, {sign}{}", units::percent(gain.abs()))
}

fn spinner(elapsed: std::time::Duration) -> char {
    const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
    FRAMES[(elapsed.as_millis() / 125 % 10) as usize]
}

/// How a lane stands, in a word or a count, with its sign.
pub(super) fn lane_state(session: &Session, lane: usize) -> String {
    let record = &session.recorder.lanes[lane];
    let figures = &session.figures[lane];
    let rows = session.recorder.rows();
    match &record.state {
        LaneState::Waiting if session.running() => {
            if next_lane(session) == Some(lane) { "next" } else { "waiting" }.to_owned()
        }
        LaneState::Waiting => "not run".to_owned(),
        LaneState::WarmingUp => "warming up".to_owned(),
        LaneState::Running => format!("{}/{rows}", figures.ended),
        LaneState::Done if figures.failed > 0 => format!("done, ✗ {} failed", figures.failed),
        LaneState::Done => "✓ done".to_owned(),
        LaneState::Failed(_) => format!("✗ failed, {}/{rows}", figures.ended),
        LaneState::Cancelled => format!("! stopped, {}/{rows}", figures.ended),
    }
}

fn next_lane(session: &Session) -> Option<usize> {
    session.recorder.lanes.iter().position(|lane| lane.state == LaneState::Waiting)
}

/// The sign of a row, and what is to be read beside it.
pub(super) fn row_sign(
    row: Option<&RowRecord>,
    is_reference: bool,
    theme: &Theme,
) -> (&'static str, Style) {
    let roles = &theme.roles;
    let Some(row) = row else { return ("…", roles.muted) };
    match (row.state, row.same_as_reference) {
        (RowState::Waiting, _) => ("…", roles.muted),
        (RowState::Running, _) => ("▸", roles.accent),
        (RowState::Done, _) if is_reference => ("✓", roles.good),
        (RowState::Done, Some(true)) => ("=", roles.good),
        (RowState::Done, Some(false)) => ("≠", roles.warn),
        (RowState::Done, None) => ("✓", roles.good),
        (RowState::Failed, _) => ("✗", roles.bad),
        (RowState::NotRun, _) => ("–", roles.muted),
    }
}

/// Whether every row that ended did so once and in its place.
fn order(figures: &Figures, rows: usize) -> String {
    if figures.violations > 0 {
        format!("order ✗ {} wrong", figures.violations)
    } else if figures.ended > 0 {
        format!("order ✓ {}/{rows}", figures.ended)
    } else {
        format!("order {}", units::UNKNOWN)
    }
}

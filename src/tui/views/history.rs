//! Past runs: a line each, and what is known of the one in focus.
//!
//! ```text
//! ┌ past runs ─────────────────────────────────┐
//! │ one line a run, the newest first           │
//! ├ 20261123-202302 ───────────────────────────┤
//! │ its model, its lanes, or why it is damaged │
//! └────────────────────────────────────────────┘
//! ```

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect, Spacing};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{counted, panel, wrapped};
use crate::tui::app::App;
use crate::tui::form::Finding;
use crate::tui::history::{History, PastFacts, PastRun, name};
use crate::tui::text;
use crate::tui::theme::Theme;
use crate::units;

/// Columns of the model's name, and the width of the list from which on it is shown.
const MODEL: usize = 30;
const WIDE: usize = 100;

/// The most lines of lanes that are shown.
const MOST_LANES: u16 = 6;

struct Places {
    list: Rect,
    details: Rect,
}

fn places(area: Rect) -> Places {
    let details = (MOST_LANES + 4).min(area.height / 2);
    let [list, details] = Layout::vertical([Constraint::Fill(1), Constraint::Length(details)])
        .spacing(Spacing::Overlap(1))
        .areas(area);
    Places { list, details }
}

/// Draws the screen.
pub fn render(frame: &mut Frame, area: Rect, app: &App) {
    let places = places(area);
    render_list(frame, places.list, &app.history, app.theme());
    render_details(frame, places.details, &app.history, app.theme());
}

/// Runs that are visible at a time.
pub fn page(app: &App) -> usize {
    super::parts(app).map_or(1, |parts| visible(places(parts.body).list).max(1))
}

/// The runs that are visible, by their places in the list.
pub fn in_sight(app: &App) -> std::ops::Range<usize> {
    let page = page(app);
    let top = first_visible(&app.history, page);
    top..(top + page).min(app.history.runs.len())
}

/// The run under a position.
pub fn run_at(app: &App, at: Position) -> Option<usize> {
    let list = places(super::parts(app)?.body).list;
    let first = list.y + 2;
    let inside = list.contains(at) && at.y >= first && at.y + 1 < list.bottom();
    let top = first_visible(&app.history, visible(list));
    let run = inside.then(|| top + usize::from(at.y - first))?;
    (run < app.history.runs.len()).then_some(run)
}

fn visible(list: Rect) -> usize {
    usize::from(list.height.saturating_sub(3))
}

fn first_visible(history: &History, visible: usize) -> usize {
    (history.selected + 1).saturating_sub(visible.max(1))
}

fn render_list(frame: &mut Frame, area: Rect, history: &History, theme: &Theme) {
    let marked = match history.marked.len() {
        0 => String::new(),
        count => format!("─ {count} marked "),
    };
    let place = match history.runs.len() {
        0 => String::new(),
        count => format!("─ {} of {count} ", history.selected + 1),
    };
    let block = panel(format!(" past runs {place}{marked}"), theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let columns = usize::from(inner.width);
    let mut lines = Vec::new();
    match &history.state {
        Finding::Failed(reason) => {
            lines.extend(wrapped(&format!("✗ {reason}"), inner.width, 4, theme.roles.bad));
        }
        Finding::Asked => lines.push(Line::styled("… looking", theme.roles.muted)),
        Finding::Known(()) if history.runs.is_empty() => {
            lines.push(Line::styled("no run was kept yet", theme.roles.muted));
        }
        Finding::Known(()) => {
            let model =
                if columns >= WIDE { format!("{:<MODEL$}", "model") } else { String::new() };
            let heading = format!(
                "  {:<17} {:<14} {model}{:>7}  {:<11} fastest lane",
                "started, UTC", "list", "rows", "ended"
            );
            lines.push(Line::styled(text::fit(&heading, columns), theme.roles.muted));
        }
    }
    let visible = visible(area);
    let top = first_visible(history, visible);
    for (place, run) in history.runs.iter().enumerate().skip(top).take(visible) {
        let line = run_line(run, history.is_marked(run), columns, theme);
        lines.push(if place == history.selected { line.style(theme.roles.selected) } else { line });
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

fn run_line(run: &PastRun, marked: bool, columns: usize, theme: &Theme) -> Line<'static> {
    let roles = &theme.roles;
    let mark = Span::styled(if marked { "● " } else { "  " }, roles.accent);
    let name = name(&run.folder);
    let rest = columns.saturating_sub(2 + 18);
    match &run.facts {
        Finding::Asked => Line::from(vec![
            mark,
            Span::raw(text::column(&name, 18)),
            Span::styled("…", roles.muted),
        ]),
        Finding::Failed(reason) => Line::from(vec![
            mark,
            Span::raw(text::column(&name, 18)),
            Span::styled(text::fit(&format!("✗ {reason}"), rest), roles.bad),
        ]),
        Finding::Known(facts) => {
            let (sign, style) = sign(facts.status, theme);
            let started = facts.started_at.strftime("%Y-%m-%d %H:%M").to_string();
            let model = if columns >= WIDE { MODEL } else { 0 };
            let name = text::fit_end(super::model_name(&facts.model), model.saturating_sub(2));
            Line::from(vec![
                mark,
                Span::raw(text::column(&started, 18)),
                Span::raw(text::column(&facts.name, 14)),
                Span::raw(" "),
                Span::raw(text::column(&name, model)),
                Span::raw(format!("{:>7}  ", facts.rows)),
                Span::styled(text::column(&format!("{sign} {}", facts.status), 12), style),
                Span::raw(text::fit(
                    &fastest(facts),
                    columns.saturating_sub(2 + 18 + 14 + model + 10 + 12),
                )),
            ])
        }
    }
}

fn sign(status: &str, theme: &Theme) -> (&'static str, Style) {
    let roles = &theme.roles;
    match status {
        "done" => ("✓", roles.good),
        "stopped" => ("!", roles.warn),
        "under way" => ("▸", roles.accent),
        _ => ("✗", roles.bad),
    }
}

fn fastest(facts: &PastFacts) -> String {
    let rated = facts.lanes.iter().filter_map(|lane| Some((lane.1?, lane)));
    match rated.max_by(|a, b| a.0.total_cmp(&b.0)) {
        None => units::UNKNOWN.to_owned(),
        Some((speed, (label, _, speedup))) => {
            let speedup = speedup.map(|factor| format!(" {}", units::ratio(factor)));
            format!("{} {label}{}", units::throughput(speed), speedup.unwrap_or_default())
        }
    }
}

fn render_details(frame: &mut Frame, area: Rect, history: &History, theme: &Theme) {
    let roles = &theme.roles;
    let title = history.run().map(|run| format!(" {} ", name(&run.folder))).unwrap_or_default();
    let block = panel(text::fit(&title, usize::from(area.width / 2)), theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let Some(run) = history.run() else { return };
    let lines = match &run.facts {
        Finding::Asked => vec![Line::styled("… reading its journal", roles.muted)],
        Finding::Failed(reason) => {
            wrapped(&format!("✗ {reason}"), inner.width, usize::from(inner.height), roles.bad)
        }
        Finding::Known(facts) => fact_lines(facts, inner, theme),
    };
    frame.render_widget(Paragraph::new(lines), inner);
}

fn fact_lines(facts: &PastFacts, area: Rect, theme: &Theme) -> Vec<Line<'static>> {
    let columns = usize::from(area.width);
    let mut about = vec![
        text::fit_end(super::model_name(&facts.model), 50),
        counted(facts.rows, "prompt"),
        format!("took {}", units::duration(facts.took)),
    ];
    if facts.differ > 0 {
        about.push(format!("≠ {} differ", facts.differ));
    }
    let about = text::pieces(about.iter().map(String::as_str), " · ", columns);
    let mut lines = vec![Line::raw(about)];
    let room = usize::from(area.height).saturating_sub(1);
    let cut = facts.lanes.len() > room;
    let shown = if cut { room.saturating_sub(1) } else { room };
    for (place, (label, speed, speedup)) in facts.lanes.iter().enumerate().take(shown) {
        let speed = units::known(*speed, units::throughput);
        let speedup = speedup.map(units::ratio).unwrap_or_default();
        lines.push(Line::from(vec![
            Span::styled(text::column(&format!("{} {label}", place + 1), 24), theme.lane(place)),
            Span::raw(format!("{speed:>13} {speedup:>9}")),
        ]));
    }
    if cut {
        let more = facts.lanes.len() - shown;
        lines.push(Line::styled(format!("and {more} more lanes"), theme.roles.muted));
    }
    lines
}

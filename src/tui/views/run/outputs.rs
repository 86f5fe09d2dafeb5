//! The outputs, one line a row. Only visible rows are looked at.

use std::borrow::Cow;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::row_sign;
use crate::bench::recorder::{RowRecord, RowState};
use crate::tui::session::{Filter, Session};
use crate::tui::text;
use crate::tui::theme::Theme;
use crate::tui::views::panel;

/// Columns of the table.
struct Columns {
    number: usize,
    prompt: usize,
    /// One a lane that is shown.
    output: usize,
    lanes: Vec<usize>,
}

/// The part of the area that holds rows: inside the border, below the heading.
pub(super) fn table(area: Rect) -> Rect {
    Rect {
        x: area.x.saturating_add(1),
        y: area.y.saturating_add(2),
        width: area.width.saturating_sub(2),
        height: area.height.saturating_sub(3),
    }
}

pub(super) fn render(
    frame: &mut Frame,
    area: Rect,
    session: &Session,
    all_lanes: bool,
    theme: &Theme,
) {
    let rows = session.recorder.rows();
    let follow = if session.follow && session.running() { "following " } else { "" };
    let title = Line::from(vec![
        Span::raw(" outputs "),
        Span::styled("─ ", theme.roles.border),
        Span::raw(format!("{follow}row {} of {rows} ", (session.row + 1).min(rows))),
        Span::styled(filtered(session), theme.roles.accent),
    ]);
    frame.render_widget(panel(title, theme), area);
    let table = table(area);
    if table.height == 0 {
        return;
    }
    let columns = columns(session, all_lanes, usize::from(table.width));
    let heading = Rect { y: table.y - 1, height: 1, ..table };
    frame.render_widget(heading_line(session, &columns, theme), heading);
    let last = session.top.saturating_add(table.height.into());
    let shown = (session.top..last).map_while(|place| session.row_at(place));
    let lines = shown.map(|row| row_line(session, row, &columns, theme));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), table);
}

/// Which rows are shown, and what is looked for, where the user chose.
fn filtered(session: &Session) -> String {
    let mut facts = Vec::new();
    if session.filter != Filter::All {
        facts.push(format!("─ {}: {} ", session.filter.word(), session.shown_rows()));
    }
    if !session.search.is_empty() {
        facts.push(format!("─ /{} ", text::fit(session.search.text(), 20)));
    }
    facts.concat()
}

fn columns(session: &Session, all_lanes: bool, width: usize) -> Columns {
    let count = session.recorder.lanes.len();
    let lanes: Vec<usize> = if all_lanes { (0..count).collect() } else { vec![session.lane] };
    let number = session.recorder.rows().to_string().len().max(2) + 1;
    let prompt = (width / 4).clamp(12, 40);
    let rest = width.saturating_sub(number + 2 + prompt + 1);
    let output = (rest / lanes.len().max(1)).saturating_sub(1);
    Columns { number, prompt, output, lanes }
}

fn heading_line(session: &Session, columns: &Columns, theme: &Theme) -> Line<'static> {
    let muted = theme.roles.muted;
    let mut spans = vec![
        Span::styled(format!("{:>1$}  ", "#", columns.number), muted),
        Span::styled(text::column("prompt", columns.prompt + 1), muted),
    ];
    for lane in &columns.lanes {
        let label = session.recorder.lanes.get(*lane).map_or("", |lane| &lane.spec.label);
        let label = text::column(&format!("  {label}"), columns.output + 1);
        spans.push(Span::styled(label, theme.lane(*lane)));
    }
    Line::from(spans)
}

fn row_line(session: &Session, row: usize, columns: &Columns, theme: &Theme) -> Line<'static> {
    let prompt = session.prompts.prompts.get(row).map_or("", |prompt| prompt.content.display());
    let mut spans = vec![
        Span::styled(format!("{:>1$}  ", row + 1, columns.number), theme.roles.muted),
        Span::raw(text::column(prompt, columns.prompt)),
        Span::raw(" "),
    ];
    for lane in &columns.lanes {
        let is_reference = *lane == session.recorder.reference;
        let record = session.recorder.lanes.get(*lane);
        let record = record.and_then(|lane| lane.pass()?.rows.get(row));
        let (sign, style) = row_sign(record, is_reference, theme);
        let words = record.map_or(Cow::Borrowed("waiting"), words);
        let faint = record.is_none_or(|record| record.text.is_empty());
        spans.push(Span::styled(format!("{sign} "), style));
        spans.push(Span::styled(
            text::column(&words, columns.output.saturating_sub(2)) + " ",
            if faint { theme.roles.muted } else { theme.roles.text },
        ));
    }
    let line = Line::from(spans);
    if row == session.row { line.style(theme.roles.selected) } else { line }
}

/// What stands beside the sign.
fn words(record: &RowRecord) -> Cow<'_, str> {
    match record.state {
        RowState::Waiting => "waiting".into(),
        RowState::Running if record.text.is_empty() => "submitted".into(),
        RowState::NotRun => "not run".into(),
        RowState::Failed => record
            .failure
            .as_ref()
            .map_or("failed".into(), |failure| failure.message.as_str().into()),
        RowState::Done if record.text.is_empty() => "(empty)".into(),
        RowState::Running | RowState::Done => record.text.as_str().into(),
    }
}

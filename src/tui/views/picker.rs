//! The prompt list picker: a typed path, the built-in lists, the files of a folder.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{popup, popup_area};
use crate::tui::app::{App, Overlay};
use crate::tui::picker::{Entry, Picker};
use crate::tui::text;
use crate::tui::theme::Theme;
use crate::units;

/// Lines above and below the entries.
const AROUND: u16 = 5;

/// Draws the picker.
pub fn render(frame: &mut Frame, area: Rect, picker: &Picker, theme: &Theme) {
    let inner = popup(frame, popup_area(area, 76, u16::MAX), "prompt lists", theme);
    let columns = usize::from(inner.width);
    let visible = usize::from(area.height.saturating_sub(AROUND)).max(1);
    let label = "path ";
    let (typed, cursor) = picker.typed.view(columns.saturating_sub(label.len()));
    let typed = if picker.typed.text().is_empty() {
        Span::styled("type one, or choose below", theme.roles.muted)
    } else {
        Span::raw(typed)
    };
    let mut lines =
        vec![Line::from(vec![Span::styled(label, theme.roles.muted), typed]), Line::default()];
    let top = picker.selected.saturating_sub(visible.saturating_sub(1));
    let entries = picker.entries.iter().enumerate().skip(top).take(visible);
    lines.extend(entries.map(|(place, entry)| {
        let line = entry_line(entry, picker, columns, theme);
        if place == picker.selected { line.style(theme.roles.selected) } else { line }
    }));
    if let Some(error) = &picker.error {
        lines.push(Line::styled(text::fit(&format!("✗ {error}"), columns), theme.roles.bad));
    }
    frame.render_widget(Paragraph::new(lines), inner);
    let column = u16::try_from(label.len() + cursor).unwrap_or(0);
    frame.set_cursor_position(Position { x: inner.x.saturating_add(column), y: inner.y });
}

/// Entries that are visible at a time.
pub fn page(app: &App) -> usize {
    super::parts(app)
        .map_or(1, |parts| usize::from(parts.body.height.saturating_sub(AROUND)).max(1))
}

/// The entry under a position.
pub fn entry_at(app: &App, at: Position) -> Option<usize> {
    let Some(Overlay::Picker(picker)) = &app.overlay else { return None };
    let body = super::parts(app)?.body;
    let area = popup_area(body, 76, u16::MAX);
    let first = area.y + 3;
    let inside = area.contains(at) && at.y >= first && at.y + 1 < area.bottom();
    let top = picker.selected.saturating_sub(page(app).saturating_sub(1));
    let entry = inside.then(|| top + usize::from(at.y - first))?;
    (entry < picker.entries.len()).then_some(entry)
}

fn entry_line<'a>(entry: &Entry, picker: &Picker, columns: usize, theme: &Theme) -> Line<'a> {
    let names = columns / 2;
    let (name, about) = match entry {
        Entry::BuiltIn { name, description } => (name.clone(), format!("built in: {description}")),
        Entry::Parent => {
            ("../".to_owned(), text::fit_end(&picker.folder.to_string_lossy(), columns - names))
        }
        Entry::Folder(name) => (format!("{name}/"), String::new()),
        Entry::File { name, size } => (name.clone(), units::bytes(*size)),
    };
    let names = if matches!(entry, Entry::BuiltIn { .. }) { 16.min(names) } else { names };
    Line::from(vec![
        Span::raw(text::column(&name, names.saturating_sub(1))),
        Span::raw(" "),
        Span::styled(text::column(&about, columns - names), theme.roles.muted),
    ])
}

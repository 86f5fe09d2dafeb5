//! The palette: a line that is typed, and what it finds.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{popup, popup_area};
use crate::tui::app::{App, Overlay};
use crate::tui::palette::Palette;
use crate::tui::text;

/// Lines that are no entries: the border and the line that is typed.
const AROUND: u16 = 4;

fn area(body: Rect) -> Rect {
    popup_area(body, 68, 20)
}

/// Entries that are visible at a time.
pub fn page(app: &App) -> usize {
    super::parts(app)
        .map_or(1, |parts| usize::from(area(parts.body).height.saturating_sub(AROUND)).max(1))
}

/// The entry under a position.
pub fn entry_at(app: &App, at: Position) -> Option<usize> {
    let Some(Overlay::Palette(palette)) = &app.overlay else { return None };
    let area = area(super::parts(app)?.body);
    let first = area.y + 3;
    let inside = area.contains(at) && at.y >= first && at.y + 1 < area.bottom();
    let top = first_visible(palette.selected, page(app));
    inside.then(|| top + usize::from(at.y - first))
}

fn first_visible(selected: usize, page: usize) -> usize {
    (selected + 1).saturating_sub(page)
}

/// Draws the palette.
pub fn render(frame: &mut Frame, body: Rect, palette: &Palette, app: &App) {
    let roles = &app.theme().roles;
    let inner = popup(frame, area(body), "do", app.theme());
    let columns = usize::from(inner.width);
    let (typed, cursor) = palette.typed.view(columns.saturating_sub(2));
    let typed = if palette.typed.text().is_empty() {
        Span::styled("type a few letters of what to do", roles.muted)
    } else {
        Span::raw(typed)
    };
    let mut lines =
        vec![Line::from(vec![Span::styled("› ", roles.accent), typed]), Line::default()];
    let found = palette.found(&app.keymap, app.conditions());
    if found.is_empty() {
        lines.push(Line::styled("nothing here does that", roles.muted));
    }
    let page = usize::from(inner.height.saturating_sub(2)).max(1);
    let top = first_visible(palette.selected, page);
    for (place, binding) in found.iter().enumerate().skip(top).take(page) {
        let key = binding.keys.first().map(|key| key.name()).unwrap_or_default();
        let key_columns = 10.min(columns / 4);
        let help = text::column(binding.help, columns.saturating_sub(key_columns + 1));
        let line = Line::from(vec![
            Span::raw(help),
            Span::raw(" "),
            Span::styled(text::fit(&key, key_columns), roles.accent),
        ]);
        lines.push(if place == palette.selected { line.style(roles.selected) } else { line });
    }
    frame.render_widget(Paragraph::new(lines), inner);
    let column = u16::try_from(2 + cursor).unwrap_or(0);
    frame.set_cursor_position(Position { x: inner.x.saturating_add(column), y: inner.y });
}

//! All themes; the one in focus is in use, so that it is seen before it is kept.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{popup, popup_area};
use crate::tui::app::App;
use crate::tui::text;

/// Lines above and below the themes: border and colours.
const AROUND: u16 = 5;

fn area(body: Rect, themes: usize) -> Rect {
    let height = u16::try_from(themes).unwrap_or(u16::MAX).saturating_add(AROUND);
    let mut area = popup_area(body, 64, height);
    // at the edge, so that what it looks like is seen beside it
    area.x = body.right().saturating_sub(area.width);
    area
}

fn first_visible(app: &App, visible: usize) -> usize {
    (app.theme + 1).saturating_sub(visible.max(1))
}

/// The theme under a position.
pub fn theme_at(app: &App, at: Position) -> Option<usize> {
    let area = area(super::parts(app)?.body, app.themes.len());
    let visible = area.height.saturating_sub(AROUND);
    let first = area.y + 1;
    let inside = area.contains(at) && (first..first + visible).contains(&at.y);
    let theme = inside
        .then(|| first_visible(app, visible.into()) + usize::from(at.y.saturating_sub(first)))?;
    (theme < app.themes.len()).then_some(theme)
}

/// Draws the themes.
pub fn render(frame: &mut Frame, body: Rect, app: &App) {
    let theme = app.theme();
    let roles = &theme.roles;
    let inner = popup(frame, area(body, app.themes.len()), "themes", theme);
    let visible = usize::from(inner.height.saturating_sub(AROUND - 2));
    let columns = usize::from(inner.width);
    let shown = app.themes.iter().enumerate().skip(first_visible(app, visible)).take(visible);
    let mut lines: Vec<Line> = shown
        .map(|(place, theme)| {
            let line = Line::from(vec![
                Span::raw(text::column(&theme.name, 22)),
                Span::raw(text::fit(&theme.description, columns.saturating_sub(22))),
            ]);
            if place == app.theme { line.style(roles.selected) } else { line }
        })
        .collect();
    lines.push(Line::default());
    lines.push(Line::from(vec![
        Span::styled("1 lane  ", theme.lane(0)),
        Span::styled("2 lane  ", theme.lane(1)),
        Span::styled("3 lane  ", theme.lane(2)),
        Span::styled("4 lane", theme.lane(3)),
    ]));
    lines.push(Line::from(vec![
        Span::styled("✓ good  ", roles.good),
        Span::styled("! warn  ", roles.warn),
        Span::styled("✗ bad  ", roles.bad),
        Span::styled("≠ differs", roles.difference),
        Span::styled("  muted", roles.muted),
    ]));
    frame.render_widget(Paragraph::new(lines), inner);
}

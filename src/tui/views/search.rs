//! The text that is looked for in prompts and outputs.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{popup, popup_area};
use crate::tui::input::TextInput;
use crate::tui::theme::Theme;

/// Draws the form.
pub fn render(frame: &mut Frame, area: Rect, input: &TextInput, theme: &Theme) {
    let inner = popup(frame, popup_area(area, 60, 5), "search prompts and outputs", theme);
    let (typed, cursor) = input.view(usize::from(inner.width).saturating_sub(2));
    let about = "enter finds the next row, n and N go on; nothing typed ends the search";
    let lines = vec![
        Line::from(vec![Span::styled("/ ", theme.roles.accent), Span::raw(typed)]),
        Line::default(),
        Line::styled(crate::tui::text::fit(about, inner.width.into()), theme.roles.muted),
    ];
    frame.render_widget(Paragraph::new(lines), inner);
    let column = u16::try_from(2 + cursor).unwrap_or(0);
    frame.set_cursor_position(Position { x: inner.x.saturating_add(column), y: inner.y });
}

//! The question before leaving a run that is under way.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::{popup, popup_area};
use crate::tui::theme::Theme;

/// Draws the question.
pub fn render(frame: &mut Frame, area: Rect, theme: &Theme) {
    let inner = popup(frame, popup_area(area, 54, 5), "quit?", theme);
    let lines = vec![
        Line::raw("A run is under way. Stop it and quit?"),
        Line::styled("What was finished is kept in its journal.", theme.roles.muted),
        Line::styled("y stop and quit · n stay", theme.roles.accent),
    ];
    frame.render_widget(Paragraph::new(lines), inner);
}

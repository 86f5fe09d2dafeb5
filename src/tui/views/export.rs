//! Where the report goes, and how writing it went.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{popup, popup_area, wrapped};
use crate::tui::app::{ExportForm, ExportState};
use crate::tui::theme::Theme;
use crate::tui::update::report_format;

/// Draws the form.
pub fn render(frame: &mut Frame, area: Rect, form: &ExportForm, theme: &Theme) {
    let inner = popup(frame, popup_area(area, 76, 8), "export the report", theme);
    if inner.height < 2 {
        return;
    }
    let label = "path ";
    let columns = usize::from(inner.width).saturating_sub(label.len());
    let (path, cursor) = form.path.view(columns);
    let mut lines = vec![
        Line::from(vec![Span::styled(label, theme.roles.muted), Span::raw(path)]),
        Line::default(),
    ];
    let (text, style) = state(form, theme);
    lines.extend(wrapped(&text, inner.width, usize::from(inner.height) - 2, style));
    frame.render_widget(Paragraph::new(lines), inner);
    let column = u16::try_from(label.len() + cursor).unwrap_or(0);
    frame.set_cursor_position(Position { x: inner.x.saturating_add(column), y: inner.y });
}

fn state(form: &ExportForm, theme: &Theme) -> (String, ratatui::style::Style) {
    let roles = &theme.roles;
    match &form.state {
        ExportState::Typing => match report_format(form.path.text().as_ref()) {
            Ok(format) => (format!("✓ {format}; enter writes it"), roles.good),
            Err(reason) => (format!("✗ {reason}"), roles.bad),
        },
        ExportState::Writing => ("writing …".to_owned(), roles.muted),
        ExportState::Exists => {
            ("! a file of that name is there: enter again replaces it".to_owned(), roles.warn)
        }
        ExportState::Written(place) => (format!("✓ written: {place}"), roles.good),
        ExportState::Failed(reason) => (format!("✗ {reason}"), roles.bad),
    }
}

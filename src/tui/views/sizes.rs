//! The batch sizes of a sweep that is to start.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{counted, popup, popup_area, wrapped};
use crate::bench::sweep;
use crate::tui::app::App;
use crate::tui::input::TextInput;

/// Draws the form.
pub fn render(frame: &mut Frame, area: Rect, sizes: &TextInput, app: &App) {
    let roles = &app.theme().roles;
    let inner = popup(frame, popup_area(area, 66, 9), "sweep: which batch sizes", app.theme());
    let label = "sizes ";
    let columns = usize::from(inner.width).saturating_sub(label.len());
    let (typed, cursor) = sizes.view(columns);
    let mut lines =
        vec![Line::from(vec![Span::styled(label, roles.muted), Span::raw(typed)]), Line::default()];
    let (text, style) = match sweep::parse_sizes(sizes.text()) {
        Ok(sizes) => {
            let passes = counted(sizes.len(), "batch size");
            (format!("✓ {passes}, one after another over the whole list; enter starts"), roles.good)
        }
        Err(reason) => (format!("✗ {reason}"), roles.bad),
    };
    lines.extend(wrapped(&text, inner.width, 3, style));
    let about = "the list runs batched at each size; repeats on Setup tell how sure the knee is";
    lines.extend(wrapped(about, inner.width, 2, roles.muted));
    frame.render_widget(Paragraph::new(lines), inner);
    let column = u16::try_from(label.len() + cursor).unwrap_or(0);
    frame.set_cursor_position(Position { x: inner.x.saturating_add(column), y: inner.y });
}

//! A text to be read, whole and scrolled.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::{popup, popup_area};
use crate::tui::app::{App, Overlay, Reading};
use crate::tui::text;
use crate::tui::theme::Theme;

/// The widest window.
const WIDTH: u16 = 170;

/// Draws the text.
pub fn render(frame: &mut Frame, area: Rect, reading: &Reading, theme: &Theme) {
    let inner = popup(frame, popup_area(area, WIDTH, u16::MAX), &reading.title, theme);
    let lines = reading.text.lines().skip(reading.scroll).take(usize::from(inner.height));
    let columns = usize::from(inner.width);
    let shown = lines.map(|line| {
        // headings stand at the margin, what belongs to them is indented
        let style = if line.starts_with(' ') { theme.roles.text } else { theme.roles.accent };
        Line::styled(text::fit(text::after(line, reading.across), columns), style)
    });
    frame.render_widget(Paragraph::new(shown.collect::<Vec<_>>()), inner);
}

/// The furthest that it can be scrolled across.
pub fn last_across(app: &App) -> usize {
    let (Some(parts), Some(Overlay::Reading(reading))) = (super::parts(app), &app.overlay) else {
        return 0;
    };
    let columns = usize::from(popup_area(parts.body, WIDTH, u16::MAX).width.saturating_sub(4));
    let widest = reading.text.lines().map(text::width).max().unwrap_or(0);
    widest.saturating_sub(columns)
}

/// Visible lines, and all lines.
pub(super) fn extent(area: Rect, reading: &Reading) -> (usize, usize) {
    (usize::from(area.height.saturating_sub(2)), reading.text.lines().count())
}

//! A text to be read, whole and scrolled.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::{popup, popup_area};
use crate::tui::app::Reading;
use crate::tui::text;
use crate::tui::theme::Theme;

/// The widest window.
const WIDTH: u16 = 110;

/// Draws the text.
pub fn render(frame: &mut Frame, area: Rect, reading: &Reading, theme: &Theme) {
    let inner = popup(frame, popup_area(area, WIDTH, u16::MAX), &reading.title, theme);
    let lines = reading.text.lines().skip(reading.scroll).take(usize::from(inner.height));
    let columns = usize::from(inner.width);
    let shown = lines.map(|line| {
        // headings stand at the margin, what belongs to them is indented
        let style = if line.starts_with(' ') { theme.roles.text } else { theme.roles.accent };
        Line::styled(text::fit(line, columns), style)
    });
    frame.render_widget(Paragraph::new(shown.collect::<Vec<_>>()), inner);
}

/// Visible lines, and all lines.
pub(super) fn extent(area: Rect, reading: &Reading) -> (usize, usize) {
    (usize::from(area.height.saturating_sub(2)), reading.text.lines().count())
}

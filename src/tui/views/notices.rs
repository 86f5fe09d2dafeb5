//! All notices, oldest first, whole.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{level_sign, level_style, popup, popup_area};
use crate::tui::notices::{Notice, Notices};
use crate::tui::text;
use crate::tui::theme::Theme;

/// The widest window.
const WIDTH: u16 = 100;

/// Draws the notices.
pub fn render(frame: &mut Frame, area: Rect, scroll: usize, notices: &Notices, theme: &Theme) {
    let area = popup_area(area, WIDTH, u16::MAX);
    let inner = popup(frame, area, "notices", theme);
    if notices.all().is_empty() {
        frame.render_widget(Line::styled("nothing was noticed", theme.roles.muted), inner);
        return;
    }
    let mut lines: Vec<Line> =
        notices.all().iter().flat_map(|notice| lines(notice, inner.width, theme)).collect();
    if notices.dropped() > 0 {
        lines.push(Line::styled(too_many(notices), theme.roles.muted));
    }
    let visible = lines.into_iter().skip(scroll).take(usize::from(inner.height));
    frame.render_widget(Paragraph::new(visible.collect::<Vec<_>>()), inner);
}

/// Visible lines, and all lines.
pub(super) fn extent(area: Rect, notices: &Notices) -> (usize, usize) {
    let width = popup_area(area, WIDTH, u16::MAX).width.saturating_sub(4);
    let lines: usize = notices.all().iter().map(|notice| wrap(notice, width).len()).sum();
    let more = usize::from(notices.dropped() > 0);
    (usize::from(area.height.saturating_sub(2)), lines + more)
}

fn too_many(notices: &Notices) -> String {
    format!("and {} more that were not kept", notices.dropped())
}

fn lines<'a>(notice: &Notice, width: u16, theme: &Theme) -> Vec<Line<'a>> {
    let sign = Span::styled(level_sign(notice.level), level_style(notice.level, theme));
    let texts = wrap(notice, width).into_iter().enumerate();
    texts
        .map(|(place, text)| {
            let start = if place == 0 { sign.clone() } else { Span::raw(" ") };
            Line::from(vec![start, Span::raw(" "), Span::raw(text)])
        })
        .collect()
}

fn wrap(notice: &Notice, width: u16) -> Vec<String> {
    let times = if notice.times > 1 { format!(" (×{})", notice.times) } else { String::new() };
    let text = format!("{}{times}", notice.text);
    let lines = text::wrap(&text, usize::from(width.saturating_sub(2)), usize::MAX);
    let lines = lines.iter().map(|line| line.iter().map(|c| c.shown.as_ref()).collect());
    lines.collect()
}

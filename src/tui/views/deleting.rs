//! The question before runs are deleted.

use std::path::PathBuf;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::{popup, popup_area};
use crate::tui::history::name;
use crate::tui::text;
use crate::tui::theme::Theme;

/// Draws the question.
pub fn render(frame: &mut Frame, area: Rect, folders: &[PathBuf], theme: &Theme) {
    let inner = popup(frame, popup_area(area, 60, 6), "delete?", theme);
    let columns = usize::from(inner.width);
    let what = match folders {
        [folder] => format!("Delete the run {}?", name(folder)),
        _ => format!("Delete {} runs?", folders.len()),
    };
    let names: Vec<String> = folders.iter().map(|folder| name(folder)).collect();
    let lines = vec![
        Line::raw(text::fit(&what, columns)),
        Line::styled(text::fit(&names.join(", "), columns), theme.roles.muted),
        Line::styled(
            "Its journal goes for good; reports that were exported stay.",
            theme.roles.muted,
        ),
        Line::styled("y delete · n keep", theme.roles.accent),
    ];
    frame.render_widget(Paragraph::new(lines), inner);
}

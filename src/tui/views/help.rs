//! Every key, from the table that dispatches them.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{popup, popup_area};
use crate::tui::keymap::{Binding, Place, TABLE, When};
use crate::tui::text;
use crate::tui::theme::Theme;

/// Columns of the key names.
const KEYS: usize = 18;

/// Draws the help.
pub fn render(frame: &mut Frame, area: Rect, scroll: usize, theme: &Theme) {
    let inner = popup(frame, popup_area(area, 76, u16::MAX), "keys", theme);
    let lines = lines(theme).into_iter().skip(scroll).take(usize::from(inner.height));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), inner);
}

/// Visible lines, and all lines.
pub(super) fn extent(area: Rect) -> (usize, usize) {
    let lines: usize = sections().map(|(_, bindings)| bindings.len() + 2).sum();
    (usize::from(area.height.saturating_sub(2)), lines.saturating_sub(1))
}

fn lines(theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for (title, bindings) in sections() {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(Line::styled(title, theme.roles.accent));
        lines.extend(bindings.into_iter().map(|binding| line(binding, theme)));
    }
    lines
}

fn line(binding: &Binding, theme: &Theme) -> Line<'static> {
    let keys: Vec<String> = binding.keys.iter().map(|key| key.name()).collect();
    let when = match binding.when {
        When::Always | When::HasRun => "",
        When::Running => ", while a run is under way",
        When::Idle => ", while no run is under way",
        When::Batching => ", while a batched lane runs",
    };
    Line::from(vec![
        Span::raw(text::column(&keys.join("  "), KEYS)),
        Span::raw(binding.help),
        Span::styled(when, theme.roles.muted),
    ])
}

/// First what counts on all screens, then place by place.
fn sections() -> impl Iterator<Item = (&'static str, Vec<&'static Binding>)> {
    let common = |binding: &&Binding| binding.places.len() >= 3 && !binding.places[0].takes_text();
    let everywhere = TABLE.iter().filter(common).filter(is_general).collect::<Vec<_>>();
    let places = Place::ALL.into_iter().map(move |place| {
        let here = TABLE
            .iter()
            .filter(|binding| binding.places.contains(&place))
            .filter(|binding| !(common(binding) && is_general(binding)));
        (place.title(), here.collect::<Vec<_>>())
    });
    std::iter::once(("Everywhere", everywhere)).chain(places)
}

/// Whether the key means the same on all screens.
fn is_general(binding: &&'static Binding) -> bool {
    [Place::Setup, Place::Run, Place::Row].iter().all(|place| binding.places.contains(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_binding_is_in_the_help() {
        let shown: Vec<&Binding> = sections().flat_map(|(_, bindings)| bindings).collect();
        for binding in TABLE {
            assert!(shown.iter().any(|other| std::ptr::eq(*other, binding)), "{binding:?}");
        }
    }

    #[test]
    fn the_extent_counts_all_lines() {
        let theme = &crate::tui::theme::shipped()[0];
        assert_eq!(extent(Rect::new(0, 0, 80, 20)), (18, lines(theme).len()));
    }
}

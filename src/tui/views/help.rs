//! Every key, from the table that dispatches them.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{popup, popup_area};
use crate::tui::app::HelpView;
use crate::tui::keymap::{Binding, Keymap, Place, When};
use crate::tui::text;
use crate::tui::theme::Theme;

/// Columns of the key names.
const KEYS: usize = 18;

/// The places that are whole screens.
const SCREENS: [Place; 3] = [Place::Setup, Place::Run, Place::Row];

/// Draws the help.
pub fn render(frame: &mut Frame, area: Rect, help: &HelpView, keymap: &Keymap, theme: &Theme) {
    let area = popup_area(area, 100, u16::MAX);
    let inner = popup(frame, area, "keys", theme);
    let columns = usize::from(inner.width);
    if help.typing || !help.search.text().is_empty() {
        let label = "search ";
        let (typed, cursor) = help.search.view(columns.saturating_sub(label.len() + 6));
        let line = Line::from(vec![
            Span::styled(format!(" {label}"), theme.roles.accent),
            Span::raw(format!("{typed} ")),
        ]);
        let top = Rect { x: area.x + 8, width: area.width.saturating_sub(10), height: 1, ..area };
        frame.render_widget(line, top);
        if help.typing {
            let column = u16::try_from(label.len() + 1 + cursor).unwrap_or(0);
            frame.set_cursor_position(Position { x: top.x.saturating_add(column), y: top.y });
        }
    }
    let lines = lines(help.search.text(), keymap, theme);
    if lines.is_empty() {
        frame.render_widget(Line::styled("no key does that", theme.roles.muted), inner);
        return;
    }
    let lines = lines.into_iter().skip(help.scroll).take(usize::from(inner.height));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), inner);
}

/// Visible lines, and all lines.
pub(super) fn extent(area: Rect, help: &HelpView, keymap: &Keymap) -> (usize, usize) {
    let sections = found(help.search.text(), keymap);
    let lines: usize = sections.iter().map(|(_, bindings)| bindings.len() + 2).sum();
    (usize::from(area.height.saturating_sub(2)), lines.saturating_sub(1))
}

fn lines(search: &str, keymap: &Keymap, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for (title, bindings) in found(search, keymap) {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(Line::styled(title, theme.roles.accent));
        lines.extend(bindings.into_iter().map(|binding| line(binding, theme)));
    }
    lines
}

/// The sections with the bindings whose keys or words hold the text.
fn found<'a>(search: &str, keymap: &'a Keymap) -> Vec<(&'static str, Vec<&'a Binding>)> {
    let search = search.trim().to_lowercase();
    let holds = |title: &str, binding: &&Binding| {
        let words = format!("{title} {} {}", key_names(binding), binding.help);
        words.to_lowercase().contains(&search)
    };
    let sections = sections(keymap).map(|(title, bindings)| {
        let bindings = bindings.into_iter().filter(|binding| holds(title, binding));
        (title, bindings.collect::<Vec<_>>())
    });
    sections.filter(|(_, bindings)| !bindings.is_empty()).collect()
}

fn key_names(binding: &Binding) -> String {
    let keys: Vec<String> = binding.keys.iter().map(|key| key.name()).collect();
    keys.join("  ")
}

fn line(binding: &Binding, theme: &Theme) -> Line<'static> {
    let when = match binding.when {
        When::Always | When::HasRun | When::CanSweep => "",
        When::Searching => " (after a search)",
        When::Running => " (during a run)",
        When::Idle => " (between runs)",
        When::Batching => " (in a batched lane)",
    };
    Line::from(vec![
        Span::raw(text::column(&key_names(binding), KEYS)),
        Span::raw(binding.help),
        Span::styled(when, theme.roles.muted),
    ])
}

/// First what counts on all screens, then place by place.
fn sections(keymap: &Keymap) -> impl Iterator<Item = (&'static str, Vec<&Binding>)> {
    let general = |binding: &&Binding| SCREENS.iter().all(|place| binding.places.contains(place));
    let everywhere = keymap.all().iter().filter(general).collect();
    let places = Place::ALL.into_iter().map(move |place| {
        let here = keymap.all().iter().filter(|binding| binding.places.contains(&place));
        (place.title(), here.filter(|binding| !general(binding)).collect())
    });
    std::iter::once(("Everywhere", everywhere)).chain(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_binding_is_in_the_help() {
        let keymap = Keymap::default();
        let shown: Vec<&Binding> = sections(&keymap).flat_map(|(_, bindings)| bindings).collect();
        for binding in keymap.all() {
            assert!(shown.iter().any(|other| std::ptr::eq(*other, binding)), "{binding:?}");
        }
    }

    #[test]
    fn the_extent_counts_all_lines_also_of_a_search() {
        let theme = &crate::tui::theme::shipped()[0];
        let keymap = Keymap::default();
        for search in ["", "batch", "no such words"] {
            let help = HelpView {
                search: crate::tui::input::TextInput::new(search),
                ..HelpView::default()
            };
            let lines = lines(search, &keymap, theme);
            assert_eq!(extent(Rect::new(0, 0, 80, 20), &help, &keymap), (18, lines.len()));
        }
    }
}

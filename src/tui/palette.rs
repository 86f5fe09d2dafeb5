//! The palette: everything that can be done here and now, found by a few letters.

use super::fuzzy;
use super::input::TextInput;
use super::keymap::{Action, Binding, Conditions, Keymap, Place};

/// What is typed and chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Palette {
    /// A few letters of what is wanted.
    pub typed: TextInput,
    /// Index into what was found.
    pub selected: usize,
    /// Where it was opened.
    pub place: Place,
}

impl Palette {
    /// Opens over a place.
    pub fn over(place: Place) -> Self {
        Self { typed: TextInput::default(), selected: 0, place }
    }

    /// What was found, the best first.
    pub fn found<'a>(&self, keymap: &'a Keymap, now: Conditions) -> Vec<&'a Binding> {
        let listed = keymap.here(self.place, now).filter(|binding| is_listed(binding.action));
        let mut scored: Vec<(i64, &Binding)> = listed
            .filter_map(|binding| {
                let text = format!("{} {} {}", binding.label, binding.help, binding.action.name());
                Some((fuzzy::score(self.typed.text(), &text)?, binding))
            })
            .collect();
        // a stable sort: equals stay in the order of the table
        scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        // letters that are strewn over a line are nothing that was meant
        let best = scored.first().map_or(0, |(score, _)| *score);
        scored.retain(|(score, _)| score * 2 >= best);
        scored.into_iter().map(|(_, binding)| binding).collect()
    }
}

/// Moving about is done by keys alone.
fn is_listed(action: Action) -> bool {
    !matches!(
        action,
        Action::Palette
            | Action::Up
            | Action::Down
            | Action::PageUp
            | Action::PageDown
            | Action::Less
            | Action::More
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_possible_here_is_found_by_its_words() {
        let keymap = Keymap::default();
        let mut palette = Palette::over(Place::Run);
        let now = Conditions { has_run: true, ..Conditions::default() };
        let all = palette.found(&keymap, now).len();
        assert!(all > 8, "{all}");
        palette.typed.insert("expo");
        assert_eq!(palette.found(&keymap, now)[0].action, Action::Export);
        // nothing runs, so there is nothing to stop
        let stops = |now| {
            Palette::over(Place::Run).found(&keymap, now).iter().any(|b| b.action == Action::Stop)
        };
        assert!(!stops(now) && stops(Conditions { running: true, ..now }));
    }
}

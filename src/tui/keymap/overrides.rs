//! Keys of the user's own, laid over the table. Where two actions would share a key in one
//! place, the settings are refused; so is what would take a letter from a text that is typed.

use std::collections::HashMap;

use crossterm::event::KeyCode;

use super::{Action, Binding, Conditions, Key, Keymap, Place};

/// What the settings say about one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The action's name, such as `next-lane`, perhaps with a place before it: `run.stop`.
    pub action: String,
    /// The keys as they are written, such as `x`, `ctrl-x`, `f5`.
    pub keys: Vec<String>,
}

/// An override that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    /// Which one, by its place among the overrides.
    pub place: usize,
    /// What is wrong, and what to try.
    pub reason: String,
}

impl Keymap {
    /// The table with these changes.
    ///
    /// # Errors
    /// The first change that cannot be.
    pub fn with(overrides: &[Override]) -> Result<Self, KeyError> {
        let mut keymap = Self::default();
        for (place, wanted) in overrides.iter().enumerate() {
            let error = |reason| KeyError { place, reason };
            let changed = keymap.change(wanted).map_err(error)?;
            keymap.check(&changed).map_err(error)?;
        }
        Ok(keymap)
    }

    /// Makes one change; gives the bindings it touched.
    fn change(&mut self, wanted: &Override) -> Result<Vec<usize>, String> {
        let (only, name) = match wanted.action.split_once('.') {
            Some((place, name)) => (Some(place_named(place)?), name),
            None => (None, wanted.action.as_str()),
        };
        let keys: Vec<Key> =
            wanted.keys.iter().map(|key| Key::parse(key)).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(format!("{name} is left without a key: name at least one"));
        }
        if name == Action::QuitNow.name() {
            return Err("ctrl-c always quits: it cannot be given to another key".to_owned());
        }
        let is_meant = |binding: &Binding| {
            binding.action.name() == name
                && only.is_none_or(|place| binding.places.contains(&place))
        };
        let mut changed = Vec::new();
        for place in 0..self.bindings.len() {
            if !is_meant(&self.bindings[place]) {
                continue;
            }
            let at = match only {
                Some(only) if self.bindings[place].places.len() > 1 => self.split(place, only),
                Some(_) | None => place,
            };
            self.bindings[at].keys = keys.clone().into();
            changed.push(at);
        }
        if changed.is_empty() {
            return Err(self.unknown(name, only));
        }
        Ok(changed)
    }

    /// Makes a binding of its own for one place out of one for many.
    fn split(&mut self, at: usize, only: Place) -> usize {
        let mut own = self.bindings[at].clone();
        self.bindings[at].places.to_mut().retain(|place| *place != only);
        own.places = vec![only].into();
        self.bindings.push(own);
        self.bindings.len() - 1
    }

    fn unknown(&self, name: &str, only: Option<Place>) -> String {
        let here = |binding: &&Binding| only.is_none_or(|place| binding.places.contains(&place));
        let mut names: Vec<String> =
            self.bindings.iter().filter(here).map(|binding| binding.action.name()).collect();
        names.sort_unstable();
        names.dedup();
        let near = crate::prompts::nearest(name, names.iter().map(String::as_str));
        let where_ = only.map_or(String::new(), |place| format!(" in {}", place.name()));
        match near {
            Some(near) => format!("there is no action \"{name}\"{where_}; did you mean {near}?"),
            None => {
                format!("there is no action \"{name}\"{where_}; there are {}", names.join(", "))
            }
        }
    }

    /// No other binding may have the same key where a changed one counts.
    fn check(&self, changed: &[usize]) -> Result<(), String> {
        for place in Place::ALL {
            let touched = changed.iter().any(|at| self.bindings[*at].places.contains(&place));
            if !touched {
                continue;
            }
            for now in Conditions::all() {
                let mut seen: HashMap<Key, Action> = HashMap::new();
                for binding in self.here(place, now) {
                    for key in binding.keys.iter() {
                        if let Some(other) = seen.insert(*key, binding.action)
                            && other != binding.action
                        {
                            return Err(conflict(*key, other, binding.action, place));
                        }
                    }
                }
            }
            let typed = self.bindings.iter().filter(|binding| binding.places.contains(&place));
            let mut keys = typed.flat_map(|binding| binding.keys.iter());
            let letter = |key: &&Key| matches!(key, Key::Plain(KeyCode::Char(_)));
            if place.takes_text()
                && let Some(key) = keys.find(letter)
            {
                return Err(format!(
                    "{} is typed as a letter in {}: take a key such as ctrl-x, or name the \
                     place, as in run.stop",
                    key.name(),
                    place.name()
                ));
            }
        }
        Ok(())
    }
}

fn conflict(key: Key, other: Action, action: Action, place: Place) -> String {
    format!(
        "{} would mean both {} and {} in {}: give one of them another key",
        key.name(),
        other.name(),
        action.name(),
        place.name()
    )
}

fn place_named(name: &str) -> Result<Place, String> {
    let known = |place: &Place| place.name() == name;
    Place::ALL.into_iter().find(known).ok_or_else(|| {
        let names: Vec<String> = Place::ALL.into_iter().map(Place::name).collect();
        format!("there is no place \"{name}\"; there are {}", names.join(", "))
    })
}

impl Key {
    /// Reads a key as it is written in the settings, and as the help shows it.
    ///
    /// # Errors
    /// How keys are written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            Err(format!(
                "\"{text}\" is no key: write one character, ctrl and a letter (ctrl-x), f1 to f12, \
                 or one of {}",
                NAMED.map(|(name, _)| name).join(", ")
            ))
        };
        if let Some((_, code)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(Key::Plain(*code));
        }
        let mut chars = text.chars();
        if let (Some(c), None) = (chars.next(), chars.next()) {
            return if c.is_control() { wrong() } else { Ok(Key::Plain(KeyCode::Char(c))) };
        }
        if let Some(letter) = text.strip_prefix("ctrl-") {
            let mut letters = letter.chars();
            return match (letters.next(), letters.next()) {
                (Some(c), None) if c.is_ascii_alphanumeric() => {
                    Ok(Key::Ctrl(c.to_ascii_lowercase()))
                }
                _ => wrong(),
            };
        }
        match text.strip_prefix('f').and_then(|number| number.parse().ok()) {
            Some(number @ 1..=12) => Ok(Key::Plain(KeyCode::F(number))),
            Some(_) | None => wrong(),
        }
    }
}

const NAMED: [(&str, KeyCode); 16] = [
    ("space", KeyCode::Char(' ')),
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("shift-tab", KeyCode::BackTab),
    ("backspace", KeyCode::Backspace),
    ("delete", KeyCode::Delete),
    ("insert", KeyCode::Insert),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("pgup", KeyCode::PageUp),
    ("pgdn", KeyCode::PageDown),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn overridden(list: &[(&str, &str)]) -> Result<Keymap, KeyError> {
        let list = list.iter().map(|(action, keys)| Override {
            action: (*action).to_owned(),
            keys: keys.split_whitespace().map(str::to_owned).collect(),
        });
        Keymap::with(&list.collect::<Vec<_>>())
    }

    fn reason(list: &[(&str, &str)]) -> String {
        overridden(list).unwrap_err().reason
    }

    #[test]
    fn an_action_gets_other_keys_everywhere_or_in_one_place() {
        let now = Conditions::default();
        let keymap = overridden(&[("help", "f1")]).unwrap();
        let f1 = Key::Plain(KeyCode::F(1));
        assert_eq!(keymap.action(Place::Run, f1, now), Some(Action::Help));
        assert_eq!(keymap.action(Place::Run, Key::parse("?").unwrap(), now), None);
        let keymap = overridden(&[("run.export", "ctrl-s w")]).unwrap();
        assert_eq!(keymap.action(Place::Run, Key::Ctrl('s'), now), Some(Action::Export));
        assert_eq!(keymap.action(Place::Run, Key::parse("e").unwrap(), now), None);
        assert_eq!(keymap.action(Place::Row, Key::parse("e").unwrap(), now), Some(Action::Export));
    }

    #[test]
    fn conflicts_are_refused_with_both_actions() {
        let why = reason(&[("export", "q")]);
        assert!(why.contains("q would mean both"), "{why}");
        assert!(why.contains("export") && why.contains("quit"), "{why}");
        let error = overridden(&[("help", "f1"), ("notices", "f1")]).unwrap_err();
        assert_eq!(error.place, 1);
    }

    #[test]
    fn what_is_written_wrongly_is_refused() {
        for (action, keys, why) in [
            ("exprot", "x", "did you mean export?"),
            ("cellar.stop", "x", "no place \"cellar\""),
            ("export", "", "without a key"),
            ("export", "hyper-x", "is no key"),
            ("export", "f13", "is no key"),
            ("export", "ctrl-", "is no key"),
            ("quit-now", "x", "ctrl-c always quits"),
            ("accept", "x", "typed as a letter"),
        ] {
            let found = reason(&[(action, keys)]);
            assert!(found.contains(why), "{action}: {found}");
        }
    }

    #[test]
    fn every_key_of_the_table_can_be_written() {
        for binding in Keymap::default().all() {
            for key in binding.keys.iter() {
                let name = match key {
                    Key::Plain(KeyCode::Up) => "up".to_owned(),
                    Key::Plain(KeyCode::Down) => "down".to_owned(),
                    Key::Plain(KeyCode::Left) => "left".to_owned(),
                    Key::Plain(KeyCode::Right) => "right".to_owned(),
                    Key::Plain(KeyCode::Char('-')) => "-".to_owned(),
                    key => key.name(),
                };
                assert_eq!(Key::parse(&name), Ok(*key), "{name}");
            }
        }
    }
}

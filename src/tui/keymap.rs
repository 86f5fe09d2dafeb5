//! Every key, once: the table that dispatches keys is also what the footer and the help show.
//!
//! This module does not know what an action does; that is [`super::update`].

mod table;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

pub use table::TABLE;

/// What the user can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Leave; asks first while a run is under way.
    Quit,
    /// Leave without asking.
    QuitNow,
    /// Stop the process until the shell continues it.
    Suspend,
    /// Show all keys.
    Help,
    /// Show all notices.
    Notices,
    /// The next theme.
    NextTheme,
    /// Start the run that Setup describes, or the last run again.
    Start,
    /// Go from Setup to the run.
    ShowRun,
    /// Stop the run; what was finished is kept.
    Stop,
    /// Go one screen back.
    Back,
    /// Do what the focus is on.
    Activate,
    /// One up.
    Up,
    /// One down.
    Down,
    /// One page up.
    PageUp,
    /// One page down.
    PageDown,
    /// To the first.
    First,
    /// To the last.
    Last,
    /// The previous value of a field.
    Less,
    /// The next value of a field.
    More,
    /// The next preset.
    NextPreset,
    /// The next lane.
    NextLane,
    /// The lane before.
    PreviousLane,
    /// Follow the newest row.
    Follow,
    /// A larger batch, now.
    RaiseBatch,
    /// A smaller batch, now.
    LowerBatch,
    /// Write the report.
    Export,
    /// The next row of the list.
    NextRow,
    /// The row before.
    PreviousRow,
    /// The next row whose outputs differ.
    NextDivergence,
    /// The row before whose outputs differ.
    PreviousDivergence,
    /// Take the folder that is shown as the prompt list.
    TakeFolder,
    /// Accept what was typed.
    Accept,
    /// Forget what was typed.
    Discard,
    /// Cursor one to the left.
    CursorLeft,
    /// Cursor one to the right.
    CursorRight,
    /// Cursor to the start.
    CursorHome,
    /// Cursor to the end.
    CursorEnd,
    /// Delete before the cursor.
    DeleteBack,
    /// Delete under the cursor.
    DeleteForward,
    /// Delete everything.
    DeleteAll,
    /// Yes.
    Confirm,
    /// No.
    Decline,
}

/// Where a key is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The form of what will run.
    Setup,
    /// A text field of the form.
    Field,
    /// The prompt list picker.
    Picker,
    /// The running or finished run.
    Run,
    /// One row, all lanes.
    Row,
    /// The path of a report.
    Export,
    /// All keys.
    Help,
    /// All notices.
    Notices,
    /// The question before leaving a run.
    Quitting,
}

impl Place {
    /// All places, in the order the help shows them.
    pub const ALL: [Place; 9] = [
        Place::Setup,
        Place::Field,
        Place::Picker,
        Place::Run,
        Place::Row,
        Place::Export,
        Place::Help,
        Place::Notices,
        Place::Quitting,
    ];

    /// Its name in the help.
    pub fn title(self) -> &'static str {
        match self {
            Place::Setup => "Setup",
            Place::Field => "A text field",
            Place::Picker => "Prompt lists",
            Place::Run => "Run",
            Place::Row => "Row",
            Place::Export => "Export",
            Place::Help => "Help",
            Place::Notices => "Notices",
            Place::Quitting => "Before quitting",
        }
    }

    /// Whether characters are typed into a text here.
    pub fn takes_text(self) -> bool {
        matches!(self, Place::Field | Place::Picker | Place::Export)
    }
}

/// When a binding counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// While a run is under way.
    Running,
    /// While none is.
    Idle,
    /// While a lane with a batch size runs.
    Batching,
    /// Once there is a run, under way or not.
    HasRun,
}

/// What conditions hold now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// A run is under way.
    pub running: bool,
    /// The running lane has a batch size.
    pub batching: bool,
    /// There is a run.
    pub has_run: bool,
}

impl When {
    fn holds(self, now: Conditions) -> bool {
        match self {
            When::Always => true,
            When::Running => now.running,
            When::Idle => !now.running,
            When::Batching => now.batching,
            When::HasRun => now.has_run,
        }
    }
}

/// A key, or a character with control held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// A key on its own; characters already carry their shift.
    Plain(KeyCode),
    /// Control and a letter.
    Ctrl(char),
}

impl Key {
    /// The key of a terminal event; `None` for releases and for combinations that no binding
    /// uses.
    pub fn of(event: &KeyEvent) -> Option<Self> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        let modifiers = event.modifiers - KeyModifiers::SHIFT;
        match event.code {
            KeyCode::Char(c) if modifiers == KeyModifiers::CONTROL => {
                Some(Key::Ctrl(c.to_ascii_lowercase()))
            }
            // control and alt together make characters on some keyboards
            KeyCode::Char(c) if modifiers == KeyModifiers::CONTROL | KeyModifiers::ALT => {
                Some(Key::Plain(KeyCode::Char(c)))
            }
            code if modifiers.is_empty() => Some(Key::Plain(code)),
            _ => None,
        }
    }

    /// As it is written in footer and help.
    pub fn name(self) -> String {
        match self {
            Key::Ctrl(c) => format!("ctrl-{c}"),
            Key::Plain(KeyCode::Char(' ')) => "space".into(),
            Key::Plain(KeyCode::Char('-')) => "−".into(),
            Key::Plain(KeyCode::Char(c)) => c.to_string(),
            Key::Plain(KeyCode::Up) => "↑".into(),
            Key::Plain(KeyCode::Down) => "↓".into(),
            Key::Plain(KeyCode::Left) => "←".into(),
            Key::Plain(KeyCode::Right) => "→".into(),
            Key::Plain(KeyCode::PageUp) => "pgup".into(),
            Key::Plain(KeyCode::PageDown) => "pgdn".into(),
            Key::Plain(KeyCode::BackTab) => "shift-tab".into(),
            Key::Plain(KeyCode::Backspace) => "backspace".into(),
            Key::Plain(code) => format!("{code:?}").to_lowercase(),
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// Any of these; the first is shown in the footer.
    pub keys: &'static [Key],
    /// What it asks for.
    pub action: Action,
    /// In the footer; empty keeps it out of the footer.
    pub label: &'static str,
    /// In the help.
    pub help: &'static str,
    /// Where it counts.
    pub places: &'static [Place],
    /// When it counts.
    pub when: When,
}

/// What a key asks for here and now.
pub fn action(place: Place, key: Key, now: Conditions) -> Option<Action> {
    bindings(place, now).find(|binding| binding.keys.contains(&key)).map(|binding| binding.action)
}

/// The bindings that count here and now, in the order of the footer.
pub fn bindings(place: Place, now: Conditions) -> impl Iterator<Item = &'static Binding> {
    TABLE.iter().filter(move |binding| binding.places.contains(&place) && binding.when.holds(now))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn all_conditions() -> impl Iterator<Item = Conditions> {
        (0..8).map(|bits| Conditions {
            running: bits & 1 != 0,
            batching: bits & 2 != 0,
            has_run: bits & 4 != 0,
        })
    }

    #[test]
    fn no_key_has_two_meanings_in_one_place() {
        for place in Place::ALL {
            for now in all_conditions() {
                let mut seen = HashMap::new();
                for binding in bindings(place, now) {
                    for key in binding.keys {
                        let earlier = seen.insert(*key, binding.action);
                        assert_eq!(earlier, None, "{place:?} {} {now:?}", key.name());
                    }
                }
            }
        }
    }

    #[test]
    fn no_plain_character_is_taken_from_a_text() {
        for binding in TABLE.iter().filter(|binding| binding.places.iter().any(|p| p.takes_text()))
        {
            for key in binding.keys {
                assert!(!matches!(key, Key::Plain(KeyCode::Char(_))), "{binding:?}");
            }
        }
    }

    #[test]
    fn control_c_quits_and_there_is_a_way_out_of_every_place() {
        for place in Place::ALL {
            for now in all_conditions() {
                assert_eq!(action(place, Key::Ctrl('c'), now), Some(Action::QuitNow));
            }
            let closes = |binding: &Binding| {
                matches!(
                    binding.action,
                    Action::Back | Action::Discard | Action::Decline | Action::Quit
                )
            };
            assert!(bindings(place, Conditions::default()).any(closes), "{place:?}");
        }
    }

    #[test]
    fn every_binding_says_what_it_does() {
        for binding in TABLE {
            assert!(!binding.help.is_empty() && !binding.keys.is_empty(), "{binding:?}");
        }
    }

    #[test]
    fn shift_is_part_of_the_character_and_releases_are_nothing() {
        let event = KeyEvent::new(KeyCode::Char('T'), KeyModifiers::SHIFT);
        assert_eq!(Key::of(&event), Some(Key::Plain(KeyCode::Char('T'))));
        let release =
            KeyEvent::new_with_kind(KeyCode::Enter, KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(Key::of(&release), None);
        let alt = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::ALT);
        assert_eq!(Key::of(&alt), None);
    }
}

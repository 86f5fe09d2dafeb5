//! Every key, once: the table that dispatches keys is also what the footer, the help and the
//! palette show. The user's settings may give other keys to its actions.
//!
//! This module does not know what an action does; that is [`super::update`].

mod overrides;
mod table;

use std::borrow::Cow;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

pub use overrides::{KeyError, Override};
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
    /// All themes, seen as they are chosen.
    Themes,
    /// Start the run that Setup describes, or the last run again.
    Start,
    /// Go from Setup to the run.
    ShowRun,
    /// Ask for the sizes of a sweep, or show the sweep that there is.
    Sweep,
    /// Show the lanes of a sweep as those of any run.
    ShowLanes,
    /// The next thing that a limit can be about, or no limit.
    NextLimit,
    /// A higher limit.
    RaiseLimit,
    /// A lower limit.
    LowerLimit,
    /// The next place of what is looked for.
    NextFound,
    /// The place before of what is looked for.
    PreviousFound,
    /// Show other rows in the table: all, failed, diverged, longest first.
    NextFilter,
    /// Other charts.
    NextCharts,
    /// Put the output in focus on the clipboard.
    Copy,
    /// Past runs.
    History,
    /// Mark a past run.
    Mark,
    /// Compare the marked runs; from a run, with one of the past.
    Compare,
    /// Play a past run again.
    Replay,
    /// Delete past runs; asks first.
    Delete,
    /// All that can be done here, by name.
    Palette,
    /// Look for a text.
    Search,
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
    /// The batch sizes of a sweep, against each other.
    Sweep,
    /// The sizes of a sweep that is to start.
    Sizes,
    /// The path of a report.
    Export,
    /// All that can be done, by name.
    Palette,
    /// All keys.
    Help,
    /// A text that is looked for in the help.
    HelpSearch,
    /// All notices.
    Notices,
    /// The question before leaving a run.
    Quitting,
    /// A text to look for in prompts and outputs.
    Search,
    /// All themes.
    Themes,
    /// Past runs.
    History,
    /// The question before deleting runs.
    Deleting,
    /// A text to be read.
    Reading,
}

impl Place {
    /// All places, in the order the help shows them.
    pub const ALL: [Place; 18] = [
        Place::Setup,
        Place::Field,
        Place::Picker,
        Place::Run,
        Place::Row,
        Place::Sweep,
        Place::Sizes,
        Place::Search,
        Place::History,
        Place::Reading,
        Place::Themes,
        Place::Export,
        Place::Palette,
        Place::Help,
        Place::HelpSearch,
        Place::Notices,
        Place::Quitting,
        Place::Deleting,
    ];

    /// Its name in the help.
    pub fn title(self) -> &'static str {
        match self {
            Place::Setup => "Setup",
            Place::Field => "A text field",
            Place::Picker => "Prompt lists",
            Place::Run => "Run",
            Place::Row => "Row",
            Place::Sweep => "Sweep",
            Place::Sizes => "Sizes of a sweep",
            Place::Export => "Export",
            Place::Palette => "Palette",
            Place::Help => "Help",
            Place::HelpSearch => "Searching the help",
            Place::Notices => "Notices",
            Place::Quitting => "Before quitting",
            Place::Search => "Searching",
            Place::Themes => "Themes",
            Place::History => "History",
            Place::Deleting => "Before deleting",
            Place::Reading => "Comparison",
        }
    }

    /// Whether characters are typed into a text here.
    pub fn takes_text(self) -> bool {
        matches!(
            self,
            Place::Field
                | Place::Picker
                | Place::Sizes
                | Place::Search
                | Place::Export
                | Place::Palette
                | Place::HelpSearch
        )
    }

    /// Its name in the settings: that of the help, in small letters with hyphens.
    pub fn name(self) -> String {
        kebab(&format!("{self:?}"))
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
    /// While no run is under way, or the run is a sweep.
    CanSweep,
    /// While a text is looked for.
    Searching,
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
    /// The run is a sweep.
    pub is_sweep: bool,
    /// A text is looked for.
    pub searching: bool,
}

impl Conditions {
    /// Everything that can hold.
    fn all() -> impl Iterator<Item = Self> {
        (0..32).map(|bits| Self {
            running: bits & 1 != 0,
            batching: bits & 2 != 0,
            has_run: bits & 4 != 0,
            is_sweep: bits & 8 != 0,
            searching: bits & 16 != 0,
        })
    }
}

impl When {
    fn holds(self, now: Conditions) -> bool {
        match self {
            When::Always => true,
            When::Running => now.running,
            When::Idle => !now.running,
            When::Batching => now.batching,
            When::HasRun => now.has_run,
            When::CanSweep => !now.running || now.is_sweep,
            When::Searching => now.searching,
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
            // after an escape that has just come it has alt too
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Ctrl('c')),
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
#[derive(Debug, Clone)]
pub struct Binding {
    /// Any of these; the first is shown in the footer.
    pub keys: Cow<'static, [Key]>,
    /// What it asks for.
    pub action: Action,
    /// In the footer; empty keeps it out of the footer.
    pub label: &'static str,
    /// In the help.
    pub help: &'static str,
    /// Where it counts.
    pub places: Cow<'static, [Place]>,
    /// When it counts.
    pub when: When,
}

/// The keys that count for this user: the table, with what the settings change in it.
#[derive(Debug, Clone)]
pub struct Keymap {
    bindings: Vec<Binding>,
}

impl Default for Keymap {
    fn default() -> Self {
        Self { bindings: TABLE.to_vec() }
    }
}

impl Keymap {
    /// Every binding, in the order of the table.
    pub fn all(&self) -> &[Binding] {
        &self.bindings
    }

    /// What a key asks for here and now.
    pub fn action(&self, place: Place, key: Key, now: Conditions) -> Option<Action> {
        self.here(place, now)
            .find(|binding| binding.keys.contains(&key))
            .map(|binding| binding.action)
    }

    /// The bindings that count here and now, in the order of the footer.
    pub fn here(&self, place: Place, now: Conditions) -> impl Iterator<Item = &Binding> {
        self.bindings
            .iter()
            .filter(move |binding| binding.places.contains(&place) && binding.when.holds(now))
    }

    /// The first key of an action, as it is shown; nothing where it has none.
    pub fn key_of(&self, action: Action) -> String {
        let binding = self.bindings.iter().find(|binding| binding.action == action);
        binding.and_then(|binding| Some(binding.keys.first()?.name())).unwrap_or_default()
    }
}

impl Action {
    /// Its name in the settings, such as `next-lane`.
    pub fn name(self) -> String {
        kebab(&format!("{self:?}"))
    }
}

/// `NextLane` as `next-lane`.
fn kebab(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push('-');
        }
        words.extend(c.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn no_key_has_two_meanings_in_one_place() {
        let keymap = Keymap::default();
        for place in Place::ALL {
            for now in Conditions::all() {
                let mut seen = HashMap::new();
                for binding in keymap.here(place, now) {
                    for key in binding.keys.iter() {
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
            for key in binding.keys.iter() {
                assert!(!matches!(key, Key::Plain(KeyCode::Char(_))), "{binding:?}");
            }
        }
    }

    #[test]
    fn control_c_quits_and_there_is_a_way_out_of_every_place() {
        let keymap = Keymap::default();
        for place in Place::ALL {
            for now in Conditions::all() {
                assert_eq!(keymap.action(place, Key::Ctrl('c'), now), Some(Action::QuitNow));
            }
            let closes = |binding: &Binding| {
                matches!(
                    binding.action,
                    Action::Back | Action::Discard | Action::Decline | Action::Quit
                )
            };
            assert!(keymap.here(place, Conditions::default()).any(closes), "{place:?}");
        }
    }

    #[test]
    fn every_binding_says_what_it_does() {
        for binding in TABLE {
            assert!(!binding.help.is_empty() && !binding.keys.is_empty(), "{binding:?}");
        }
    }

    #[test]
    fn shift_is_part_of_the_character_releases_are_nothing_and_ctrl_c_is_seen_after_an_escape() {
        let event = KeyEvent::new(KeyCode::Char('T'), KeyModifiers::SHIFT);
        assert_eq!(Key::of(&event), Some(Key::Plain(KeyCode::Char('T'))));
        let release =
            KeyEvent::new_with_kind(KeyCode::Enter, KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(Key::of(&release), None);
        let after_escape = KeyModifiers::CONTROL | KeyModifiers::ALT;
        let event = KeyEvent::new(KeyCode::Char('c'), after_escape);
        assert_eq!(Key::of(&event), Some(Key::Ctrl('c')));
        let alt = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::ALT);
        assert_eq!(Key::of(&alt), None);
    }
}

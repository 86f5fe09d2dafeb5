//! The table of all keys.

use crossterm::event::KeyCode;

use super::Place::{self, Export, Field, Help, Notices, Picker, Quitting, Row, Run, Setup};
use super::{Action, Binding, Key, When};

const fn char(c: char) -> Key {
    Key::Plain(KeyCode::Char(c))
}

const UP: Key = Key::Plain(KeyCode::Up);
const DOWN: Key = Key::Plain(KeyCode::Down);
const LEFT: Key = Key::Plain(KeyCode::Left);
const RIGHT: Key = Key::Plain(KeyCode::Right);
const PAGE_UP: Key = Key::Plain(KeyCode::PageUp);
const PAGE_DOWN: Key = Key::Plain(KeyCode::PageDown);
const HOME: Key = Key::Plain(KeyCode::Home);
const END: Key = Key::Plain(KeyCode::End);
const ENTER: Key = Key::Plain(KeyCode::Enter);
const ESC: Key = Key::Plain(KeyCode::Esc);
const TAB: Key = Key::Plain(KeyCode::Tab);
const BACK_TAB: Key = Key::Plain(KeyCode::BackTab);
const BACKSPACE: Key = Key::Plain(KeyCode::Backspace);
const DELETE: Key = Key::Plain(KeyCode::Delete);

const SCREENS: &[Place] = &[Setup, Run, Row];
const TEXTS: &[Place] = &[Field, Picker, Export];

/// Shortens the table below: action, keys, footer label, help, places, condition.
const fn bind(
    action: Action,
    keys: &'static [Key],
    (label, help): (&'static str, &'static str),
    (places, when): (&'static [Place], When),
) -> Binding {
    Binding { keys, action, label, help, places, when }
}

/// The table. Within a place the order is that of the footer.
pub static TABLE: &[Binding] = &[
    bind(
        Action::Start,
        &[char('r')],
        ("run", "start the run that is described"),
        (&[Setup], When::Idle),
    ),
    bind(Action::ShowRun, &[ESC], ("back to the run", "back to the run"), (&[Setup], When::HasRun)),
    bind(
        Action::Stop,
        &[char(' '), ESC],
        ("stop", "stop the run; what was finished is kept"),
        (&[Run], When::Running),
    ),
    bind(Action::Start, &[char('r')], ("run again", "run the same again"), (&[Run], When::Idle)),
    bind(Action::Back, &[ESC], ("setup", "back to Setup"), (&[Run], When::Idle)),
    bind(
        Action::RaiseBatch,
        &[char('+'), char('=')],
        ("larger batch", "a larger batch, at the next refill"),
        (&[Run], When::Batching),
    ),
    bind(
        Action::LowerBatch,
        &[char('-'), char('_')],
        ("smaller", "a smaller batch, at the next refill"),
        (&[Run], When::Batching),
    ),
    bind(
        Action::Activate,
        &[ENTER],
        ("change", "change the field, or start the run"),
        (&[Setup], When::Always),
    ),
    bind(
        Action::Activate,
        &[ENTER],
        ("open row", "open the row: all outputs side by side"),
        (&[Run], When::Always),
    ),
    bind(
        Action::Less,
        &[LEFT, char('h')],
        ("", "the previous choice, or a smaller number"),
        (&[Setup], When::Always),
    ),
    bind(
        Action::More,
        &[RIGHT, char('l')],
        ("", "the next choice, or a larger number"),
        (&[Setup], When::Always),
    ),
    bind(Action::NextPreset, &[char('p')], ("preset", "the next preset"), (&[Setup], When::Always)),
    bind(
        Action::NextRow,
        &[char('j'), char('n')],
        ("next row", "the next row"),
        (&[Row], When::Always),
    ),
    bind(
        Action::PreviousRow,
        &[char('k'), char('p')],
        ("row before", "the row before"),
        (&[Row], When::Always),
    ),
    bind(
        Action::NextDivergence,
        &[char('d')],
        ("next difference", "the next row whose outputs differ"),
        (&[Row], When::Always),
    ),
    bind(
        Action::PreviousDivergence,
        &[char('D')],
        ("", "the row before whose outputs differ"),
        (&[Row], When::Always),
    ),
    bind(
        Action::Back,
        &[ESC, ENTER, BACKSPACE],
        ("back", "back to the run"),
        (&[Row], When::Always),
    ),
    bind(Action::Up, &[UP, char('k'), BACK_TAB], ("", "the field above"), (&[Setup], When::Always)),
    bind(Action::Down, &[DOWN, char('j'), TAB], ("", "the field below"), (&[Setup], When::Always)),
    bind(Action::Up, &[UP, char('k')], ("", "one row up"), (&[Run], When::Always)),
    bind(Action::Down, &[DOWN, char('j')], ("", "one row down"), (&[Run], When::Always)),
    bind(Action::Up, &[UP], ("", "scroll up"), (&[Row], When::Always)),
    bind(Action::Down, &[DOWN], ("", "scroll down"), (&[Row], When::Always)),
    bind(Action::Up, &[UP], ("", "one up"), (&[Picker], When::Always)),
    bind(Action::Down, &[DOWN], ("", "one down"), (&[Picker], When::Always)),
    bind(Action::Up, &[UP, char('k')], ("", "scroll up"), (&[Help, Notices], When::Always)),
    bind(
        Action::Down,
        &[DOWN, char('j')],
        ("scroll", "scroll down"),
        (&[Help, Notices], When::Always),
    ),
    bind(
        Action::PageUp,
        &[PAGE_UP],
        ("", "one page up"),
        (&[Run, Row, Picker, Help, Notices], When::Always),
    ),
    bind(
        Action::PageDown,
        &[PAGE_DOWN],
        ("", "one page down"),
        (&[Run, Row, Picker, Help, Notices], When::Always),
    ),
    bind(
        Action::First,
        &[HOME, char('g')],
        ("", "to the first"),
        (&[Setup, Run, Row, Help, Notices], When::Always),
    ),
    bind(
        Action::Last,
        &[END, char('G')],
        ("", "to the last"),
        (&[Setup, Run, Row, Help, Notices], When::Always),
    ),
    bind(Action::NextLane, &[TAB, RIGHT], ("lane", "the next lane"), (&[Run, Row], When::Always)),
    bind(
        Action::PreviousLane,
        &[BACK_TAB, LEFT],
        ("", "the lane before"),
        (&[Run, Row], When::Always),
    ),
    bind(
        Action::Follow,
        &[char('f')],
        ("follow", "follow the newest row"),
        (&[Run], When::Running),
    ),
    bind(
        Action::Export,
        &[char('e')],
        ("export", "write the report to a file"),
        (&[Run, Row], When::Always),
    ),
    bind(
        Action::Activate,
        &[ENTER],
        ("open", "take the list, or open the folder"),
        (&[Picker], When::Always),
    ),
    bind(
        Action::TakeFolder,
        &[TAB],
        ("take this folder", "take the text files of this folder as the list"),
        (&[Picker], When::Always),
    ),
    bind(Action::Accept, &[ENTER], ("accept", "accept"), (&[Field], When::Always)),
    bind(Action::Accept, &[ENTER], ("write", "write the report"), (&[Export], When::Always)),
    bind(Action::Discard, &[ESC], ("leave as it was", "leave as it was"), (&[Field], When::Always)),
    bind(Action::Discard, &[ESC], ("close", "close"), (&[Picker, Export], When::Always)),
    bind(Action::CursorLeft, &[LEFT], ("", "one character left"), (TEXTS, When::Always)),
    bind(Action::CursorRight, &[RIGHT], ("", "one character right"), (TEXTS, When::Always)),
    bind(
        Action::CursorHome,
        &[HOME, Key::Ctrl('a')],
        ("", "to the start of the text"),
        (TEXTS, When::Always),
    ),
    bind(
        Action::CursorEnd,
        &[END, Key::Ctrl('e')],
        ("", "to the end of the text"),
        (TEXTS, When::Always),
    ),
    bind(
        Action::DeleteBack,
        &[BACKSPACE, Key::Ctrl('h')],
        ("", "delete before the cursor"),
        (TEXTS, When::Always),
    ),
    bind(Action::DeleteForward, &[DELETE], ("", "delete under the cursor"), (TEXTS, When::Always)),
    bind(
        Action::DeleteAll,
        &[Key::Ctrl('u')],
        ("empty", "delete the whole text"),
        (TEXTS, When::Always),
    ),
    bind(
        Action::Confirm,
        &[char('y'), ENTER],
        ("stop and quit", "stop the run and quit"),
        (&[Quitting], When::Always),
    ),
    bind(Action::Decline, &[char('n'), ESC], ("stay", "stay"), (&[Quitting], When::Always)),
    bind(
        Action::Back,
        &[ESC, char('q'), char('?'), ENTER],
        ("close", "close"),
        (&[Help], When::Always),
    ),
    bind(
        Action::Back,
        &[ESC, char('q'), char('!'), ENTER],
        ("close", "close"),
        (&[Notices], When::Always),
    ),
    bind(Action::NextTheme, &[char('T')], ("theme", "the next theme"), (SCREENS, When::Always)),
    bind(Action::Notices, &[char('!')], ("", "all notices"), (SCREENS, When::Always)),
    bind(Action::Help, &[char('?')], ("help", "all keys"), (SCREENS, When::Always)),
    bind(
        Action::Quit,
        &[char('q')],
        ("quit", "quit; asks while a run is under way"),
        (SCREENS, When::Always),
    ),
    bind(
        Action::Suspend,
        &[Key::Ctrl('z')],
        ("", "suspend; the shell's fg comes back here"),
        (&Place::ALL, When::Always),
    ),
    bind(
        Action::QuitNow,
        &[Key::Ctrl('c')],
        ("", "quit at once, from anywhere"),
        (&Place::ALL, When::Always),
    ),
];
